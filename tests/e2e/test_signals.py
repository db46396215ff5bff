"""Proves what signals do: a killed worker is replaced while other connections go on and no event is lost; SIGTERM and SIGINT drain, end
with 0 and leave nothing running, and the data is there at the next start. How: a server of its own, killed in parts and as a whole."""

import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import desk, runner  # noqa: E402
from support.api import Client, full_path, wait_until  # noqa: E402
from support.stack import Stack  # noqa: E402


class Signals(runner.StoryCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        try:
            cls.stack.start()
        except BaseException:
            cls.stack.remove()
            raise
        cls.admin, cls.seller = cls.stack.login("ADMIN"), cls.stack.login("SALES")
        cls.sold = []

    @classmethod
    def tearDownClass(cls):
        cls.stack.remove()

    def open_on(self, worker, tries=200):
        """A client whose connection is held by this worker."""
        for _ in range(tries):
            client = Client(self.stack.base_url, self.stack.token("SALES"))
            self.assertEqual(client.get("/health").status, 200)
            if self.stack.worker_of(client.conn.sock) == worker:
                return client
            client.close()
        self.fail("no connection came to worker %d" % worker)
        return None

    def await_workers(self, gone):
        """Until as many workers as before are ready and `gone` is none of them."""
        def whole():
            pids = self.stack.worker_pids()
            return len(pids) == self.worker_count and gone not in pids
        self.assertTrue(wait_until(whole, 15, 0.1), self.stack.status())

    def test_1_a_killed_worker_is_replaced_and_others_do_not_notice(self):
        workers = self.stack.worker_pids()
        type(self).worker_count = len(workers)
        self.assertGreaterEqual(len(workers), 2)
        for pid in workers:
            self.assertEqual(os.sched_getscheduler(pid), os.SCHED_BATCH, "a worker interrupts whoever runs on its CPU")
        victim, other = workers[:2]
        mine, others = self.open_on(victim), self.open_on(other)
        sock = others.conn.sock
        os.kill(victim, signal.SIGKILL)
        for _ in range(50):
            self.assertEqual(others.get("/quotations?limit=1").status, 200)
            self.assertIs(others.conn.sock, sock, "the connection to the other worker did not last")
            time.sleep(0.01)
        with self.assertRaises(Exception):
            mine.conn.request("GET", "/health")
            mine.conn.getresponse()
        self.await_workers(victim)
        for _ in range(20):  # new connections are answered by whoever is there
            self.assertEqual(self.stack.anonymous().get("/health/ready").status, 200)

    def test_2_no_event_is_lost(self):
        product = desk.product_create(self.admin)
        desk.stock_receive(self.admin, product, 100)
        approved = 0
        for turn in range(6):
            pending = [desk.quotation_pending(self.seller, desk.customer_create(self.seller), [(product, 1)]) for _ in range(3)]
            for quotation in pending:
                desk.quotation_act(self.seller, quotation, "approve")
                approved += 1
            victim = self.stack.worker_pids()[turn % self.worker_count]
            os.kill(victim, signal.SIGKILL)  # in the middle of relaying and applying
            self.seller.close()
            self.await_workers(victim)
        self.assertEqual(desk.wait_on_hand(self.seller, product, 100 - approved, 60), 100 - approved)
        time.sleep(1)
        self.assertEqual(len(desk.sale_movements(self.seller, product)), approved)
        self.assertEqual(desk.on_hand(self.seller, product), 100 - approved)
        type(self).product = product

    def test_3_sigterm_finishes_what_is_in_flight(self):
        """Requests whose heads are there, and logins that wait for argon2, are answered; then everything ends."""
        body = b'{"kind":"RECEIPT","quantity":5,"reason":"during the drain"}'
        head = ("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                % (full_path("/products/%s/stock-movements" % self.product["id"]), self.stack.token("ADMIN"), len(body))).encode()
        half = []
        for _ in range(4):
            sock = socket.create_connection(("127.0.0.1", self.stack.port), timeout=15)
            sock.sendall(head + body[:10])
            half.append(sock)
        login, results = self.stack.demo("SALES"), []

        def log_in():
            try:
                results.append(Client(self.stack.base_url).post("/auth/login", {"email": login["email"], "password": login["password"]}).status)
            except Exception as error:
                results.append(repr(error))

        threads = [threading.Thread(target=log_in) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.03)  # they are read and being hashed
        self.before = desk.on_hand(self.seller, self.product)
        os.kill(self.stack.dev["server_pid"], 0)
        self.stack.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        for sock in half:
            sock.sendall(body[10:])
            answer = b""
            while True:
                chunk = sock.recv(65536)
                if not chunk:
                    break
                answer += chunk
            self.assertTrue(answer.startswith(b"HTTP/1.1 201"), answer[:500])
            self.assertIn(b"connection: close", answer.lower())
            sock.close()
        for thread in threads:
            thread.join(20)
        self.assertEqual(results, [200] * 4)
        self.assertEqual(self.stack.stop(), 0, self.stack.printed()[-2000:])
        type(self).expected = self.before + 20

    def test_4_nothing_is_left(self):
        self.assertTrue(wait_until(lambda: not self.stack.processes(), 5), self.stack.processes())
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", self.stack.port), timeout=2)
        self.assertFalse(os.path.exists(os.path.join(self.stack.folder, ".shama", "dev.json")))

    def test_5_the_next_start_keeps_the_data(self):
        self.stack.tokens.clear()
        self.stack.start()
        self.assertEqual(desk.on_hand(self.stack.login("ADMIN"), self.product), self.expected)

    def test_6_ctrl_c_ends_with_0(self):
        self.assertEqual(self.stack.stop(signal.SIGINT), 0, self.stack.printed()[-2000:])
        self.assertTrue(wait_until(lambda: not self.stack.processes(), 5), self.stack.processes())


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
