"""Proves that whatever a client sends wrong gets its 4xx as problem+json and a log line with the same request id, and that the server
goes on: never a 500, a hang or a crash. How: each case is sent to a real server; at the end no worker has been replaced."""

import json
import os
import sys
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import desk, runner, stack  # noqa: E402
from support.api import full_path, raw, token_make, token_parts  # noqa: E402

UNKNOWN = "00000000-0000-4000-8000-000000000000"


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = stack.shared()
        cls.admin, cls.seller, cls.keeper = (cls.stack.login(role) for role in ("ADMIN", "SALES", "INVENTORY"))
        cls.product = desk.product_create(cls.admin)
        cls.customer = desk.customer_create(cls.seller)
        cls.workers = sorted(cls.stack.worker_pids())

    # ---- what every refusal must be ----

    def refused(self, answer, status, code=None, pointer=None):
        self.assertIsNotNone(answer, "the connection ended without an answer")
        self.assertEqual(answer.status, status, repr(answer))
        self.assertTrue(answer.is_problem, answer.headers)
        problem = answer.json
        self.assertEqual(problem["status"], status)
        for member in ("type", "title", "code", "detail", "request_id"):
            self.assertTrue(problem.get(member), "%s in %r" % (member, problem))
        if code:
            self.assertEqual(problem["code"], code)
        if pointer is not None:
            self.assertIn(pointer, [error["pointer"] for error in problem["errors"]])
        self.assertTrue(self.stack.log_has(problem["request_id"]), "no log line for %r" % problem)
        return problem

    def quotation(self, text):
        """Posts a body to /quotations, text or bytes, with ids filled in."""
        data = text if isinstance(text, bytes) else text.encode("utf-8")
        data = data.replace(b"CUSTOMER", self.customer["id"].encode()).replace(b"PRODUCT", self.product["id"].encode())
        return self.seller.post("/quotations", data)

    def with_quantity(self, quantity):
        return self.quotation('{"customer_id":"CUSTOMER","items":[{"product_id":"PRODUCT","quantity":%s}]}' % quantity)

    def send(self, head, body=b"", token=True):
        """Raw bytes: `head` without the lines that every request has."""
        lines = head.encode("latin-1") + b"\r\nHost: x\r\n"
        if token:
            lines += b"Authorization: Bearer " + self.seller.token.encode() + b"\r\n"
        return raw(self.stack.base_url, lines + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    # ---- JSON ----

    def test_malformed_json(self):
        cases = {
            "cut": '{"customer_id":"CUSTOMER"', "empty text": " ", "no object": "nonsense", "trailing comma": '{"customer_id":"CUSTOMER",}',
            "trailing text": '{"customer_id":"CUSTOMER"} x', "single quotes": "{'a':1}", "comment": '{/**/"customer_id":"CUSTOMER"}',
            "bare key": '{customer_id:"CUSTOMER"}', "control character": '{"notes":"a\nb"}', "bad escape": '{"notes":"\\x"}',
            "lone surrogate": '{"notes":"\\ud800"}', "NUL": '{"notes":"a\\u0000b"}',
            "invalid UTF-8": b'{"notes":"\xff\xfe"}', "overlong UTF-8": b'{"notes":"\xc0\xaf"}', "BOM": b'\xef\xbb\xbf{"notes":"a"}',
            "duplicate keys": '{"customer_id":"CUSTOMER","customer_id":"CUSTOMER","items":[{"product_id":"PRODUCT","quantity":1}]}',
            "100 levels deep": '{"items":' + "[" * 100 + "]" * 100 + "}", "100,000 levels deep": "[" * 100000,
        }
        for name, text in cases.items():
            with self.subTest(name):
                self.refused(self.quotation(text), 400)

    def test_numbers_that_json_does_not_have(self):
        for number in ("01", "1.", "+1", "NaN", "0x10", "Infinity", "-", ".5", "1e", "--1"):
            with self.subTest(number):
                self.refused(self.with_quantity(number), 400)

    def test_body_that_is_no_object(self):
        for text in ("[]", '"text"', "1", "null", "true"):
            with self.subTest(text):
                self.refused(self.quotation(text), 400)

    def test_content_type(self):
        body = json.dumps({"customer_id": self.customer["id"]}).encode()
        for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
            with self.subTest(kind):
                self.refused(self.seller.post("/quotations", body, headers={"Content-Type": kind}), 415)

    # ---- fields ----

    def test_unknown_field(self):
        answer = self.quotation('{"customer_id":"CUSTOMER","items":[{"product_id":"PRODUCT","quantity":1}],"colour":"red"}')
        problem = self.refused(answer, 400, pointer="/colour")
        self.assertEqual([error["code"] for error in problem["errors"]], ["UNKNOWN_FIELD"])

    def test_unknown_field_inside(self):
        answer = self.quotation('{"customer_id":"CUSTOMER","items":[{"product_id":"PRODUCT","quantity":1,"unit_price":"0.01"}]}')
        self.refused(answer, 400, pointer="/items/0/unit_price")

    def test_read_only_field(self):
        self.refused(self.quotation('{"customer_id":"CUSTOMER","items":[{"product_id":"PRODUCT","quantity":1}],"status":"SOLD"}'), 400, pointer="/status")

    def test_missing_fields_are_all_named(self):
        problem = self.refused(self.quotation("{}"), 400)
        pointers = {error["pointer"] for error in problem["errors"]}
        self.assertTrue({"/customer_id", "/items"} <= pointers, problem)

    def test_missing_body(self):
        self.refused(self.seller.post("/quotations"), 400)

    def test_wrong_types(self):
        for name, text, pointer in (
                ("number for an id", '{"customer_id":1,"items":[{"product_id":"PRODUCT","quantity":1}]}', "/customer_id"),
                ("object for a list", '{"customer_id":"CUSTOMER","items":{}}', "/items"),
                ("text for an object", '{"customer_id":"CUSTOMER","items":["x"]}', "/items/0"),
                ("text for an integer", '{"customer_id":"CUSTOMER","items":[{"product_id":"PRODUCT","quantity":"1"}]}', "/items/0/quantity"),
                ("null for what is required", '{"customer_id":null,"items":[{"product_id":"PRODUCT","quantity":1}]}', "/customer_id"),
                ("boolean for text", '{"customer_id":"CUSTOMER","items":[{"product_id":"PRODUCT","quantity":1}],"notes":true}', "/notes")):
            with self.subTest(name):
                self.refused(self.quotation(text), 400, pointer=pointer)

    def test_quantities(self):
        for quantity in ("0", "-1", "1.5", "100001", "9007199254740993", "9223372036854775808", "1e3"):
            with self.subTest(quantity):
                self.refused(self.with_quantity(quantity), 400, pointer="/items/0/quantity")
        self.refused(self.with_quantity("1" + "0" * 400), 400)

    def test_lists_have_limits(self):
        line = '{"product_id":"PRODUCT","quantity":1}'
        for name, items in (("none", ""), ("101", ",".join([line] * 101))):
            with self.subTest(name):
                self.refused(self.quotation('{"customer_id":"CUSTOMER","items":[%s]}' % items), 400, pointer="/items")

    def test_ids_that_are_no_uuid(self):
        for text in ("x", "123", UNKNOWN[:-1], UNKNOWN + "0", "0" * 36, UNKNOWN.replace("0", "g"), "%27%20OR%201=1--"):
            with self.subTest(text):
                self.refused(self.seller.get("/quotations/" + text), 400)
        self.refused(self.quotation('{"customer_id":"x","items":[{"product_id":"y","quantity":1}]}'), 400, pointer="/items/0/product_id")

    def test_what_does_not_exist(self):
        self.refused(self.seller.get("/quotations/" + UNKNOWN), 404)
        self.refused(self.seller.post("/quotations/%s/approve" % UNKNOWN), 404)
        self.refused(self.quotation('{"customer_id":"%s","items":[{"product_id":"PRODUCT","quantity":1}]}' % UNKNOWN), 422)
        self.refused(self.quotation('{"customer_id":"CUSTOMER","items":[{"product_id":"%s","quantity":1}]}' % UNKNOWN), 422, pointer="/items/0/product_id")

    def test_money(self):
        for price in ('"1.234"', '"1e3"', "1e3", '"1,50"', '"-1.00"', '"100000000.00"', '" 1.00"', '"01.00"', '"1."', '""', '"NaN"', '"+1.00"', "true"):
            with self.subTest(price):
                body = '{"sku":"%s","name":"x","unit":"pieza","price":%s}' % (desk.unique("BAD"), price)
                self.refused(self.admin.post("/products", body.encode()), 400, pointer="/price")

    def test_a_total_that_does_not_fit(self):
        dear = desk.product_create(self.admin, price="99999999.99", tax_category="exempt")
        body = {"customer_id": self.customer["id"], "items": [{"product_id": dear["id"], "quantity": 100000}]}
        self.refused(self.seller.post("/quotations", body), 422, "AMOUNT_TOO_LARGE")
        body["items"][0]["quantity"] = 1  # the largest that fits
        self.assertEqual(desk.must(self.seller.post("/quotations", body), 201)["total_amount"], "99999999.99")

    def test_query_parameters(self):
        for query in ("limit=0", "limit=201", "limit=x", "limit=1.5", "limit=", "limit=1&limit=2", "colour=red", "status=NOPE", "customer_id=x",
                      "from=2026-02-30", "from=yesterday", "cursor=x", "cursor=%00", "cursor=" + "A" * 2000, "search=%ff", "search=%zz"):
            with self.subTest(query[:40]):
                self.refused(self.seller.get("/quotations?" + query), 400)

    def test_an_empty_list_is_a_list(self):
        answer = self.seller.get("/quotations?customer_id=" + desk.customer_create(self.seller)["id"])
        self.assertEqual(answer.status, 200, repr(answer))
        self.assertIn(b'"data":[]', answer.body.replace(b" ", b""))
        self.assertIsNone(answer.json["next_cursor"])

    def test_stock_movements(self):
        path = "/products/%s/stock-movements" % self.product["id"]
        for body in ({"kind": "SALE", "quantity": 1}, {"kind": "RETURN", "quantity": 1}, {"kind": "RECEIPT", "quantity": 0},
                     {"kind": "RECEIPT", "quantity": -1}, {"kind": "ADJUSTMENT", "quantity": 0}, {"kind": "GIFT", "quantity": 1}):
            with self.subTest(str(body)):
                answer = self.keeper.post(path, body)
                self.assertIn(answer.status, (400, 422), repr(answer))
                self.refused(answer, answer.status)
        answer = self.keeper.post(path, {"kind": "ISSUE", "quantity": 1000})  # stock is never negative
        self.assertIn(answer.status, (409, 422), repr(answer))
        self.refused(answer, answer.status)

    # ---- HTTP ----

    def test_body_of_two_megabytes(self):
        self.refused(self.seller.post("/quotations", b'{"notes":"' + b"x" * (2 << 20) + b'"}', fresh=True), 413)
        self.refused(self.send("POST /api/v1/quotations HTTP/1.1\r\nContent-Type: application/json", b"x" * (2 << 20)), 413)

    def test_two_hundred_headers(self):
        self.refused(self.send("GET /api/v1/quotations HTTP/1.1\r\n" + "\r\n".join("X-H%d: y" % i for i in range(200))), 431)

    def test_a_header_of_100_kb(self):
        self.refused(self.send("GET /api/v1/quotations HTTP/1.1\r\nX-Long: " + "y" * 100000), 431)

    def test_a_target_of_100_kb(self):
        self.refused(self.send("GET /api/v1/quotations?search=" + "y" * 100000 + " HTTP/1.1"), 414)

    def test_paths(self):
        for path in ("/api/v1/quotations/%00", "/api/v1/%zz", "/api/v1/../health", "/api/v1/%2e%2e/health", "/api/v1/%ff", "/%c0%af", "/a%2fb"):
            with self.subTest(path):
                self.refused(self.send("GET %s HTTP/1.1" % path), 400)
        self.refused(self.seller.get("/nothing-here"), 404)
        self.refused(self.stack.anonymous().get("/health/nothing"), 404)
        answer = self.seller.request("PUT", "/quotations")
        self.refused(answer, 405)
        allowed = {method.strip() for method in answer.headers["allow"].split(",")}
        self.assertTrue({"GET", "POST"} <= allowed and "PUT" not in allowed, allowed)

    def test_requests_that_are_no_http(self):
        host = b"Host: x\r\n"
        for name, data, status in (
                ("garbage", b"garbage\r\n\r\n", 400), ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
                ("no host", b"GET /health HTTP/1.1\r\n\r\n", 400), ("two hosts", b"GET /health HTTP/1.1\r\n" + host * 2 + b"\r\n", 400),
                ("length and chunked", b"POST /health HTTP/1.1\r\n" + host + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
                ("two lengths", b"POST /health HTTP/1.1\r\n" + host + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
                ("folded header", b"GET /health HTTP/1.1\r\n" + host + b"A: b\r\n c\r\n\r\n", 400),
                ("space before colon", b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n", 400),
                ("version 2", b"GET /health HTTP/2.0\r\n" + host + b"\r\n", 505), ("rtsp", b"SETUP /health HTTP/1.1\r\n" + host + b"\r\n", 501),
                ("expectation", b"GET /health HTTP/1.1\r\n" + host + b"Expect: miracles\r\n\r\n", 417)):
            with self.subTest(name):
                self.refused(raw(self.stack.base_url, data), status)

    # ---- tokens ----

    def test_tokens(self):
        secret, good = self.stack.jwt_secret(), self.stack.token("SALES")
        header, claims = token_parts(good)
        now = int(time.time())

        def changed(**more):
            return dict(claims, **more)

        fine = self.stack.anonymous()
        fine.token = token_make(claims, secret)
        self.assertEqual(fine.get("/quotations").status, 200, "tokens made here are accepted when nothing is wrong with them")
        cases = {
            "alg none": token_make(claims, None, {"alg": "none", "typ": "JWT"}),
            "alg None": token_make(claims, None, {"alg": "None", "typ": "JWT"}),
            "alg none, signed": token_make(claims, secret, {"alg": "none", "typ": "JWT"}),
            "alg HS512": token_make(claims, secret, {"alg": "HS512", "typ": "JWT"}),
            "alg RS256": token_make(claims, secret, {"alg": "RS256", "typ": "JWT"}),
            "no alg": token_make(claims, secret, {"typ": "JWT"}),
            "another key": token_make(claims, "another-key-another-key-another-key-!"),
            "empty signature": good.rpartition(".")[0] + ".",
            "cut signature": good[:-2],
            "expired": token_make(changed(exp=now - 60), secret),
            "no exp": token_make({k: v for k, v in claims.items() if k != "exp"}, secret),
            "exp as text": token_make(changed(exp="tomorrow"), secret),
            "not yet": token_make(changed(nbf=now + 3600), secret),
            "no sub": token_make({k: v for k, v in claims.items() if k != "sub"}, secret),
            "unknown user": token_make(changed(sub=str(uuid.uuid4())), secret),
            "user id that is none": token_make(changed(sub="' OR 1=1 --"), secret),
            "two parts": good.rpartition(".")[0],
            "four parts": good + ".x",
            "nothing": "",
            "garbage": "garbage",
            "long": "a" * 8000,
        }
        for name, token in cases.items():
            with self.subTest(name):
                answer = self.stack.anonymous().get("/quotations", headers={"Authorization": "Bearer " + token})
                self.refused(answer, 401)
                self.assertTrue(answer.headers.get("www-authenticate", "").startswith("Bearer"))
        for scheme in ("Basic dXNlcjpwYXNz", "bearer", "Token " + good, good):
            with self.subTest(scheme[:12]):
                self.refused(self.stack.anonymous().get("/quotations", headers={"Authorization": scheme}), 401)

    def test_a_role_that_the_user_does_not_have(self):
        secret = self.stack.jwt_secret()
        _, claims = token_parts(self.stack.token("SALES"))
        answer = self.stack.anonymous().post("/products", {"sku": desk.unique("BAD"), "name": "x", "unit": "pieza", "price": "1.00"},
                                             headers={"Authorization": "Bearer " + token_make(dict(claims, roles=["ADMIN", "SALES"]), secret)})
        self.refused(answer, 403)
        # and one that the token does not claim does not come from the database
        answer = self.stack.anonymous().get("/quotations", headers={"Authorization": "Bearer " + token_make(dict(claims, roles=["INVENTORY"]), secret)})
        self.refused(answer, 403)

    def test_login(self):
        email = self.stack.demo("SALES")["email"]
        for body in ({"email": email}, {"password": "x"}, {}, {"email": 1, "password": "x"}, {"email": email, "password": None}, {"email": "x", "password": "y" * 5000}):
            with self.subTest(str(body)[:50]):
                answer = self.stack.anonymous().post("/auth/login", body)
                self.assertIn(answer.status, (400, 401), repr(answer))
                self.refused(answer, answer.status)
        self.refused(self.stack.anonymous().post("/auth/login", {"email": "nobody@shama.local", "password": "wrong-password"}), 401)

    def test_text_is_data(self):
        """What looks like SQL or markup comes back as it was."""
        for text in ("'; DROP TABLE crm.customers; --", "<script>alert(1)</script>", "Ñandú \U0001f600 \u202e", "%s%n{0}${x}", "a" * 200):
            with self.subTest(text[:20]):
                customer = desk.customer_create(self.seller, name=text)
                self.assertEqual(desk.must(self.seller.get("/customers/" + customer["id"]), 200)["name"], text)

    def test_zz_nobody_died(self):
        self.assertEqual(sorted(self.stack.worker_pids()), self.workers)
        self.assertEqual(self.seller.get("/quotations").status, 200)
        statuses = [line for line in self.stack.log().splitlines() if '"status":500' in line]
        self.assertEqual(statuses, [], "a 500 in the log")
        self.assertTrue(full_path("/quotations").startswith("/api/v1/"))


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
