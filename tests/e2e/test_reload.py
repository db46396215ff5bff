"""Proves that rules are exchanged under load without a failed request, all or nothing: an edited rule is live in all workers, one with a
mistake is refused as a whole with file and line, and the old rules go on. How: edits a copy of the rules of a running server."""

import os
import re
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import desk, runner, stack  # noqa: E402
from support.api import Client, wait_until  # noqa: E402
from support.traffic import Traffic  # noqa: E402

MESSAGES = "rules/sales/messages/es.lua"
SENTENCE = "Solo cotizaciones PENDING pueden aprobarse"
EDITED = "Solo cotizaciones PENDING pueden aprobarse (corregido)"
CONNECTIONS = 12  # enough that each worker answers some


class Reload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = stack.shared()
        cls.seller = cls.stack.login("SALES")
        product = desk.product_create(cls.stack.login("ADMIN"))
        cls.draft = desk.quotation_create(cls.seller, desk.customer_create(cls.seller), [(product, 1)])

    def setUp(self):
        self.before = {}
        self.version = self.rules_version()

    def tearDown(self):
        for name, text in self.before.items():
            if text is None:
                os.unlink(self.path(name))
            else:
                self.write(name, text)
        if self.before:
            code, text = self.stack.command("reload")
            self.assertEqual(code, 0, text)

    def path(self, name):
        return os.path.join(self.stack.root, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def edit(self, name, change):
        """`change`: text -> text. Undone after the test."""
        with open(self.path(name), encoding="utf-8") as file:
            text = file.read()
        self.before.setdefault(name, text)
        edited = change(text)
        self.assertNotEqual(edited, text, "nothing to edit in " + name)
        self.write(name, edited)

    def rules_version(self):
        return self.stack.status()["rules"]["version"]

    def sentences(self):
        """What fresh connections are told when they approve a draft: a set with one text when all workers agree."""
        found = set()
        for _ in range(CONNECTIONS):
            client = Client(self.stack.base_url, self.stack.token("SALES"))
            found.add(client.post("/quotations/%s/approve" % self.draft["id"]).json["detail"])
            client.close()
        return found

    def traffic(self):
        return Traffic(self.stack.base_url, self.stack.token("SALES"), "/quotations?limit=5")

    def assert_no_failure(self, traffic):
        self.assertGreater(traffic.count, 10)
        self.assertEqual(traffic.failures[:3], [])

    def assert_refused(self, text, pattern):
        """By the command, with exit code 1, and by SIGHUP, in the log; the old rules go on."""
        code, said = self.stack.command("reload")
        self.assertEqual(code, 1, said)
        self.assertRegex(said, pattern)
        old = len(self.stack.log())
        os.kill(self.stack.dev["pid"], signal.SIGHUP)
        self.assertTrue(wait_until(lambda: re.search(pattern, self.stack.log()[old:])), text + ": not in the log:\n" + self.stack.log()[old:])
        self.assertEqual(self.rules_version(), self.version)
        self.assertEqual(self.sentences(), {SENTENCE})

    def test_1_sighup_brings_the_edit_to_all_workers(self):
        self.assertEqual(self.sentences(), {SENTENCE})
        with self.traffic() as traffic:
            self.edit(MESSAGES, lambda text: text.replace(SENTENCE, EDITED))
            os.kill(self.stack.dev["pid"], signal.SIGHUP)
            self.assertTrue(wait_until(lambda: self.rules_version() != self.version), "the version did not change")
            self.assertEqual(self.sentences(), {EDITED})
        self.assert_no_failure(traffic)

    def test_2_the_command_waits_for_the_result(self):
        with self.traffic() as traffic:
            for turn in range(3):
                self.edit(MESSAGES, lambda text: re.sub(re.escape(SENTENCE) + r"[^\"]*", "%s (%d)" % (SENTENCE, turn), text))
                code, said = self.stack.command("reload")
                self.assertEqual(code, 0, said)
                self.assertIn(os.path.basename(MESSAGES), said)
                self.assertEqual(self.sentences(), {"%s (%d)" % (SENTENCE, turn)})
        self.assert_no_failure(traffic)

    def test_3_a_syntax_error_is_refused(self):
        lines = open(self.path("rules/sales/quotations.lua"), encoding="utf-8").read().count("\n")
        with self.traffic() as traffic:
            self.edit(MESSAGES, lambda text: text.replace(SENTENCE, EDITED))  # good, but it comes with what is bad
            self.edit("rules/sales/quotations.lua", lambda text: text + "local x = = 1\n")
            self.assert_refused("syntax error", r"sales/quotations\.lua:%d\b" % (lines + 1))
        self.assert_no_failure(traffic)

    def test_4_an_error_while_loading_is_refused(self):
        self.edit("rules/crm/service.lua", lambda text: "local x = nil\nlocal y = x.name\n" + text)
        self.assert_refused("nil index", r"crm/service\.lua:2\b")

    def test_5_an_undefined_global_is_refused(self):
        self.edit("rules/inventory/service.lua", lambda text: "local y = undefined_thing\n" + text)
        self.assert_refused("undefined global", r"inventory/service\.lua:1\b.*undefined_thing")

    def test_6_a_route_without_roles_is_refused(self):
        self.edit("rules/sales/service.lua", lambda text: text.replace("routes = {", 'routes = {\n    { "GET", "/open", quotations.list, summary = "x" },', 1))
        self.assert_refused("no roles", r"(?s)sales.*/open")

    def test_7_many_signals_at_once(self):
        """Signals that come while a reload runs become one more reload, and the last edit wins."""
        with self.traffic() as traffic:
            for turn in range(20):
                self.edit(MESSAGES, lambda text: re.sub(re.escape(SENTENCE) + r"[^\"]*", "%s [%d]" % (SENTENCE, turn), text))
                os.kill(self.stack.dev["pid"], signal.SIGHUP)
            wanted = {"%s [19]" % SENTENCE}
            self.assertTrue(wait_until(lambda: self.sentences() == wanted, 30, 0.2), self.sentences())
        self.assert_no_failure(traffic)
        self.assertTrue(self.stack.status()["workers"])


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
