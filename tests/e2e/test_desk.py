"""Proves what an analyst's desk has: `shama check` tells everything that is wrong at once, with file and line; a failing gate spec keeps rules out;
`shama dev` takes in what is saved or shows why not; `shama console` asks a service's database and cannot write to it.
How: mistakes are put into copies of the rules, and into those of a running `shama dev`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import runner, stack  # noqa: E402
from support.api import wait_until  # noqa: E402

SPECS = "tests/spec"
SENTENCE = "Solo cotizaciones PENDING pueden aprobarse"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class Watched(stack.Stack):
    """With specs and luacheck's settings in its root, and with the watch on."""

    def prepare(self):
        super().prepare()
        complete(self.root)


def complete(root):
    shutil.copytree(os.path.join(stack.ROOT, SPECS), os.path.join(root, SPECS))
    shutil.copy(os.path.join(stack.ROOT, ".luacheckrc"), root)


class Check(unittest.TestCase):
    """On a root without any server."""

    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="shama-desk-")
        self.addCleanup(shutil.rmtree, self.root)
        for name in stack.COPIED:
            shutil.copytree(os.path.join(stack.ROOT, name), os.path.join(self.root, name))
        complete(self.root)

    def edit(self, name, before, after):
        path = os.path.join(self.root, name)
        text = read(path)
        self.assertEqual(text.count(before), 1, "%r in %s" % (before, name))
        write(path, text.replace(before, after))

    def line(self, name, text, nth=1):
        """The number of the nth line that has the text."""
        lines = [i for i, line in enumerate(read(os.path.join(self.root, name)).splitlines(), 1) if text in line]
        return lines[nth - 1]

    def shama(self, *args):
        env = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "DB_HOST", "SHAMA_CONFIG", "SERVICES")}
        done = subprocess.run([stack.BINARY, *args], env=dict(env, SHAMA_ROOT=self.root), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def findings(self, *args, code=1):
        got, out, err = self.shama("check", "--format", "json", *args)
        self.assertEqual(got, code, out + err)
        return json.loads(out)

    def assert_found(self, findings, code, name, line, severity="error", text=""):
        found = [f for f in findings if f["code"] == code and f["file"] == name and f["line"] == line and text in f["message"]]
        self.assertEqual(len(found), 1, "%s at %s:%s in\n%s" % (code, name, line, json.dumps(findings, indent=1)))
        self.assertEqual(found[0]["severity"], severity)
        self.assertIn(";", found[0]["message"] if not code.startswith("luacheck") else ";", "says what to do")

    def test_nothing_wrong(self):
        self.assertEqual(self.findings(code=0), [])
        code, out, err = self.shama("check", "--strict")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"^rules [0-9a-f]{12}: \d+ files, no finding\n$")

    def test_all_at_once(self):
        sales, crm, inventory = "rules/sales/service.lua", "rules/crm/customer.lua", "rules/inventory/service.lua"
        self.edit(sales, 'SALES", "ADMIN" }', 'SALES", "MANAGER" }')
        self.edit(sales, "    LAST_ITEM = 422,\n", "")
        self.edit(sales, 'publishes = { "quotation.created", ', 'publishes = { "quotation.created", "quotation.forgotten", ')
        self.edit(inventory, 'fields = { "quotation_id", ', 'fields = { "quotation_id", "cuotation_id", ')
        self.edit(inventory, "  refusals = {\n", "  refusals = {\n    NEVER_RAISED = 409,\n")
        for language in ("es", "en"):
            path = "rules/inventory/messages/%s.lua" % language
            self.edit(path, "return {\n", 'return {\n  NEVER_RAISED = "x",\n  NEVER_SHOWN = "y",\n')
        self.edit("rules/sales/messages/en.lua", "({limit} %)", "({max} %)")
        self.edit("rules/sales/messages/en.lua", "  REASON_STOCK_REJECTED", "  REASON_STOCK_REFUSED")
        self.edit(crm, '  initial = "LEAD",\n', '  initial = "LEAD",\n  revive = { from = "DEAD", to = "LEAD" },\n  '
                       'sue = { from = "ACTIVE", to = "SUED" },\n')
        self.edit("rules/crm/customers.lua", "local customers = {}\n", 'local customers = {}\nlocal SQL = "SELECT 1 FROM crm.customers"\n')
        self.edit("rules/crm/store.lua", "FROM crm.contacts WHERE", "FROM crm.contacts, inventory.stock_levels WHERE")
        self.edit("rules/identity/users.lua", "local users = {}\n", "local users = {}\nlocal function f() return undefined_thing end\n")
        found = self.findings()
        self.assert_found(found, "role-unknown", sales, self.line(sales, "MANAGER"), text="MANAGER")
        self.assert_found(found, "refusal-unknown", "rules/sales/quotations.lua", self.line("rules/sales/quotations.lua", "LAST_ITEM"))
        self.assert_found(found, "event-unknown", sales, self.line(sales, "quotation.forgotten"))
        self.assert_found(found, "event-field-unknown", inventory, self.line(inventory, "cuotation_id"), text="QuotationApprovedEvent")
        self.assert_found(found, "refusal-unused", inventory, self.line(inventory, "NEVER_RAISED"), "warning")
        self.assert_found(found, "message-unused", "rules/inventory/messages/es.lua", self.line("rules/inventory/messages/es.lua", "NEVER_SHOWN"), "warning")
        english = "rules/sales/messages/en.lua"
        self.assert_found(found, "message-params", english, self.line(english, "NEEDS_AUTHORIZATION"), text="{max}")
        self.assert_found(found, "message-missing", english, self.line(english, "return {"), text="REASON_STOCK_REJECTED")
        self.assert_found(found, "message-missing", "rules/sales/messages/es.lua", self.line("rules/sales/messages/es.lua", "return {"), text="REASON_STOCK_REFUSED")
        self.assert_found(found, "state-unreachable", crm, self.line(crm, '"DEAD"'), text="DEAD")
        self.assert_found(found, "state-dead-end", crm, self.line(crm, '"SUED"'), text="SUED")
        self.assert_found(found, "sql-place", "rules/crm/customers.lua", self.line("rules/crm/customers.lua", "SELECT 1"))
        self.assert_found(found, "sql-foreign", "rules/crm/store.lua", self.line("rules/crm/store.lua", "stock_levels"), text="inventory.stock_levels")
        self.assert_found(found, "luacheck-W113", "rules/identity/users.lua", self.line("rules/identity/users.lua", "undefined_thing"))
        code, _, err = self.shama("check")
        self.assertEqual(code, 1)
        self.assertEqual(len(err.splitlines()), len(found))
        self.assertIn("%s:%d: " % (crm, self.line(crm, '"SUED"')), err)

    def test_syntax_in_several_files(self):
        for name in ("rules/crm/store.lua", "rules/sales/store.lua"):
            write(os.path.join(self.root, name), read(os.path.join(self.root, name)) + "local x = = 1\n")
        found = self.findings()
        self.assertEqual(sorted((f["file"], f["code"]) for f in found), [("rules/crm/store.lua", "syntax"), ("rules/sales/store.lua", "syntax")])
        self.assertTrue(all(f["line"] == self.line(f["file"], "= = 1") for f in found))

    def test_each_service_is_loaded(self):
        for service in ("crm", "sales"):
            name = "rules/%s/service.lua" % service
            write(os.path.join(self.root, name), "local x = nil\nlocal y = x.name\n" + read(os.path.join(self.root, name)))
        self.assertEqual(sorted(f["file"] for f in self.findings() if f["code"] == "load"), ["rules/crm/service.lua", "rules/sales/service.lua"])

    def test_final_states(self):
        self.edit("rules/sales/quotation.lua", 'final      = "CANCELLED"', 'final      = { "SOLD", "CANCELLED" }')
        self.assert_found(self.findings(), "state-final", "rules/sales/quotation.lua", self.line("rules/sales/quotation.lua", '"SOLD"'))

    def test_a_gate_spec_is_run(self):
        self.edit("rules/sales/policy.lua", 'SALES = decimal("10")', 'SALES = decimal("15")')
        found = self.findings()
        self.assertTrue(found)
        self.assertEqual({f["code"] for f in found}, {"gate"})
        self.assertEqual({f["file"] for f in found}, {"tests/spec/sales/quotation_spec.lua"})

    def test_warnings_alone_pass_unless_strict(self):
        for language in ("es", "en"):
            self.edit("rules/crm/messages/%s.lua" % language, "return {\n", 'return {\n  NEVER_SHOWN = "y",\n')
        self.assertEqual([f["code"] for f in self.findings(code=0)], ["message-unused"])
        self.assertEqual(self.shama("check", "--strict")[0], 1)

    def test_wrong_usage(self):
        for args in (("--format", "xml"), ("--nonsense",), ("something",)):
            self.assertEqual(self.shama("check", *args)[0], 2, args)

    def test_a_database_that_is_not_there(self):
        found = self.findings("--database", "postgresql://nobody@127.0.0.1:1/none")
        self.assertEqual({f["code"] for f in found}, {"database"})


