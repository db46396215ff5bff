"""Runs unittest cases and prints one clear line for each. Used by tests/e2e."""

import sys
import time
import unittest

from support import stack


class StoryCase(unittest.TestCase):
    """Steps test_01_..., test_02_... that build on each other: after a failure the rest is skipped."""

    broken_at = None

    def setUp(self):
        if type(self).broken_at:
            self.skipTest("after %s failed" % type(self).broken_at)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before and not type(self).broken_at:
            type(self).broken_at = self._testMethodName


class LineResult(unittest.TestResult):
    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def _line(self, word, test, more=""):
        ms = (time.monotonic() - getattr(self, "started", time.monotonic())) * 1000
        name = "%s.%s" % (type(test).__name__, getattr(test, "_testMethodName", str(test)))
        print("%-5s %s (%.0f ms)%s" % (word, name, ms, " " + more if more else ""), flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self._line("ok", test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._line("skip", test, reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._line("FAIL", test)

    def addError(self, test, err):
        super().addError(test, err)
        self._line("ERROR", test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._line("FAIL", test, str(subtest._subDescription()))


def main(name):
    """For a test file that is run by itself: its tests, then the end of the shared stack. Returns the exit code."""
    try:
        return run([sys.modules[name]])
    finally:
        stack.shared_remove()


def run(modules):
    """Runs all tests of the modules; prints failures at the end; returns the exit code."""
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromModule(module) for module in modules)
    result = LineResult()
    suite.run(result)
    for test, text in result.errors + result.failures:
        print("\n==== %s\n%s" % (test, text), file=sys.stderr)
    bad = len(result.errors) + len(result.failures)
    print("%d tests, %d failed, %d skipped" % (result.testsRun, bad, len(result.skipped)))
    return 1 if bad else 0
