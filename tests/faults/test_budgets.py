"""Proves that one bad rule hurts nobody else: a rule stuck in C has its worker ended by name and its route, or its event handler, put in
quarantine until the next reload; a kill after writes leaves nothing; memory fails the one who holds it; garbage is collected before the cap.
How: a stack of its own with routes that misbehave (support/probe.py)."""

import http.client
import json
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import desk, runner  # noqa: E402
from support.api import Client, wait_until  # noqa: E402
from support.probe import Load, ProbeStack  # noqa: E402

MEMORY_MB = 32
SETTINGS = """budget = { hard_limit_ms = 1200, slice_ms = 200, memory_mb = %d }, reload = { guard_s = 0 },
events = { ack_wait_ms = 2000, nak_delay_ms = "500" },""" % MEMORY_MB
ARRIVALS = "rules/sales/events.lua"
STUCK_EVENT = """
  for _, event in ipairs(events) do
    if event.payload.name:find("STUCK", 1, true) then endless.run() end
  end
"""


class Budgets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = ProbeStack(SETTINGS)
        try:
            cls.stack.start()
        except BaseException:
            cls.stack.remove()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.stack.remove()

    def setUp(self):
        self.await_workers()

    def await_workers(self):
        self.assertTrue(wait_until(lambda: all(w["ready"] for w in self.stack.status()["workers"]), 20), self.stack.status())

    def get(self, path):
        """The answer, or None when the connection ended without one."""
        client = Client(self.stack.base_url)
        try:
            return client.get(path, headers={"X-Request-Id": "from-" + self._testMethodName[:6]})
        except (OSError, http.client.HTTPException):
            return None
        finally:
            client.close()

    def log_lines(self, message):
        lines = (json.loads(line) for line in self.stack.log().splitlines() if message in line)
        return [line for line in lines if line["msg"] == message]

    def await_lines(self, message, count):
        self.assertTrue(wait_until(lambda: len(self.log_lines(message)) >= count, 15), message)
        return self.log_lines(message)

    def assert_problem(self, answer, status, code):
        self.assertIsNotNone(answer)
        self.assertEqual((answer.status, answer.code), (status, code), answer)

    # ---- the hard limit

    def test_1_a_rule_stuck_in_c_loses_its_worker_and_then_its_route(self):
        pids = set(self.stack.worker_pids())
        for kills in (1, 2):
            self.assertIsNone(self.get("/probe/stuck"))
            line = self.await_lines("a worker was stuck and is ended", kills)[-1]
            self.assertEqual((line["service"], line["route"], line["kills"]), ("sales", "GET /api/v1/probe/stuck", kills))
            self.assertEqual(line["request_id"], "from-" + self._testMethodName[:6])
            self.await_workers()
        self.assertLess(len(pids & set(self.stack.worker_pids())), len(pids))
        for _ in range(6):
            self.assert_problem(self.get("/probe/stuck"), 503, "ROUTE_QUARANTINED")
            self.assertEqual(self.get("/probe/pair").status, 200)
        self.assertEqual(self.stack.anonymous().post("/probe/stuck").status, 200, "another method of that path")
        self.assertTrue(self.stack.reload()["ok"])
        self.assertIsNone(self.get("/probe/stuck"))  # a reload gives it another chance
        self.assertEqual(self.await_lines("a worker was stuck and is ended", 3)[-1]["kills"], 1)

    def test_2_an_event_handler_that_ends_workers_is_paused(self):
        before = self.stack.read(ARRIVALS)
        seller = self.stack.login("SALES")
        customer = desk.customer_create(seller)
        draft = desk.quotation_create(seller, customer, [(desk.product_create(self.stack.login("ADMIN")), 1)])
        ended = len(self.log_lines("a worker was stuck and is ended"))
        self.stack.edit(ARRIVALS, "customers_updated(tx, events)\n", "customers_updated(tx, events)\n" + STUCK_EVENT)
        self.stack.edit(ARRIVALS, "\nlocal arrivals", '\nlocal endless = require "shama.endless"\n\nlocal arrivals')
        try:
            self.assertTrue(self.stack.reload()["ok"])
            desk.must(seller.patch("/customers/" + customer["id"], {"name": "STUCK S.A."}), 200)
            line = self.await_lines("a worker was stuck and is ended", ended + 2)[-1]
            self.assertEqual((line["service"], line["route"]), ("sales", "sales-customer_updated"))
            self.await_workers()
            lines = self.await_lines("a consumer is paused until the next reload: its handler ended workers", 1)
            self.assertEqual(lines[0]["consumer"], "sales-customer_updated")
            time.sleep(4)  # longer than ack_wait_ms: it does not come again
            self.assertEqual(len(self.log_lines("a worker was stuck and is ended")), ended + 2)
        finally:
            self.stack.write(ARRIVALS, before)
        self.assertTrue(self.stack.reload()["ok"])
        path = "/quotations/" + draft["id"]
        self.assertTrue(wait_until(lambda: "STUCK S.A." in str(self.stack.login("SALES").get(path).json), 15), "the event was not lost")

    # ---- budgets of a task

    def test_3_an_endless_loop_is_ended(self):
        exceeded = 'shama_budget_exceeded_total{service="sales",route="/api/v1/probe/spin"}'
        before = self.stack.metric(exceeded)
        self.assert_problem(self.get("/probe/spin"), 503, "BUDGET_EXCEEDED")
        line = self.await_lines("a rule was ended", 1)[-1]
        self.assertIn("sales/probe.lua", line["traceback"])
        self.assertEqual(self.stack.metric(exceeded), before + 1)
        self.assertEqual(self.stack.pairs(), {(0, 0)})

    def test_4_a_kill_after_writes_leaves_nothing(self):
        before = self.get("/probe/written/1901").json
        for _ in range(3):
            self.assert_problem(self.get("/probe/write/1901"), 503, "BUDGET_EXCEEDED")
        self.assertEqual(self.get("/probe/written/1901").json, {"rows": 0, "events": before["events"]})

    def test_5_who_takes_all_memory_fails_alone(self):
        with Load(self.stack) as load:
            for _ in range(5):
                self.assert_problem(self.get("/probe/grow"), 503, "MEMORY_EXCEEDED")
        self.assertEqual(load.failures[:3], [])
        self.assertGreater(load.count, 50)
        self.assertEqual(self.stack.pairs(), {(0, 0)})

    def test_6_who_holds_memory_while_it_waits_fails_and_not_the_next(self):
        """Two that together hold nearly all: one of them goes, and those who only pass by are served."""
        told, by_worker = [], {}
        for client in [Client(self.stack.base_url) for _ in range(16)]:
            client.get("/health")
            by_worker.setdefault(self.stack.worker_of(client.conn.sock), []).append(client)
        self.assertNotIn(None, by_worker)
        clients = max(by_worker.values(), key=len)
        threads = [threading.Thread(target=lambda c=c: told.append(c.get("/probe/hold/13"))) for c in clients[:2]]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        for neighbour in clients[2:6]:
            answer = neighbour.get("/probe/work/6")
            self.assertEqual(answer.status, 200, answer)
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(answer.status for answer in told), [200, 503], told)

    def test_7_garbage_is_collected_before_the_cap(self):
        """Holding that much, LuaJIT alone would begin to collect only beyond the cap."""
        for _ in range(3):
            answer = self.get("/probe/litter/13")
            self.assertEqual((answer.status, answer.json), (200, {"kept": 13 * 16, "made": 40 * 16}), answer)

    def test_8_server_timing_is_for_admins(self):
        self.assertIn("lua;dur=", self.stack.login("ADMIN").get("/quotations?limit=5").headers.get("server-timing", ""))
        self.assertNotIn("server-timing", self.stack.login("SALES").get("/quotations?limit=5").headers)


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
