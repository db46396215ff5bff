"""Proves the reload protocol: good and broken reloads under load lose no request and mix no versions, a death in any phase leaves all workers on
one version, memory and files stay where they were, and rollback, coalescing, respawn, secrets and guard do what they say. How: a stack of its
own whose rules have two modules that every reload changes together. SHAMA_FAULTS_LONG=1: 500 reloads instead of 100."""

import os
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support import runner  # noqa: E402
from support.api import Client, wait_until  # noqa: E402
from support.probe import LEFT, PROBE, RIGHT, SERVICE, Load, ProbeStack  # noqa: E402

LONG = bool(os.environ.get("SHAMA_FAULTS_LONG"))
GOOD = BROKEN = 50
LEAK_RELOADS = 500 if LONG else 0  # on top of those under load
GROWTH_MAX = 1.05
# Gate specs cost a second each time: only where they are meant.
SETTINGS = "reload = { check_ms = %d, guard_s = %d, guard_requests_min = 20, guard_share = 5, gate = false },"
SLOW_LOAD = "local x = 0 for i = 1, 25000000 do x = x + i end"  # some 300 ms, in the check process and in every worker


def pss_kb(pids):
    total = 0
    for pid in pids:
        with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return total


def fd_count(pids):
    return sum(len(os.listdir("/proc/%d/fd" % pid)) for pid in pids)


