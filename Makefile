# The face of the project. `make run` and `make test` need nothing but git, make and Debian 12.
BUILD ?= build
JOBS  ?= 2
# Every package there is, once: to build, to run, to test.
PACKAGES = build-essential cmake pkg-config libluajit-5.1-dev libuv1-dev node-llhttp libpq-dev lua-cjson \
  libhpdf-dev libssl-dev libargon2-dev zlib1g-dev libfreetype-dev protobuf-compiler fonts-dejavu-core \
  postgresql-15 nats-server lua-busted lua-check libcmocka-dev python3 curl qpdf poppler-utils

.PHONY: help deps build run test asan check bench fuzz format clean

help:
	@echo "make run     install what is missing, build, start with demo data on http://127.0.0.1:5000"
	@echo "make test    install what is missing, build, run every test"
	@echo "make check   rules, layering and style, without servers"
	@echo "make asan    unit tests and the story under ASan and UBSan"
	@echo "make fuzz    every fuzzer for FUZZ_SECONDS (60) each"
	@echo "make bench   the quotation contract against this build (docs/benchmarks.md)"
	@echo "make format  clang-format over runtime/ and tests/"

deps:
	@sh tests/support/install.sh $(PACKAGES)

$(BUILD)/CMakeCache.txt: | deps
	@cmake -S . -B $(BUILD) -DCMAKE_BUILD_TYPE=Release $(CMAKE_FLAGS) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@mv $(BUILD).log $(BUILD)/configure.log

build: deps $(BUILD)/CMakeCache.txt
	@cmake --build $(BUILD) -j$(JOBS) -- --no-print-directory

run: deps
	@$(MAKE) --no-print-directory build CMAKE_FLAGS=-DSHAMA_TESTS=OFF BUILD=$(BUILD)-run
	@$(BUILD)-run/shama dev

# The sanitized run first, so that the last line is the closing line of the whole suite.
test: build asan
	@cd $(BUILD) && ctest --output-on-failure

asan: deps
	@$(MAKE) --no-print-directory build BUILD=$(BUILD)-asan CMAKE_FLAGS=-DSHAMA_SANITIZE=address
	@cd $(BUILD)-asan && ctest --output-on-failure -R '^(unit|integration|e2e_story)'

check: build
	@$(BUILD)/shama check
	@cd $(BUILD) && ctest --output-on-failure -R '^tidy'

format:
	@find runtime tests -name '*.[ch]' | xargs clang-format -i

# BENCH_RUNNER is the contract's run.py (docs/benchmarks.md); it drives tests/bench/peer.
bench: build
	@test -n "$(BENCH_RUNNER)" || { echo "make bench BENCH_RUNNER=path/to/run.py: see docs/benchmarks.md"; exit 2; }
	@$(BENCH_RUNNER) --dir tests/bench/peer --name ours

FUZZ_SECONDS ?= 60
fuzz: deps
	@sh tests/fuzz/run.sh $(FUZZ_SECONDS)

clean:
	@rm -rf $(BUILD) $(BUILD)-*
