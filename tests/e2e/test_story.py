"""Proves the whole way of a sale, through every floor: HTTP, token, rule, transaction, outbox, JetStream, the other services, PDF.
How: the steps of the story as the four demo users, in order, against a real server with its own Postgres and NATS."""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from decimal import ROUND_HALF_UP, Decimal

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import desk, runner, stack  # noqa: E402
from support.api import token_parts, wait_until  # noqa: E402

NOT_PENDING = "Solo cotizaciones PENDING pueden aprobarse"
TAX = Decimal("0.16")  # rules/sales/policy.lua: category "standard"


def cents(amount):
    return Decimal(amount).quantize(Decimal("0.01"), ROUND_HALF_UP)


class Story(runner.StoryCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = stack.shared()
        cls.admin = cls.seller = cls.keeper = cls.buyer = None
        cls.products, cls.customer, cls.quotation, cls.own = [], None, None, None

    def answer(self, answer, status):
        self.assertEqual(answer.status, status, repr(answer))
        return answer.json

    def read_quotation(self):
        return self.answer(self.seller.get("/quotations/" + self.quotation["id"]), 200)

    def assert_problem(self, answer, status, code=None):
        self.assertEqual(answer.status, status, repr(answer))
        self.assertTrue(answer.is_problem, answer.headers)
        problem = answer.json
        self.assertEqual(problem["status"], status)
        self.assertTrue(problem["code"] and problem["title"] and problem["request_id"], problem)
        if code:
            self.assertEqual(problem["code"], code)
        return problem

    def test_01_everyone_logs_in(self):
        cls = type(self)
        for name, role in (("admin", "ADMIN"), ("seller", "SALES"), ("keeper", "INVENTORY"), ("buyer", "CUSTOMER")):
            login = self.stack.demo(role)
            answer = self.stack.anonymous().post("/auth/login", {"email": login["email"], "password": login["password"]})
            body = self.answer(answer, 200)
            self.assertEqual(body["token_type"], "Bearer")
            self.assertEqual(body["expires_in"], 900)
            self.assertTrue(body["refresh_token"])
            header, claims = token_parts(body["access_token"])
            self.assertEqual(header["alg"], "HS256")
            self.assertIn(role, claims["roles"])
            setattr(cls, name, self.stack.login(role))
        wrong = self.stack.anonymous().post("/auth/login", {"email": self.stack.demo("SALES")["email"], "password": "wrong-password"})
        self.assert_problem(wrong, 401)
        me = self.answer(self.seller.get("/auth/me"), 200)
        self.assertEqual(me["email"], self.stack.demo("SALES")["email"])
        self.assertNotIn("password", me)

    def test_02_no_token_is_401(self):
        for path in ("/quotations", "/products", "/customers", "/auth/me"):
            answer = self.stack.anonymous().get(path)
            self.assert_problem(answer, 401)
            self.assertTrue(answer.headers.get("www-authenticate", "").startswith("Bearer"))

    def test_03_seller_may_not_create_products(self):
        body = {"sku": desk.unique("E2E"), "name": "x", "unit": "pieza", "price": "1.00"}
        self.assert_problem(self.seller.post("/products", body), 403)
        self.assert_problem(self.buyer.post("/products", body), 403)

    def test_04_products_are_created(self):
        for price in ("10.00", "19.99"):
            product = desk.product_create(self.admin, price=price, tax_category="standard")
            self.assertEqual(product["price"], price)
            self.assertEqual(product["stock_on_hand"], 0)
            self.assertEqual(product["version"], 1)
            self.products.append(product)
        twice = self.admin.post("/products", {"sku": self.products[0]["sku"], "name": "x", "unit": "pieza", "price": "1.00"})
        self.assert_problem(twice, 409)

    def test_05_ten_pieces_are_received(self):
        for product in self.products:
            movement = desk.stock_receive(self.keeper, product, 10)
            self.assertEqual((movement["kind"], movement["quantity"], movement["signed_quantity"]), ("RECEIPT", 10, 10))
            self.assertEqual(desk.on_hand(self.keeper, product), 10)

    def test_06_a_customer_is_created(self):
        type(self).customer = desk.customer_create(self.seller)
        self.assertEqual(self.customer["status"], "LEAD")

    def test_07_a_quotation_with_two_lines(self):
        type(self).quotation = q = desk.quotation_create(self.seller, self.customer, [(self.products[0], 2), (self.products[1], 3)])
        self.assertEqual((q["status"], q["number"], q["version"]), ("DRAFT", None, 1))
        self.assertEqual(q["customer_name"], self.customer["name"])
        self.assertEqual([item["unit_price"] for item in q["items"]], ["10.00", "19.99"])
        self.assertEqual([item["unit_price_snapshot"] for item in q["items"]], [None, None])
        self.assertEqual(q["subtotal"], "79.97")
        self.assertEqual(Decimal(q["tax_total"]), cents(20 * TAX) + cents(Decimal("59.97") * TAX))
        self.assertEqual(Decimal(q["total_amount"]), Decimal(q["subtotal"]) - Decimal(q["discount_total"]) + Decimal(q["tax_total"]))
        self.assertEqual(self.read_quotation()["total_amount"], q["total_amount"])

    def test_08_approving_a_draft_is_refused(self):
        problem = self.assert_problem(self.seller.post("/quotations/%s/approve" % self.quotation["id"]), 409, "QUOTATION_NOT_PENDING")
        self.assertEqual(problem["detail"], NOT_PENDING)

    def test_09_submit_gives_a_number(self):
        q = desk.quotation_act(self.seller, self.quotation, "submit")
        self.assertEqual(q["status"], "PENDING")
        self.assertRegex(q["number"], r"^COT-\d{4}-\d{6}$")
        self.assertTrue(q["submitted_at"])

    def test_10_the_price_changes(self):
        product = self.answer(self.admin.patch("/products/" + self.products[0]["id"], {"price": "10.50"}), 200)
        self.assertEqual(product["price"], "10.50")
        self.assertEqual(self.read_quotation()["items"][0]["unit_price"], "10.00")  # what was submitted stays
        history = self.answer(self.admin.get("/products/%s/price-history" % product["id"]), 200)["data"]
        self.assertIn("10.50", [entry["price"] for entry in history])

    def test_11_approve_freezes_the_price_of_this_moment(self):
        q = desk.quotation_act(self.seller, self.quotation, "approve")
        self.assertEqual(q["status"], "SOLD")
        q = self.read_quotation()
        self.assertEqual([item["unit_price_snapshot"] for item in q["items"]], ["10.50", "19.99"])
        self.assertEqual([item["unit_price"] for item in q["items"]], ["10.00", "19.99"])
        self.assertEqual([item["line_total"] for item in q["items"]], ["21.00", "59.97"])
        self.assertEqual(Decimal(q["total_amount"]), Decimal("80.97") + cents(21 * TAX) + cents(Decimal("59.97") * TAX))
        self.assertTrue(q["sold_at"])

    def test_12_approving_again_is_409(self):
        path = "/quotations/%s/approve" % self.quotation["id"]
        problem = self.assert_problem(self.seller.post(path), 409, "QUOTATION_NOT_PENDING")
        self.assertEqual(problem["detail"], NOT_PENDING)
        english = self.assert_problem(self.seller.post(path, headers={"Accept-Language": "en"}), 409, "QUOTATION_NOT_PENDING")
        self.assertNotEqual(english["detail"], NOT_PENDING)

    def test_13_the_event_reduces_stock_once(self):
        self.assertEqual(desk.wait_on_hand(self.keeper, self.products[0], 8), 8)
        self.assertEqual(desk.wait_on_hand(self.keeper, self.products[1], 7), 7)
        time.sleep(1)  # a second delivery would have come by now
        for product, quantity in zip(self.products, (2, 3)):
            sales = desk.sale_movements(self.keeper, product)
            self.assertEqual([m["quantity"] for m in sales], [quantity], sales)
            self.assertEqual(desk.on_hand(self.keeper, product), 10 - quantity)

    def test_14_the_lead_becomes_active(self):
        path = "/customers/" + self.customer["id"]
        wait_until(lambda: self.seller.get(path).json["status"] == "ACTIVE")
        self.assertEqual(self.answer(self.seller.get(path), 200)["status"], "ACTIVE")
        interactions = self.answer(self.seller.get(path + "/interactions"), 200)["data"]
        self.assertEqual([i["kind"] for i in interactions], ["SYSTEM"], interactions)

    def test_15_the_pdf_is_valid_and_branded(self):
        answer = self.seller.get("/quotations/%s/pdf" % self.quotation["id"], headers={"Accept": "application/pdf, application/problem+json"})
        self.assertEqual(answer.status, 200, repr(answer))
        self.assertEqual(answer.headers["content-type"], "application/pdf")
        pdf = answer.body
        self.assertTrue(pdf.startswith(b"%PDF-1.") and pdf.rstrip().endswith(b"%%EOF"))
        drawn = b"\n".join(_inflated(pdf)).decode("latin-1")
        for red, green, blue in ((0xF0, 0xC8, 0x00), (0x2E, 0x27, 0x25)):  # #f0c800, #2E2725
            self.assertTrue(_has_colour(drawn, red / 255, green / 255, blue / 255), "colour %02x%02x%02x" % (red, green, blue))
        with tempfile.NamedTemporaryFile(suffix=".pdf") as file:
            file.write(pdf)
            file.flush()
            if shutil.which("qpdf"):
                done = subprocess.run(["qpdf", "--check", file.name], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            if shutil.which("pdftotext"):
                text = subprocess.run(["pdftotext", "-layout", file.name, "-"], capture_output=True, check=True).stdout.decode("utf-8")
                q = self.read_quotation()
                for wanted in (q["number"], "Café molido", "Ñandú", "Cotización"):
                    self.assertIn(wanted, text)

    def test_16_the_events_tell_the_story(self):
        entries = self.answer(self.seller.get("/quotations/%s/events" % self.quotation["id"]), 200)["data"]
        self.assertEqual([entry["event"].split(".")[-1] for entry in entries], ["created", "submitted", "approved"])
        me = self.answer(self.seller.get("/auth/me"), 200)["id"]
        for entry in entries:
            self.assertEqual(entry["by"], me)
            self.assertTrue(entry["ts"] and entry["rules"], entry)

    def test_17_nothing_changes_after_the_sale(self):
        path = "/quotations/" + self.quotation["id"]
        before = self.read_quotation()
        self.assert_problem(self.seller.patch(path, {"notes": "x"}), 409)
        self.assert_problem(self.admin.post(path + "/cancel", {"reason": "x"}), 409)
        self.assert_problem(self.admin.post(path + "/submit"), 409)
        self.answer(self.admin.patch("/products/" + self.products[0]["id"], {"price": "99.00"}), 200)
        self.assertEqual(self.read_quotation(), before)

    def test_18_a_customer_sees_only_its_own(self):
        own_id = self.answer(self.buyer.get("/auth/me"), 200)["customer_id"]
        self.assert_problem(self.buyer.get("/quotations/" + self.quotation["id"]), 404)
        self.assert_problem(self.buyer.get("/quotations/%s/pdf" % self.quotation["id"]), 404)
        self.assert_problem(self.buyer.post("/quotations/%s/approve" % self.quotation["id"]), 403)
        q = desk.quotation_create(self.buyer, {"id": own_id}, [(self.products[1], 1)])
        listed = self.answer(self.buyer.get("/quotations?limit=200"), 200)["data"]
        self.assertIn(q["id"], [entry["id"] for entry in listed])
        self.assertEqual({entry["customer_id"] for entry in listed}, {own_id})
        others = self.buyer.get("/quotations?customer_id=" + self.customer["id"])
        self.assertEqual(self.answer(others, 200)["data"], [])
        self.assertIn(self.buyer.post("/quotations", {"customer_id": self.customer["id"], "items": [
            {"product_id": self.products[1]["id"], "quantity": 1}]}).status, (403, 404, 422))
        product = self.answer(self.buyer.get("/products/" + self.products[0]["id"]), 200)
        for hidden in ("cost", "stock_on_hand", "stock_reserved", "stock_available"):
            self.assertNotIn(hidden, product)
        customers = self.answer(self.buyer.get("/customers"), 200)["data"]
        self.assertEqual([customer["id"] for customer in customers], [own_id])
        self.assert_problem(self.buyer.get("/customers/" + self.customer["id"]), 404)
        self.assert_problem(self.buyer.post("/customers", {"kind": "PERSON", "name": "x"}), 403)

    def test_19_lists_page_without_gaps(self):
        seen, path, pages = [], "/quotations?limit=1", 0
        while path and pages < 5:
            answer = self.seller.get(path)
            body = self.answer(answer, 200)
            seen += [entry["id"] for entry in body["data"]]
            pages += 1
            if body["next_cursor"]:
                self.assertIn('rel="next"', answer.headers.get("link", ""))
            path = "/quotations?limit=1&cursor=" + body["next_cursor"] if body["next_cursor"] else None
        self.assertEqual(len(seen), len(set(seen)))
        self.assertGreaterEqual(len(seen), 2)
        found = self.answer(self.seller.get("/quotations?customer_id=%s&status=SOLD" % self.customer["id"]), 200)["data"]
        self.assertEqual([entry["id"] for entry in found], [self.quotation["id"]])
        self.assertEqual(found[0]["item_count"], 2)

    def test_20_etag_and_if_match(self):
        path = "/quotations/" + self.quotation["id"]
        etag = self.seller.get(path).headers["etag"]
        self.assertEqual(self.seller.get(path, headers={"If-None-Match": etag}).status, 304)
        draft = desk.quotation_create(self.seller, self.customer, [(self.products[1], 1)])
        stale = self.seller.patch("/quotations/" + draft["id"], {"notes": "a"}, headers={"If-Match": '"99"'})
        self.assert_problem(stale, 412)
        self.answer(self.seller.patch("/quotations/" + draft["id"], {"notes": "a"}, headers={"If-Match": '"1"'}), 200)

    def test_21_platform_endpoints(self):
        health = self.stack.anonymous().get("/health")
        self.assertEqual((health.status, health.json["status"]), (200, "ok"))
        self.assertEqual(self.stack.anonymous().get("/health/ready").status, 200)
        metrics = self.stack.anonymous().get("/metrics")
        self.assertEqual(metrics.status, 200)
        self.assertRegex(metrics.body.decode(), r"(?m)^shama_\w+(\{[^}]*\})? [0-9.e+]+$")
        openapi = self.stack.anonymous().get("/openapi.json")
        self.assertEqual(openapi.status, 200)
        self.assertIn("/api/v1/quotations/{id}/approve", openapi.json["paths"])
        rules = self.answer(self.admin.get("/admin/rules"), 200)
        self.assertTrue(re.search(r"[0-9a-f]{12}", str(rules)))
        self.assert_problem(self.seller.get("/admin/rules"), 403)

    def test_22_the_read_only_login_sees_no_secrets(self):
        if not shutil.which("psql"):
            self.skipTest("no psql")

        def ask(sql):
            return subprocess.run(["psql", "-XAtq", self.stack.dev["database_url"], "-c", sql], capture_output=True, text=True, check=False)

        sold = ask("SELECT status FROM sales.quotations WHERE id = '%s'" % self.quotation["id"])
        self.assertEqual(sold.stdout.strip(), "SOLD", sold.stderr)
        self.assertNotEqual(ask("SELECT password_hash FROM identity.users").returncode, 0)
        self.assertNotEqual(ask("UPDATE sales.quotations SET notes = 'x'").returncode, 0)
        unsent = ask("SELECT count(*) FROM sales.outbox WHERE published_at IS NULL")
        if unsent.returncode == 0:
            self.assertEqual(unsent.stdout.strip(), "0")

    def test_23_many_log_in_at_once(self):
        """Passwords are hashed a few at a time; who waits in line is not told that the password is wrong, at most (on a slow machine) to wait."""
        login = self.stack.demo("SALES")
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            asked = [pool.submit(self.stack.anonymous().post, "/auth/login", {"email": login["email"], "password": login["password"]})
                     for _ in range(16)]
        statuses = [answer.result().status for answer in asked]
        self.assertTrue(statuses.count(200) >= 4 and set(statuses) <= {200, 503}, statuses)

    def test_24_quickstart(self):
        if not shutil.which("curl"):
            self.skipTest("no curl")
        done = subprocess.run(["bash", os.path.join(stack.ROOT, "examples", "quickstart.sh")], capture_output=True, text=True, check=False,
                              timeout=120, env=dict(os.environ, BASE_URL=self.stack.base_url, SHAMA_PASSWORD=self.stack.demo("SALES")["password"]))
        self.assertEqual(done.returncode, 0, done.stdout[-1500:] + done.stderr[-1500:])
        self.assertTrue(done.stdout.rstrip().endswith("== Done"), done.stdout[-500:])


def _inflated(pdf):
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.S):
        try:
            yield zlib.decompress(match.group(1))
        except zlib.error:
            yield match.group(1)


def _has_colour(drawn, *wanted):
    for match in re.finditer(r"([\d.]+) ([\d.]+) ([\d.]+) (?:rg|RG)\b", drawn):
        if all(abs(float(have) - want) < 0.0019 for have, want in zip(match.groups(), wanted)):
            return True
    return False


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