class Desk(unittest.TestCase):
    """Beside a running `shama dev`."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Watched({"SHAMA_WATCH": "1"})
        cls.addClassCleanup(cls.stack.remove)
        cls.stack.start()
        cls.first_version = cls.stack.status()["rules"]["version"]

    def path(self, name):
        return os.path.join(self.stack.root, name)

    def edit(self, name, before, after, undo=True):
        text = read(self.path(name))
        self.assertIn(before, text)
        if undo:
            self.addCleanup(self.restore, name, text)
        write(self.path(name), text.replace(before, after, 1))

    def restore(self, name, text):
        write(self.path(name), text)
        if name.startswith("rules/"):  # the watch takes it back
            wait_until(lambda: self.version() == self.first_version, 30, 0.3)

    def version(self):
        return self.stack.status()["rules"]["version"]

    def console(self, *args):
        return self.stack.command("console", *args)

    # ---- gate

    def test_gate_keeps_rules_out(self):
        version = self.version()
        self.edit("tests/spec/crm/customer_spec.lua", 'INACTIVE = "ACTIVE"', 'INACTIVE = "LEAD"')
        code, said = self.stack.command("reload")
        self.assertEqual(code, 1, said)
        self.assertRegex(said, r'refused: tests/spec/crm/customer_spec\.lua:\d+: the gate spec "the life of a customer activate from INACTIVE gives LEAD" failed: ')
        self.assertEqual(self.version(), version)

    def test_gate_specs_have_no_database(self):
        write(self.path("tests/spec/crm/db_spec.lua"), '-- gate\nlocal test = require "shama.test"\nit("asks", function() test.use("crm") end)\n')
        self.addCleanup(os.unlink, self.path("tests/spec/crm/db_spec.lua"))
        code, said = self.stack.command("reload")
        self.assertEqual(code, 1, said)
        self.assertIn("a gate spec has no database", said)

    def test_gate_specs_that_hang_are_named(self):
        write(self.path("tests/spec/crm/slow_spec.lua"), '-- gate\nit("never ends", function() while true do end end)\n')
        self.addCleanup(os.unlink, self.path("tests/spec/crm/slow_spec.lua"))
        write(os.path.join(self.stack.folder, "operator.lua"), "return { reload = { check_ms = 4000 } }")
        config = dict(os.environ, SHAMA_ROOT=self.stack.root, SHAMA_CONFIG=os.path.join(self.stack.folder, "operator.lua"))
        config.pop("DATABASE_URL", None)
        done = subprocess.run([stack.BINARY, "check"], env=config, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout.decode(), r"slow_spec\.lua")
        self.assertRegex(done.stdout.decode(), r"did not end within")

    def test_specs_without_the_mark_are_no_gate(self):
        write(self.path("tests/spec/crm/failing_spec.lua"), 'it("fails", function() assert(false) end)\n')
        self.addCleanup(os.unlink, self.path("tests/spec/crm/failing_spec.lua"))
        code, said = self.stack.command("reload")
        self.assertEqual(code, 0, said)

    def test_sql_outside_of_a_store_is_refused_by_a_reload(self):
        self.edit("rules/crm/customers.lua", "local customers = {}\n", 'local customers = {}\nlocal _ = "DELETE FROM crm.customers"\n')
        code, said = self.stack.command("reload")
        self.assertEqual(code, 1, said)
        self.assertRegex(said, r"refused: rules/crm/customers\.lua:\d+: SQL stands outside of a store")

    # ---- watch

    def printed_since(self, mark):
        return self.stack.printed()[mark:]

    def test_watch_takes_in_what_is_saved(self):
        version, mark = self.version(), len(self.stack.printed())
        self.edit("rules/sales/messages/es.lua", SENTENCE, SENTENCE + " (guardado)")
        self.assertTrue(wait_until(lambda: self.version() != version, 40, 0.3), self.printed_since(mark))
        self.assertTrue(wait_until(lambda: "changed  rules/sales/messages/es.lua" in self.printed_since(mark), 20), self.printed_since(mark))
        self.assertNotIn("\033", self.printed_since(mark))

    def test_watch_shows_the_finding(self):
        version, mark = self.version(), len(self.stack.printed())
        name = "rules/sales/events.lua"
        text = read(self.path(name))
        write(self.path(name), text + "local x = = 1\n")
        line = text.count("\n") + 1
        self.assertTrue(wait_until(lambda: "not taken" in self.printed_since(mark), 40), self.printed_since(mark))
        self.assertIn("%s:%d: " % (name, line), self.printed_since(mark))
        self.assertEqual(self.version(), version)
        write(self.path(name), text)
        self.assertTrue(wait_until(lambda: "nothing changed" in self.printed_since(mark), 40), self.printed_since(mark))

    def test_watch_sees_new_folders_and_one_reload_for_many_files(self):
        version, mark = self.version(), len(self.stack.printed())
        folder = self.path("rules/crm/extra")
        for i in range(5):
            write(os.path.join(folder, "part%d.lua" % i), "-- A part.\nreturn { %d }\n" % i)
        write(os.path.join(folder, "part0.lua"), "-- A part, again.\nreturn { 10 }\n")
        self.assertTrue(wait_until(lambda: self.version() != version, 40, 0.3), self.printed_since(mark))
        self.assertTrue(wait_until(lambda: "added    rules/crm/extra/part4.lua" in self.printed_since(mark), 40))
        self.assertLessEqual(self.printed_since(mark).count("changed:"), 2)
        mark = len(self.stack.printed())
        shutil.rmtree(folder)
        self.assertTrue(wait_until(lambda: "removed  rules/crm/extra/part4.lua" in self.printed_since(mark), 40), self.printed_since(mark))

    # ---- console

    def test_console_shows_values_as_json(self):
        code, said = self.console("sales", "--eval", 'return { b = 1 }, decimal("1.50"), nil')
        self.assertEqual((code, said), (0, '{\n  "b": 1\n}\n"1.50"\nnil\n'))
        code, said = self.console("crm", "--eval", 'db.one("SELECT count(*)::int AS n, current_user AS who FROM crm.customers")')
        self.assertEqual(code, 0, said)
        self.assertEqual(json.loads(said)["who"], "crm_service_role")
        code, said = self.console("crm", "--eval", 'local store = require "crm.store"; return #db.query("SELECT 1 UNION SELECT 2"), store.get ~= nil')
        self.assertEqual((code, said), (0, "2\ntrue\n"))

    def test_console_is_read_only_unless_asked(self):
        statement = 'db.exec("UPDATE crm.customers SET phone = phone")'
        code, said = self.console("crm", "--eval", statement)
        self.assertEqual(code, 1)
        self.assertIn("read-only transaction", said)
        code, said = self.console("crm", "--eval", 'db.tx(function(tx) return tx:exec("DELETE FROM crm.interactions") end)')
        self.assertEqual(code, 1)
        self.assertIn("read-only transaction", said)
        code, said = self.console("crm", "--write", "--eval", statement)
        self.assertEqual(code, 0, said)

    def test_console_stays_in_the_sandbox_and_in_its_service(self):
        for code_text, pattern in (("io", "does not exist"), ("os.execute('true')", "does not exist"), ('require "sales.store"', "another one's module"),
                                   ('db.query("SELECT * FROM sales.quotations")', "permission denied")):
            code, said = self.console("crm", "--eval", code_text)
            self.assertEqual(code, 1, code_text)
            self.assertRegex(said, pattern)

    def test_console_tells_where_an_error_is(self):
        code, said = self.console("sales", "--eval", 'require("sales.pricing").price(nil)')
        self.assertEqual(code, 1)
        self.assertRegex(said, r"rules/sales/pricing\.lua:\d+: ")
        self.assertIn("stack traceback:", said)

    def test_console_runs_lines_of_a_script(self):
        lines = b"x = 5\nfor i = 1, 2 do\n  x = x + i\nend\nx\nnonsense(\n\nx + 1\n1 +\n2\n"
        done = subprocess.run([stack.BINARY, "console", "sales"], cwd=self.stack.folder, env=self.stack.env, input=lines, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual(done.stdout.decode().split(), ["8", "9", "3"], done)
        self.assertIn(b"not complete", done.stderr)
        self.assertEqual(self.console("nobody", "--eval", "1")[0], 1)

    # ---- check with a database

    def test_statements_are_shown_to_the_database(self):
        self.edit("rules/crm/store.lua", "position, is_primary FROM crm.contacts", "positoin, is_primary FROM crm.contacts")
        line = read(self.path("rules/crm/store.lua")).splitlines()
        number = next(i for i, text in enumerate(line, 1) if "positoin" in text)
        code, said = self.stack.command("check", "--format", "json", "--database", self.stack.superuser_url())
        self.assertEqual(code, 1, said)
        found = json.loads(said)
        self.assertEqual([(f["code"], f["file"], f["line"]) for f in found], [("sql", "rules/crm/store.lua", number)])
        self.assertIn('column "positoin" does not exist', found[0]["message"])

    def test_rights_are_the_service_s(self):
        self.edit("rules/crm/store.lua", "local store = {}\n", 'local store = {}\nstore.peek = "SELECT total_amount FROM sales.quotations WHERE id = $1"\n')
        code, said = self.stack.command("check", "--format", "json", "--database", self.stack.superuser_url())
        self.assertEqual(code, 1, said)
        self.assertEqual({(f["code"], f["line"]) for f in json.loads(said)}, {("sql-foreign", 3), ("sql-denied", 3)})


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
