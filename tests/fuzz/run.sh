#!/bin/sh
# Builds every fuzzer with clang's libFuzzer under ASan and UBSan and runs each for the given number of seconds (60) over its corpus.
# What a run finds is left in build-fuzz/findings/; a finding ends the script with 1.
set -eu
seconds=${1:-60}
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
sh tests/support/install.sh clang libclang-rt-14-dev
cmake -S . -B build-fuzz -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Release -DSHAMA_SANITIZE=address -DSHAMA_FUZZ=ON >/dev/null
targets=
for source in tests/fuzz/fuzz_*.c; do targets="$targets $(basename "$source" .c)"; done
# shellcheck disable=SC2086
cmake --build build-fuzz -j2 --target $targets -- --no-print-directory >/dev/null
mkdir -p build-fuzz/findings
failed=0
for name in $targets; do
  what=${name#fuzz_}
  mkdir -p "build-fuzz/corpus/$what" "tests/fuzz/corpus/$what"
  echo "$name: $seconds s"
  "build-fuzz/tests/$name" -max_total_time="$seconds" -max_len=8192 -verbosity=0 -print_final_stats=0 -artifact_prefix="build-fuzz/findings/$what-" \
    "build-fuzz/corpus/$what" "tests/fuzz/corpus/$what" || failed=$((failed + 1))
done
echo "$(echo "$targets" | wc -w) fuzzers, $failed with findings"
[ "$failed" -eq 0 ]
