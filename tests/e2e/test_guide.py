"""Proves that the analyst's guide is true: runs every step of docs/guide/analyst.md on a server of its own, and shows that the Spanish guide has
the same steps. How: fenced blocks with `step=` are done in their order: `diff` is applied to a copy of the rules, `file=` is written, `sh` goes
to one bash, and a `text` block is what the sh block before it must print, with ... for anything; with `of=server`, what the server's terminal
must show since the last edit."""

import os
import re
import select
import shutil
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import runner, stack  # noqa: E402
from support.api import wait_until  # noqa: E402

GUIDE = "docs/guide/analyst.md"
SPANISH = "docs/guide/analyst.es.md"
STEP_TIMEOUT_S = 90
FENCE = re.compile(r"^```(\w+) (step=\S.*)\n((?:.*\n)*?)```$", re.M)

# What differs from run to run, or with every added spec, in the text that a guide shows.
VARYING = (
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"[0-9a-f-]{36}"),
    (r"\d{4}-\d\d-\d\dT[\d:.\\]+Z?", r"\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z?"),
    (r"\b\d{4}-\d\d-\d\d\b", r"\\d{4}-\\d\\d-\\d\\d"),
    (r"\b[0-9a-f]{12}\b", r"[0-9a-f]{12}"),
    (r":\d+:", r":\\d+:"),
    (r"\b\d+ (ms|files|successes)", r"\\d+ \1"),
    (r"master \d+", r"master \\d+"),
    (r"@ \d+", r"@ \\d+"),
    (r"line \d+", r"line \\d+"),
    (r"[\d.\\]+ seconds", r"[\\d.]+ seconds"),
)


class Block:
    def __init__(self, kind, info, text, line):
        self.kind, self.text, self.line = kind, text, line
        self.options = dict(word.split("=", 1) for word in info.split())
        self.step = self.options["step"]

    def __repr__(self):
        return "%s (%s, line %d)" % (self.step, self.kind, self.line)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def blocks(path):
    text = read(os.path.join(stack.ROOT, path))
    return [Block(m.group(1), m.group(2), m.group(3), text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text)]


def next_migrations(folder):
    """The guide names the migrations it adds by the next free numbers of its day: {"0006": "0009", ...}; here they get today's."""
    used = [int(name[:4]) for _, _, names in os.walk(folder) for name in names if re.match(r"\d{4}_.*\.sql$", name)]
    named = sorted(set(re.findall(r"\bsql/\w+/(\d{4})_", "".join(b.options.get("file", "") for b in blocks(GUIDE)))))
    return {name: "%04d" % (max(used) + 1 + i) for i, name in enumerate(named)}


def pattern_of(line):
    """A line of a text block as a regular expression."""
    text = re.escape(line).replace(re.escape("..."), ".*").replace("\\-", "-").replace("\\ ", " ")
    for of_guide, of_output in VARYING:
        text = re.sub(of_guide, of_output, text)
    return text


