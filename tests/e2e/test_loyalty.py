"""Proves that a service is added by copying a folder: examples/rules/loyalty, its name in the configuration, and nothing else; a sale then earns
points, and an undone one takes them back. How: copies it into a root of its own, starts the server there, sells."""

import os
import re
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import desk, runner, stack  # noqa: E402
from support.api import wait_until  # noqa: E402

EXAMPLE = os.path.join(stack.ROOT, "examples", "rules", "loyalty")
PARTS = ("rules", "sql", "tests")
SERVICES = "identity,inventory,crm,sales,loyalty"


def next_migration(folder):
    return "%04d" % (max(int(name[:4]) for _, _, names in os.walk(folder) for name in names if re.match(r"\d{4}_.*\.sql$", name)) + 1)


class WithLoyalty(stack.Stack):
    """A server whose root has the example, with the next free migration number."""

    def prepare(self):
        super().prepare()
        number = next_migration(os.path.join(self.root, "sql"))
        for name in PARTS:
            shutil.copytree(os.path.join(EXAMPLE, name), os.path.join(self.root, name), dirs_exist_ok=True)
        os.rename(os.path.join(self.root, "sql/loyalty/0006_points.sql"), os.path.join(self.root, "sql/loyalty/%s_points.sql" % number))
        path = os.path.join(self.root, "rules/loyalty/service.lua")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("schema_version = 6", "schema_version = %d" % int(number)))


class Loyalty(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = WithLoyalty({"SERVICES": SERVICES})
        cls.addClassCleanup(cls.stack.remove)
        cls.stack.start()
        cls.seller, cls.admin = cls.stack.login("SALES"), cls.stack.login("ADMIN")

    def points(self, customer):
        return desk.must(self.seller.get("/loyalty/%s" % customer["id"]), 200)

    def sell(self, customer, price, stock):
        product = desk.product_create(self.admin, price=price, tax_category="exempt")
        if stock:
            desk.stock_receive(self.admin, product, stock)
        quotation = desk.quotation_pending(self.seller, customer, [(product, 1)])
        return desk.quotation_act(self.admin, quotation, "approve")

    def test_1_a_sale_earns_points(self):
        customer = desk.customer_create(self.seller)
        self.assertEqual(self.points(customer)["points"], 0)
        self.assertEqual(self.points(customer)["level"], "BASIC")
        self.sell(customer, "1234.56", 5)
        self.assertTrue(wait_until(lambda: self.points(customer)["points"] == 123), self.points(customer))
        self.assertEqual(self.points(customer)["level"], "SILVER")
        self.assertEqual(self.points(customer)["sales"], 1)

    def test_2_an_undone_sale_takes_them_back(self):
        customer = desk.customer_create(self.seller)
        quotation = self.sell(customer, "500.00", 0)
        status = lambda: desk.must(self.seller.get("/quotations/%s" % quotation["id"]), 200)["status"]  # noqa: E731
        self.assertTrue(wait_until(lambda: status() == "CANCELLED"), status())
        self.assertTrue(wait_until(lambda: self.points(customer)["points"] == 0), self.points(customer))

    def test_3_who_may_see_them(self):
        customer = desk.customer_create(self.seller)
        answer = self.stack.login("CUSTOMER").get("/loyalty/%s" % customer["id"])
        self.assertEqual((answer.status, answer.code), (404, "CUSTOMER_NOT_FOUND"))
        self.assertEqual(self.stack.login("INVENTORY").get("/loyalty/%s" % customer["id"]).status, 403)
        self.assertEqual(self.seller.get("/loyalty/a0000000-0000-4000-8000-00000000ffff").status, 404)

    def test_4_its_specs_and_checks_pass(self):
        code, said = self.stack.command("test", os.path.join(self.stack.root, "tests/spec/loyalty"))
        self.assertEqual(code, 0, said)
        code, said = self.stack.command("check", "--strict", "--database", self.stack.superuser_url())
        self.assertEqual(code, 0, said)

    def test_5_its_setting_is_known_and_others_are_not(self):
        saved = dict(self.stack.env)
        self.addCleanup(self.stack.env.update, saved)
        path = os.path.join(self.stack.folder, "operator.lua")
        self.stack.env["SHAMA_CONFIG"] = path
        self.addCleanup(self.stack.env.pop, "SHAMA_CONFIG")
        for text, code, pattern in (("loyalty = { db = { pool = 3 } }", 0, "no finding"), ("loyality = { db = { pool = 3 } }", 1, r'unknown setting "loyality\.db\.pool"')):
            with open(path, "w", encoding="utf-8") as file:
                file.write("return { %s }" % text)
            got, said = self.stack.command("check")
            self.assertEqual(got, code, said)
            self.assertRegex(said, pattern)


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