class Reload(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.secret_file = os.path.join("/tmp", "shama-faults-secret-%d" % os.getpid())
        cls.write_secret("first-" + "a" * 40)
        cls.stack = ProbeStack(SETTINGS % (4000, 0), {"JWT_SECRET_FILE": cls.secret_file})
        cls.n = 0
        try:
            cls.stack.start()
        except BaseException:
            cls.stack.remove()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.stack.remove()
        os.unlink(cls.secret_file)

    @classmethod
    def write_secret(cls, text):
        with open(cls.secret_file, "w", encoding="ascii") as file:
            file.write(text + "\n")

    def setUp(self):
        self.undo = []
        self.assertTrue(wait_until(lambda: len(self.stack.worker_pids()) == self.worker_count(), 20), self.stack.status())

    def tearDown(self):
        for name, text in reversed(self.undo):
            self.stack.write(name, text)
        before = self.stack.settings_read()
        self.stack.settings_write(SETTINGS % (4000, 0))
        if self.undo or self.stack.settings_read() != before:
            self.assertTrue(self.stack.reload()["ok"])

    def worker_count(self):
        return len(self.stack.status()["workers"])

    def publish(self, more=""):
        type(self).n += 1
        self.stack.publish(self.n, more)
        return self.n

    def reload(self):
        report = self.stack.reload()
        self.assertTrue(report["ok"], report)
        return report

    def publish_and_reload(self):
        self.publish()
        return self.reload()

    def edit(self, name, old, new):
        """Undone after the test."""
        self.undo.append((name, self.stack.read(name)))
        self.stack.edit(name, old, new)

    def assert_one_version(self, allowed):
        """All workers, after the dead one was replaced, on one version that is one of these numbers."""
        self.assertTrue(wait_until(lambda: len(self.stack.worker_pids()) == self.worker_count(), 20), self.stack.status())
        pairs = self.stack.pairs()
        self.assertEqual(len(pairs), 1, pairs)
        self.assertIn(next(iter(pairs)), {(n, n) for n in allowed})
        self.assertEqual(len({w["generation"] for w in self.stack.status()["workers"]}), 1)

    # ---- broken rules: what to do to the files (returns the undoing), and what the refusal says

    def breakages(self):
        stack = self.stack

        def changed(name, change, settings=None):
            def make():
                before = stack.read(name)
                stack.write(name, change(before))
                if settings:
                    stack.settings_write(settings)
                return lambda: (stack.write(name, before), stack.settings_write(SETTINGS % (4000, 0)))
            return make

        def unreadable():
            path = stack.path("rules/sales/gone.lua")
            os.symlink("/nowhere", path)
            return lambda: os.unlink(path)

        def pipe():
            path = stack.path("rules/sales/pipe.lua")
            os.mkfifo(path)
            return lambda: os.unlink(path)

        def half_saved():
            os.rename(stack.path(RIGHT), stack.path(RIGHT) + ".saving")
            return lambda: os.rename(stack.path(RIGHT) + ".saving", stack.path(RIGHT))

        return [
            (changed(PROBE, lambda text: text + "local x = = 1\n"), "sales/probe.lua:"),
            (changed(LEFT, lambda text: "local x\nlocal y = x.name\n" + text), "probe_left.lua:2"),
            (changed(SERVICE, lambda text: text.replace("probe.pair, public = true", "probe.pair")), "/probe/pair"),
            (changed(SERVICE, lambda text: text.replace("refusals = {", "refusals = { PROBE_REFUSED = 409,", 1)), "PROBE_REFUSED"),
            (changed(SERVICE, lambda text: text.replace('"quotation.created"', '"quotation.invented"', 1)), "quotation.invented"),
            (changed(SERVICE, lambda text: text[:len(text) // 2]), "sales/service.lua"),
            (changed(SERVICE, lambda text: text.replace("schema_version = 5", "schema_version = 99", 1)), "shama migrate"),
            (changed(LEFT, lambda text: text.replace("n = ", "n = 1 + "), "reload = { gate = true, guard_s = 0 },"), "probe_spec.lua"),
            (unreadable, "gone.lua"),
            (pipe, "pipe.lua"),
            (half_saved, "probe_right"),
            (changed(LEFT, lambda text: "while true do end\n" + text), "budget"),
            (changed(LEFT, lambda text: 'require("shama.endless").run()\n' + text), "reload.check_ms"),
        ]

    # ---- tests

    def test_1_good_and_broken_reloads_under_load(self):
        stack, breakages = self.stack, self.breakages()
        slow = breakages[-2:]  # seconds each: a few are enough
        for _ in range(12):  # more than are kept for a rollback
            self.publish_and_reload()
        pids = [stack.status()["pid"]] + stack.worker_pids()
        good = {stack.version()}
        with Load(stack) as load:
            wait_until(lambda: load.count > 200)
            files, memory = fd_count(pids), pss_kb(pids)
            for turn in range(GOOD):
                good.add(self.publish_and_reload()["version"])
                make, reason = slow[turn // 12 % 2] if turn % 12 == 11 else breakages[turn % (len(breakages) - 2)]
                before = stack.version()
                undo = make()
                report = stack.reload()
                undo()
                self.assertFalse(report["ok"], (reason, report))
                self.assertIn(reason, report["error"])
                self.assertEqual(stack.version(), before)
            files_after, memory_after = fd_count(pids), pss_kb(pids)
        self.assertEqual(load.failures[:3], [], "%d of %d" % (len(load.failures), load.count))
        self.assertGreater(load.count, 1000)
        self.assertGreater(len(load.seen), GOOD - 5)
        self.assertLessEqual(load.versions, good)
        self.assertGreater(len(load.versions), GOOD // 2)
        self.assertEqual(pids, [stack.status()["pid"]] + stack.worker_pids(), "nobody died")
        self.assertLessEqual(files_after, files * GROWTH_MAX, "open files")
        self.assertLessEqual(memory_after, memory * GROWTH_MAX, "PSS in kB")
        print("      %d requests, PSS %d -> %d kB, open files %d -> %d" % (load.count, memory, memory_after, files, files_after))

    @unittest.skipUnless(LONG, "SHAMA_FAULTS_LONG is not set")
    def test_1b_many_reloads_leave_nothing_behind(self):
        for _ in range(12):
            self.publish_and_reload()
        pids = [self.stack.status()["pid"]] + self.stack.worker_pids()
        files, memory = fd_count(pids), pss_kb(pids)
        for _ in range(LEAK_RELOADS):
            self.publish_and_reload()
        time.sleep(0.5)
        print("      PSS %d -> %d kB, open files %d -> %d" % (memory, pss_kb(pids), files, fd_count(pids)))
        self.assertLessEqual(fd_count(pids), files * GROWTH_MAX)
        self.assertLessEqual(pss_kb(pids), memory * GROWTH_MAX)

    def test_2_a_long_request_ends_on_its_version(self):
        self.publish_and_reload()
        old, told = self.n, {}
        clients = [self.stack.anonymous() for _ in range(4)]
        threads = [threading.Thread(target=lambda c=c: told.update({c: c.get("/probe/slow/2500")})) for c in clients]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        self.publish_and_reload()
        self.assertEqual(self.stack.pairs(), {(self.n, self.n)})
        draining = [w for w in self.stack.status()["workers"] if w["generations"] > 1]
        self.assertTrue(draining)
        self.assertTrue(wait_until(lambda: sum(w["draining_tasks"] for w in self.stack.status()["workers"]) == 4, 1))
        for thread in threads:
            thread.join()
        self.assertEqual([answer.json for answer in told.values()], [{"left": old, "right": old}] * 4)
        self.assertTrue(wait_until(lambda: all(w["generations"] == 1 for w in self.stack.status()["workers"]), 3), "the old version is closed")

    def test_2b_who_takes_longer_than_drain_ms_is_ended(self):
        self.stack.settings_write(SETTINGS % (4000, 0) + "reload = { drain_ms = 300, guard_s = 0 },")
        self.reload()
        told = []
        thread = threading.Thread(target=lambda: told.append(self.stack.anonymous().get("/probe/slow/5000")))
        thread.start()
        time.sleep(0.3)
        started = time.monotonic()
        self.publish_and_reload()
        thread.join()
        self.assertEqual((told[0].status, told[0].code), (503, "CANCELED"), told)
        self.assertLess(time.monotonic() - started, 4)

    def start_reload(self):
        box = {}
        thread = threading.Thread(target=lambda: box.update(self.stack.reload()))
        thread.start()
        return thread, box

    def await_state(self, state):
        self.assertTrue(wait_until(lambda: self.stack.status()["reload"]["state"] == state, 10, 0.005), "never " + state)

    def test_3_a_worker_killed_while_checking(self):
        self.publish_and_reload()
        old, new = self.n, self.publish(SLOW_LOAD)
        victim = self.stack.worker_pids()[0]
        thread, report = self.start_reload()
        self.await_state("checking")
        os.kill(victim, signal.SIGKILL)
        thread.join()
        self.assertTrue(report["ok"], report)  # its successor was waited for
        self.assert_one_version([new])
        self.assertNotEqual(old, new)

    def test_4_a_worker_killed_while_preparing(self):
        self.publish_and_reload()
        old = self.n
        self.publish(SLOW_LOAD)
        victim = self.stack.worker_pids()[0]
        thread, report = self.start_reload()
        self.await_state("preparing")
        os.kill(victim, signal.SIGKILL)
        thread.join()
        self.assertFalse(report["ok"], report)
        self.assert_one_version([old])  # also the successor, though the disk has the new one
        self.reload()
        self.assert_one_version([self.n])

    def test_4b_nobody_swaps_before_all_have_prepared(self):
        self.publish_and_reload()
        old = self.n
        self.publish(SLOW_LOAD)
        slow, others = self.stack.worker_pids()[0], self.stack.worker_pids()[1:]
        thread, report = self.start_reload()
        self.await_state("preparing")
        os.kill(slow, signal.SIGSTOP)
        time.sleep(2)  # the others are done by now
        status = self.stack.status()
        self.assertEqual(status["reload"]["state"], "preparing")
        self.assertEqual(len({w["generation"] for w in status["workers"]}), 1)
        os.kill(slow, signal.SIGKILL)
        thread.join()
        self.assertFalse(report["ok"], report)
        self.assert_one_version([old])
        self.assertLessEqual(set(others), set(self.stack.worker_pids()), "they only dropped what they had prepared")
        self.reload()

    def test_5_a_worker_killed_while_swapping(self):
        """The first is stopped until the second has prepared, then the second: so it has prepared and not swapped."""
        self.publish_and_reload()
        self.publish(SLOW_LOAD)
        first, second = self.stack.worker_pids()[:2]
        thread, report = self.start_reload()
        self.await_state("preparing")
        os.kill(first, signal.SIGSTOP)
        try:
            time.sleep(2)
            os.kill(second, signal.SIGSTOP)
        finally:
            os.kill(first, signal.SIGCONT)
        self.await_state("swapping")
        os.kill(second, signal.SIGKILL)
        thread.join()
        self.assertTrue(report["ok"], report)
        self.assert_one_version([self.n])

    def test_6_a_replaced_worker_has_the_current_rules_and_not_the_disk(self):
        self.publish_and_reload()
        old = self.n
        self.publish()
        victim = self.stack.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        self.assertTrue(wait_until(lambda: victim not in self.stack.worker_pids() and len(self.stack.worker_pids()) == self.worker_count(), 20))
        self.assert_one_version([old])
        self.reload()

    def test_7_reloads_asked_for_at_once_become_two(self):
        self.publish()
        done = 'shama_reloads_total{result="ok"}'
        before, reports = self.stack.metric(done), []
        threads = [threading.Thread(target=lambda: reports.append(self.stack.reload())) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([r["ok"] for r in reports], [True] * 10)
        self.assertEqual({r["version"] for r in reports}, {self.stack.version()})
        self.assertLessEqual(self.stack.metric(done) - before, 3)
        self.assertEqual(self.stack.pairs(), {(self.n, self.n)})

    def test_8_rollback(self):
        versions = [self.publish_and_reload()["version"] for _ in range(4)]
        self.reload()  # without a change: nothing to go back to
        code, said = self.stack.command("rollback", "2")
        self.assertEqual(code, 0, said)
        self.assertEqual((self.stack.version(), self.stack.pairs()), (versions[1], {(self.n - 2, self.n - 2)}))
        code, said = self.stack.command("rollback")  # to where we came from
        self.assertEqual((code, self.stack.version()), (0, versions[3]), said)
        code, said = self.stack.command("rollback", "99")
        self.assertEqual(code, 1, said)
        kept = [v["version"] for v in self.stack.status()["kept"]]
        self.assertEqual(len(kept), len(set(kept)))
        told = self.stack.login("ADMIN").get("/admin/rules").json
        self.assertEqual((told["version"], told["server"]["reload"]["last"]["kind"]), (versions[3], "rollback"))

    def test_8b_rollback_with_a_broken_configuration(self):
        old = self.publish_and_reload()["version"]
        self.publish_and_reload()
        self.stack.settings_write("reload = 3")
        self.assertFalse(self.stack.reload()["ok"])
        report = self.stack.ask("rollback 1")
        self.assertEqual((report["ok"], report["version"]), (True, old), report)
        self.assertIn("settings", report["warnings"])

    def test_9_settings(self):
        """A budget is live with the reload that brings it; what only a start can change is named and stays, also in a new worker."""
        self.stack.settings_write(SETTINGS % (4000, 0) + "budget = { response_bytes = 10 }, services = 'identity', http = { body_bytes = 5 },")
        code, said = self.stack.command("reload")
        self.assertEqual(code, 0, said)
        for name in ("services", "http.body_bytes"):
            self.assertIn(name + " changes only at the next start", said)
        self.assertEqual(self.stack.pairs(), {503})
        victim = self.stack.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        self.assertTrue(wait_until(lambda: victim not in self.stack.worker_pids() and len(self.stack.worker_pids()) == self.worker_count(), 20))
        self.assertEqual(self.stack.pairs(), {503})  # and not 404: sales is still there
        self.stack.settings_write(SETTINGS % (4000, 0))
        self.reload()
        self.assertEqual(self.stack.pairs(), {(self.n, self.n)})

    def test_a_a_changed_secret_ends_old_tokens(self):
        token = self.stack.token("SALES")
        self.assertEqual(Client(self.stack.base_url, token).get("/quotations").status, 200)
        self.write_secret("second-" + "b" * 40)
        self.assertEqual(Client(self.stack.base_url, token).get("/quotations").status, 200, "nothing before the reload")
        self.reload()
        self.assertEqual({Client(self.stack.base_url, token).get("/quotations").status for _ in range(12)}, {401})
        self.stack.tokens.clear()
        self.assertEqual({self.stack.login("SALES").get("/quotations").status for _ in range(12)}, {200})
        self.write_secret("short")
        report = self.stack.reload()
        self.assertFalse(report["ok"])
        self.assertIn("jwt.secret", report["error"])
        self.write_secret("second-" + "b" * 40)

    # ---- the guard

    def reload_failing(self):
        self.edit(LEFT, "return { n", "return { fails = true, n")
        return self.reload()["version"]

    def test_b_the_guard_rolls_back(self):
        self.stack.settings_write(SETTINGS % (4000, 30))
        good = self.publish_and_reload()["version"]
        for _ in range(40):
            self.stack.pair()
        os.mkfifo(self.stack.path("rules/x.lua"))
        for _ in range(15):  # so many that counters on the board would be used again
            self.assertFalse(self.stack.reload()["ok"])
        os.unlink(self.stack.path("rules/x.lua"))
        bad = self.reload_failing()
        self.assertNotEqual(good, bad)
        self.reload()  # one without a change must not make it forget
        before = self.stack.metric("shama_guard_rollbacks_total")
        for _ in range(40):
            self.stack.pair()
        self.assertTrue(wait_until(lambda: self.stack.version() == good, 10), self.stack.status())
        self.assertEqual(self.stack.pairs(), {(self.n, self.n)})
        self.assertEqual(self.stack.metric("shama_guard_rollbacks_total"), before + 1)
        self.assertTrue(self.stack.log_has("rolling back"))
        self.assertEqual(self.stack.status()["reload"]["last"]["kind"], "guard_rollback")

    def test_c_without_the_guard_it_stays(self):
        self.publish_and_reload()
        bad = self.reload_failing()
        for _ in range(60):
            self.stack.pair()
        time.sleep(0.5)
        self.assertEqual((self.stack.version(), self.stack.pairs()), (bad, {500}))


if __name__ == "__main__":
    sys.exit(runner.main(__name__))