class Shell:
    """One bash for all sh blocks, so that they share variables, as a reader's terminal does."""

    def __init__(self, folder, env):
        self.process = subprocess.Popen(["bash", "--norc"], cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, text):
        """Returns (exit code of the last command, output)."""
        mark = "--done-%d--" % time.monotonic_ns()
        self.process.stdin.write((text + "\nprintf '\\n%s %%d\\n' $?\n" % mark).encode())
        self.process.stdin.flush()
        got, end = b"", time.monotonic() + STEP_TIMEOUT_S
        while True:
            found = re.search(rb"\n" + mark.encode() + rb" (\d+)\n", got)
            if found:
                return int(found.group(1)), got[:found.start()].decode("utf-8", "replace")
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not chunk:
                raise AssertionError("did not end within %d s: %s\n%s" % (STEP_TIMEOUT_S, text, got.decode("utf-8", "replace")))
            got += chunk

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Guide(unittest.TestCase):
    def setUp(self):
        self.stack = stack.Stack({"SHAMA_ENV": "development"})
        self.addCleanup(self.stack.remove)
        self.stack.start()
        root = self.stack.root
        shutil.copytree(os.path.join(stack.ROOT, "tests", "spec"), os.path.join(root, "tests", "spec"))
        shutil.copy(os.path.join(stack.ROOT, ".luacheckrc"), root)
        os.symlink(os.path.join(self.stack.folder, ".shama"), os.path.join(root, ".shama"))
        os.symlink(self.stack.log_path, os.path.join(root, ".shama", "server.log"))
        os.mkdir(os.path.join(self.stack.folder, "bin"))
        os.symlink(stack.BINARY, os.path.join(self.stack.folder, "bin", "shama"))
        env = dict(self.stack.env, PATH=os.path.join(self.stack.folder, "bin") + ":" + os.environ["PATH"], LC_ALL="C.UTF-8")
        self.shell = Shell(root, env)
        self.addCleanup(self.shell.close)
        self.numbers = next_migrations(os.path.join(root, "sql"))

    def here(self, text):
        """The guide's text with this server's address and today's migration numbers."""
        for name, number in self.numbers.items():
            text = text.replace(name + "_", number + "_")
            text = re.sub(r"schema_version (=|is) %d," % int(name), r"schema_version \1 %d," % int(number), text)
        return text.replace("http://127.0.0.1:5000", self.stack.base_url)

    def path(self, name):
        path = os.path.normpath(os.path.join(self.stack.root, name))
        self.assertTrue(path.startswith(self.stack.root + os.sep), name)
        return path

    def apply(self, block):
        """A diff, hunk by hunk: the lines of a hunk must stand in the file exactly once."""
        parts = re.split(r"^--- (\S+)\n", self.here(block.text), flags=re.M)
        self.assertEqual(parts[0], "", block)
        for name, body in zip(parts[1::2], parts[2::2]):
            text = read(self.path(name))
            for hunk in re.split(r"^@@.*\n", body, flags=re.M)[1:]:
                lines = hunk.splitlines(True)
                before = "".join(line[1:] for line in lines if line[0] in " -")
                after = "".join(line[1:] for line in lines if line[0] in " +")
                self.assertEqual(text.count(before), 1, "%r: these lines are not (once) in %s:\n%s" % (block, name, before))
                text = text.replace(before, after)
            with open(self.path(name), "w", encoding="utf-8") as file:
                file.write(text)

    def write(self, block):
        path = self.path(self.here(block.options["file"]))
        self.assertFalse(os.path.exists(path), block)
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.here(block.text))

    def wanted(self, block):
        """The lines of the block come in this order, with nothing between them unless it says so by a line `...`."""
        return "".join("(?:.*\\n)*" if line == "..." else pattern_of(line) + "\\n" for line in self.here(block.text).splitlines())

    def assert_printed(self, block, output):
        wanted = self.wanted(block)
        self.assertRegex(output.strip("\n") + "\n", r"\A(?:%s)\Z" % wanted, "%r: printed was:\n%s" % (block, output))

    def assert_shown(self, block):
        """By the server, in its own time."""
        wanted = re.compile("^" + self.wanted(block), re.M)
        shown = wait_until(lambda: wanted.search(self.stack.printed()[self.mark:]), STEP_TIMEOUT_S, 0.2)
        self.assertTrue(shown, "%r: the server showed:\n%s" % (block, self.stack.printed()[self.mark:]))

    def restart(self, block):
        """Ctrl-C and `make run`."""
        self.stack.stop()
        self.stack.extra_env["SHAMA_WATCH"] = "0" if "SHAMA_WATCH=0 " in block.text else "1"
        self.stack.start()

    def test_every_step(self):
        said = None
        for block in blocks(GUIDE):
            if block.options.get("by") == "hand":
                self.restart(block)
            elif block.kind == "diff":
                self.mark = len(self.stack.printed())
                self.apply(block)
            elif "file" in block.options:
                self.write(block)
            elif block.kind == "sh":
                code, said = self.shell.run(self.here(block.text))
                self.assertEqual(code, int(block.options.get("exit", 0)), "%r: printed was:\n%s" % (block, said))
            else:
                self.assertEqual(block.kind, "text", block)
                self.assert_shown(block) if block.options.get("of") == "server" else self.assert_printed(block, said)


class Languages(unittest.TestCase):
    def test_both_guides_have_the_same_steps(self):
        """Same blocks in the same order; commands, edits and what is printed are the same text."""
        english, spanish = blocks(GUIDE), blocks(SPANISH)
        self.assertEqual([(b.kind, b.options) for b in english], [(b.kind, b.options) for b in spanish])
        for ours, theirs in zip(english, spanish):
            self.assertEqual(ours.text, theirs.text, "%r differs in %s, line %d" % (ours, SPANISH, theirs.line))
        self.assertGreater(len(english), 20)


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
