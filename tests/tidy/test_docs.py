"""Proves that the references are complete: every setting with its default and environment names, every error code with its status and every metric stands in the
documents, and nothing stands there that does not exist. How: reads config/shama.lua, the tables in C and the rules' messages as text."""

import os
import re
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
CONFIGURATION = "docs/reference/configuration.md"
ERRORS = "docs/reference/errors.md"
OPERATOR = "docs/guide/operator.md"
LUA_API = "docs/reference/lua-api.md"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def sources(folder, ending):
    for base, _, names in os.walk(os.path.join(ROOT, folder)):
        for name in sorted(names):
            if name.endswith(ending):
                yield os.path.relpath(os.path.join(base, name), ROOT)


def settings(path):
    """{"http.port": "5000"} of a configuration file: tables of names, texts, numbers and booleans."""
    text = re.sub(r'("[^"\n]*")|--[^\n]*', lambda m: m.group(1) or "", read(path))
    found, place = {}, []
    for name, value, end in re.findall(r'(\w+)\s*=\s*(\{|"[^"\n]*"|[\w.]+)|(\})', text[text.index("return {") + len("return {"):]):
        if end:
            place = place[:-1]
        elif value == "{":
            place.append(name)
        else:
            found[".".join(place + [name])] = value.strip('"')
    return found


def rows(path, first):
    """Table rows whose first cell holds `first`, a pattern in backquotes: {line: cells}."""
    found = {}
    for line, text in enumerate(read(path).split("\n"), 1):
        if re.match(r"\| `%s`" % first, text):
            found[line] = [cell.strip() for cell in text.strip("| ").split(" | ")]
    return found


def quoted(cell):
    return re.findall(r"`([^`]*)`", cell)


def environment():
    """{key: [names]} as runtime/app/config.c has it; those that may be read from a file with their _FILE form."""
    text, names = read("runtime/app/config.c"), {}
    for name, key, has_file in re.findall(r'\{"([A-Z_]+)", "([a-z_.]+)", (true|false)\}', text):
        names.setdefault(key, []).extend([name, name + "_FILE"] if has_file == "true" else [name])
    return names


def every_setting_is_documented(fail):
    wanted, names = settings("config/shama.lua"), environment()
    if len(wanted) < 50 or len(names) < 20:
        fail("config/shama.lua", "cannot be read as expected: %d settings, %d with environment names" % (len(wanted), len(names)))
    seen = set()
    for line, cells in rows(CONFIGURATION, r"[a-z_.]+").items():
        cells += [""] * (5 - len(cells))
        key = quoted(cells[0])[0]
        seen.add(key)
        where = "%s:%d" % (CONFIGURATION, line)
        if key not in wanted:
            fail(where, "there is no setting %s" % key)
            continue
        default = (quoted(cells[1]) or [""])[0]
        if default != wanted[key]:
            fail(where, "%s: the default is %r, not %r" % (key, wanted[key], default))
        if sorted(quoted(cells[2])) != sorted(names.get(key, [])):
            fail(where, "%s: the environment names are %s" % (key, ", ".join(names.get(key, [])) or "none"))
        if cells[3] not in ("yes", "workers", "start"):
            fail(where, "%s: say whether a reload changes it: yes, workers or start" % key)
    for key in sorted(set(wanted) - seen):
        fail(CONFIGURATION, "the setting %s is missing" % key)
    for key in sorted(set(names) - set(wanted)):
        fail("runtime/app/config.c", "%s has an environment name but no default" % key)


def settings_without_effect_are_called_so(fail):
    """A setting that no C file reads by its name says so on its line, and no other does. A service's own are read by composed names."""
    text = "".join(read(path) for path in sources("runtime", ".c") if path != "runtime/app/config.c")
    for line, cells in rows(CONFIGURATION, r"[a-z_.]+").items():
        key = quoted(cells[0])[0]
        if re.match(r"\w+\.db\.", key):
            continue
        is_read, says_no = '"%s"' % key in text, "No effect in this version" in cells[-1]
        if is_read == says_no:
            fail("%s:%d" % (CONFIGURATION, line), "%s: it %s, and the page says otherwise" % (key, "has an effect" if is_read else "is read nowhere"))


def every_environment_name_is_documented(fail):
    documented = set(quoted(read(CONFIGURATION)))
    for path in sources("runtime", ".c"):
        for name in re.findall(r'getenv\("([A-Z_]+)"\)', read(path)):
            if name not in documented and name != "PATH":
                fail(path, "the environment name %s is missing in %s" % (name, CONFIGURATION))


def production_changes_settings_that_exist(fail):
    known = settings("config/shama.lua")
    for key in settings("config/production.lua"):
        if key not in known:
            fail("config/production.lua", "there is no setting %s" % key)


def refusals():
    """{code: {status}} of the manifests, and the library's own."""
    found = {}
    for path in sources("rules", "service.lua"):
        body = re.search(r"refusals = \{(.*?)\n  \}", read(path), re.S)
        for code, status in re.findall(r"([A-Z][A-Z0-9_]+) = (\d+)", body.group(1) if body else ""):
            found.setdefault(code, set()).add(status)
    own = re.search(r"local STATUS = \{(.*?)\}", read("runtime/lua/shama/refusal.lua"), re.S).group(1)
    for code, status in re.findall(r"([A-Z_]+) = (\d+)", own):
        found.setdefault(code, set()).add(status)
    return found


