#!/usr/bin/env python3
"""The end-to-end tests: a real server with its own Postgres and NATS. `tests/e2e/run.py [story bad_input reload signals desk loyalty guide]`."""

import importlib
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import runner, stack  # noqa: E402

# The ones that share a stack come first.
ALL = ("story", "bad_input", "reload", "signals", "desk", "loyalty", "guide")


def main():
    names = sys.argv[1:] or ALL
    for name in names:
        if name not in ALL:
            print("no test '%s': there are %s" % (name, ", ".join(ALL)), file=sys.stderr)
            return 2
    try:
        return runner.run([importlib.import_module("e2e.test_" + name) for name in names])
    finally:
        stack.shared_remove()


if __name__ == "__main__":
    sys.exit(main())
