"""Proves the shape of the house by reading the source: includes go down only, every file says its purpose first, SQL stands in store
files only, no service requires another, messages exist in both languages, and nothing is left half done."""
import os
import re
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))

# Folder -> the folders below it that it may include. A folder may always include itself.
BELOW = {
    "base": set(),
    "board": {"base"},
    "loop": {"base", "board"},
    "codec": {"base"},
    "net": {"base", "board", "loop", "codec"},
    "host": {"base", "board", "loop", "codec"},
    "edge": {"base", "board", "loop", "codec", "net", "host"},
    "events": {"base", "board", "loop", "codec", "net", "host"},
    "bind": {"base", "board", "loop", "codec", "net", "host", "events"},
    "app": {"base", "board", "loop", "codec", "net", "host", "edge", "events", "bind"},
}
LUA_HEADERS = {"lua.h", "lauxlib.h", "lualib.h", "luajit.h"}
MAY_SEE_LUA = {"host", "bind", "app"}


def files(folder, *endings):
    for base, dirs, names in os.walk(os.path.join(ROOT, folder)):
        dirs[:] = sorted(d for d in dirs if not d.startswith("."))
        for name in sorted(names):
            if name.endswith(endings):
                yield os.path.relpath(os.path.join(base, name), ROOT)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def includes_go_down(fail):
    for path in files("runtime", ".c", ".h"):
        folder = path.split("/")[1]
        for line, text in enumerate(read(path).split("\n"), 1):
            m = re.match(r'#include ["<]([^">]+)[">]', text)
            if not m:
                continue
            target = m.group(1)
            if target in LUA_HEADERS and folder not in MAY_SEE_LUA:
                fail(path, line, f"{folder}/ must not know Lua, but includes {target}")
            top = target.split("/")[0]
            if "/" in target and top in BELOW and top != folder and top not in BELOW[folder]:
                fail(path, line, f"{folder}/ must not include {top}/ ({target})")


def main_files_are_alone(fail):
    """bind alone knows both Lua and net; host never knows net."""
    for path in files("runtime/host", ".c", ".h"):
        if '#include "net/' in read(path):
            fail(path, 1, "host/ must not know net/")


def files_say_their_purpose(fail):
    for path in files("runtime", ".c", ".h"):
        if not re.match(r"/\* \S", read(path)):
            fail(path, 1, "the first line must be a comment with the file's purpose in one sentence")
    for folder in ("runtime/lua", "rules", "tests/spec", "config"):
        for path in files(folder, ".lua"):
            if not re.match(r"(---@meta.*\n)?--+ ?\S", read(path)):
                fail(path, 1, "the first line must be a comment with the file's purpose in one sentence")


SQL = re.compile(r"""["'\[]\s*(SELECT|INSERT\s+INTO|UPDATE\s+\w|DELETE\s+FROM|WITH\s+\w+\s+AS)\b""")


def sql_stands_in_stores(fail):
    for path in files("rules", ".lua"):
        if os.path.basename(path) == "store.lua":
            continue
        for line, text in enumerate(read(path).split("\n"), 1):
            if SQL.search(text):
                fail(path, line, "SQL stands only in store.lua files")


def rules_require_down(fail):
    graph = {}
    for path in files("rules", ".lua"):
        service = path.split("/")[1]
        module = path[len("rules/"):-len(".lua")].replace("/", ".")
        graph[module] = []
        for name in re.findall(r'require\s*\(?\s*"([^"]+)"', read(path)):
            if name.startswith("shama."):
                continue
            graph[module].append(name)
            if name.split(".")[0] not in (service, "shared"):
                fail(path, 1, f"a service requires another one's module {name}")
    state = {}

    def visit(module, trail):
        if state.get(module) == 1:
            fail("rules", 1, "modules require each other in a circle: " + " -> ".join(trail + [module]))
            return
        if state.get(module) == 2:
            return
        state[module] = 1
        for target in graph.get(module, []):
            visit(target, trail + [module])
        state[module] = 2

    for module in graph:
        visit(module, [])


def messages_are_in_both_languages(fail):
    key = re.compile(r'^\s*(?:\["([A-Z0-9_]+)"\]|([A-Z][A-Z0-9_]+))\s*=', re.M)
    for base in sorted(os.listdir(os.path.join(ROOT, "rules"))):
        pair = {}
        for language in ("es", "en"):
            path = f"rules/{base}/messages/{language}.lua"
            if os.path.exists(os.path.join(ROOT, path)):
                pair[language] = {a or b for a, b in key.findall(read(path))}
        if pair and len(pair) != 2:
            fail(f"rules/{base}/messages", 1, "one language is missing")
        for code in sorted(pair.get("es", set()) ^ pair.get("en", set())):
            fail(f"rules/{base}/messages", 1, f"{code} exists in one language only")


HALF_DONE = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def nothing_is_half_done(fail):
    for folder in ("runtime", "rules", "plugins", "sql", "config", "tests", "examples"):
        for path in files(folder, ".c", ".h", ".lua", ".sql", ".py", ".sh"):
            if path == "tests/tidy/test_tidy.py":
                continue
            for line, text in enumerate(read(path).split("\n"), 1):
                if HALF_DONE.search(text):
                    fail(path, line, "a marker of unfinished work")


def lua_passes_luacheck(fail):
    run = subprocess.run(["luacheck", "--quiet", "--no-color", "--codes", "rules", "runtime/lua"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        for text in run.stdout.split("\n"):
            m = re.match(r"\s+(\S+?):(\d+):\d+: (.*)", text)
            if m:
                fail(m.group(1), m.group(2), m.group(3))


def top_level_is_as_agreed(fail):
    allowed = {"runtime", "rules", "plugins", "sql", "config", "tests", "examples", "docs"}
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split("\n")
    for folder in sorted({p.split("/")[0] for p in tracked if "/" in p}):
        if folder not in allowed and not folder.startswith("."):
            fail(folder, 1, "no other top-level folder than " + ", ".join(sorted(allowed)))


CHECKS = [includes_go_down, main_files_are_alone, files_say_their_purpose, sql_stands_in_stores, rules_require_down,
          messages_are_in_both_languages, nothing_is_half_done, lua_passes_luacheck, top_level_is_as_agreed]


def main():
    failed = 0
    for check in CHECKS:
        findings = []
        check(lambda path, line, text, findings=findings: findings.append(f"{path}:{line}: {text}"))
        print(("not ok " if findings else "ok ") + check.__name__)
        for finding in findings:
            print("  " + finding)
        failed += bool(findings)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