def every_error_code_is_documented(fail):
    text = read("runtime/edge/problem.c")
    table = text[text.index("sentences[] = {"):text.index("typedef struct status_words")]
    platform = set(re.findall(r'^    \{"([A-Z_]+)",', table, re.M))
    statuses = {code: status for status, code in re.findall(r'\{(\d{3}), "([A-Z_]+)", "', text)}
    if len(platform) < 30 or len(statuses) < 15:
        fail("runtime/edge/problem.c", "cannot be read as expected: %d codes, %d statuses" % (len(platform), len(statuses)))
    wanted = {code: path for path in sources("rules", ".lua") if "/messages/" in path
              for code in re.findall(r"^  ([A-Z][A-Z0-9_]+) = ", read(path), re.M)}
    wanted.update({code: "runtime/edge/problem.c" for code in platform})
    by_rules = refusals()
    wanted.update({code: "service.lua" for code in by_rules})
    documented = set(quoted(read(ERRORS)))
    for code in sorted(set(wanted) - documented):
        fail(ERRORS, "the code %s (%s) is missing" % (code, wanted[code]))
    for line, cells in rows(ERRORS, r"[A-Z][A-Z0-9_]+` \| \d").items():
        code, status = quoted(cells[0])[0], cells[1]
        where = "%s:%d" % (ERRORS, line)
        if code not in wanted:
            fail(where, "nobody answers with %s" % code)
        elif code in by_rules and code not in platform and by_rules[code] != {status}:
            fail(where, "%s has the status %s" % (code, ", ".join(sorted(by_rules[code]))))
        elif code in statuses and statuses[code] != status and code not in ("TOKEN_MISSING", "OVERLOADED"):
            fail(where, "%s has the status %s" % (code, statuses[code]))


def every_field_code_is_documented(fail):
    text = read("runtime/codec/schema.c")
    codes = set(re.findall(r'(?:return |refuse\([^"]*|add_issue\([^"]*|\? |: |code = )"([A-Z]+(?:_[A-Z]+)*)"', text))
    if not {"TYPE", "REQUIRED", "MAX_LENGTH", "UUID"} <= codes:
        fail("runtime/codec/schema.c", "cannot be read as expected: %s" % ", ".join(sorted(codes)))
    for code in sorted(codes - set(quoted(read(ERRORS)))):
        fail(ERRORS, "the code %s of runtime/codec/schema.c is missing" % code)


def every_metric_is_documented(fail):
    made = set()
    for path in sources("runtime", ".c"):
        made.update(re.findall(r'"(shama_[a-z_]+)', read(path)))
    documented = set(re.findall(r"`(shama_[a-z_]+)", read(OPERATOR)))
    ours = {name for name in made if re.search(r"_(total|seconds|bytes)$|^shama_db_", name)}
    if len(ours) < 10:
        fail("runtime", "cannot be read as expected: %d metrics" % len(ours))
    for name in sorted(ours - documented):
        fail(OPERATOR, "the metric %s is missing" % name)
    for name in sorted(documented - made):
        if re.search(r"_(total|seconds|bytes)$|^shama_db_", name):
            fail(OPERATOR, "there is no metric %s" % name)


def every_module_is_documented(fail):
    text = read(LUA_API) + read("docs/reference/specs.md")
    modules = {os.path.basename(path)[:-len(".lua")] for path in sources("runtime/lua/shama", ".lua") if path.count("/") == 3} - {"consumer"}
    modules |= set(re.findall(r'^        \{"([a-z]+)", sh_lua_\w+_open', read("runtime/app/primitives.c"), re.M))
    for name in sorted(modules):
        if "`shama.%s`" % name not in text and 'require "shama.%s"' % name not in text:
            fail(LUA_API, "the module shama.%s is missing" % name)
    for name in sorted(set(re.findall(r"`shama\.([a-z]+)`", read(LUA_API))) - modules):
        fail(LUA_API, "there is no module shama.%s" % name)


def links_lead_somewhere(fail):
    paths = [path for path in sources("docs", ".md")] + ["README.md", "CONTRIBUTING.md"]
    for path in paths:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(path)):
            if not os.path.exists(os.path.join(ROOT, os.path.dirname(path), target)):
                fail(path, "the link to %s leads nowhere" % target)


CHECKS = [every_setting_is_documented, settings_without_effect_are_called_so, every_environment_name_is_documented,
          production_changes_settings_that_exist, every_error_code_is_documented, every_field_code_is_documented, every_metric_is_documented, every_module_is_documented, links_lead_somewhere]


def main():
    failed = 0
    for check in CHECKS:
        findings = []
        check(lambda where, text, findings=findings: findings.append("%s: %s" % (where, text)))
        print(("not ok " if findings else "ok ") + check.__name__)
        for finding in findings:
            print("  " + finding)
        failed += bool(findings)
    print("%d passed, %d failed" % (len(CHECKS) - failed, failed))
    return 1 if failed else 0


sys.exit(main())
