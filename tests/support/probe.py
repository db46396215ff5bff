"""A stack whose sales service has routes made for tests: what two modules say, and requests and events that misbehave.

    stack = ProbeStack(settings="budget = { hard_limit_ms = 700 }").start()
    stack.publish(7)              # both modules say 7: on the disk
    stack.reload()                # ... and in the workers
    stack.pair()                  # {"left": 7, "right": 7}"""

import json
import os
import shutil
import socket
import tempfile
import threading
import time

from support.api import Client
from support.stack import COPIED, ROOT, Stack

RULES = """-- Routes for tests.
local db = require "shama.db"
local endless = require "shama.endless"
local left = require "sales.probe_left"
local right = require "sales.probe_right"
local store = require "sales.store"

local probe = {}

function probe.pair()
  if left.fails then error("this version fails") end
  return { left = left.n, right = right.n }
end

function probe.slow(request)
  local before = left.n
  db.one(store.probe_sleep, tonumber(request.params.ms) / 1000)
  return { left = before, right = right.n }
end

function probe.stuck() return { found = endless.run() or "" } end
function probe.not_stuck() return { ok = true } end

function probe.spin() while true do end end

-- Both writes are in the transaction when the budget ends.
function probe.write_and_spin(request)
  db.tx(function(tx)
    tx:exec(store.probe_insert, tonumber(request.params.year))
    tx:emit("quotation.returned", "00000000-0000-7000-8000-000000000000", { quotation_id = "00000000-0000-7000-8000-000000000000" })
    tx:one(store.probe_sleep, 0)
    while true do end
  end)
end
function probe.written(request) return { rows = db.one(store.probe_written, tonumber(request.params.year)).n, events = db.one(store.probe_events).n } end

-- Strings of 64 KiB, each another one.
local function fill(list, name, megabytes)
  for i = 1, megabytes * 16 do list[#list + 1] = name .. ("%08d"):format(i) .. ("x"):rep(65500) end
  return list
end
function probe.grow() local list = {} for i = 1, 1000 do fill(list, i, 1) end end
function probe.work(request) return { n = #fill({}, request.id, tonumber(request.params.mb)) } end
function probe.hold(request)
  local list = fill({}, request.id, tonumber(request.params.mb)) -- equal strings would be one
  db.one(store.probe_sleep, 2)
  return { n = #list }
end
-- Keeps some, and makes much more that nobody keeps.
function probe.litter(request)
  local kept, made = fill({}, "k", tonumber(request.params.mb)), 0
  for round = 1, 40 do made = made + #fill({}, round, 1) end
  return { kept = #kept, made = made }
end

return probe
"""

ROUTES = """
    { "GET", "/probe/pair", probe.pair, public = true, summary = "Both modules' number" },
    { "GET", "/probe/slow/:ms", probe.slow, public = true, summary = "The same, with a wait between" },
    { "GET", "/probe/stuck", probe.stuck, public = true, summary = "Never returns from C" },
    { "POST", "/probe/stuck", probe.not_stuck, public = true, summary = "Another method of that path" },
    { "GET", "/probe/spin", probe.spin, public = true, summary = "An endless loop" },
    { "GET", "/probe/write/:year", probe.write_and_spin, public = true, summary = "Writes, then loops" },
    { "GET", "/probe/written/:year", probe.written, public = true, summary = "What is left of it" },
    { "GET", "/probe/grow", probe.grow, public = true, summary = "Takes all memory" },
    { "GET", "/probe/work/:mb", probe.work, public = true, summary = "Needs some memory" },
    { "GET", "/probe/hold/:mb", probe.hold, public = true, summary = "Holds memory while it waits" },
    { "GET", "/probe/litter/:mb", probe.litter, public = true, summary = "Makes garbage" },
"""

STATEMENTS = """
store.probe_sleep = "SELECT pg_sleep($1::float8)"
store.probe_insert = "INSERT INTO sales.quotation_numbers (year, last) VALUES ($1, 1)"
store.probe_written = "SELECT count(*)::int AS n FROM sales.quotation_numbers WHERE year = $1"
store.probe_events = "SELECT count(*)::int AS n FROM sales.outbox WHERE subject = 'quotation.returned'"

return store"""

# What the sandbox keeps rules from: no instruction is run in there, so no hook is called.
ENDLESS = """return { run = function() return string.find(string.rep("a", 3000), ".-.-.-.-b") end }
"""

GATE = """-- gate: the modules belong together.
local left, right = require "sales.probe_left", require "sales.probe_right"

describe("the probe", function()
  it("says the same twice", function() assert.equal(left.n, right.n) end)
end)
"""

SERVICE, PROBE, LEFT, RIGHT = ("rules/sales/%s.lua" % name for name in ("service", "probe", "probe_left", "probe_right"))
PAIR = "/probe/pair"


class ProbeStack(Stack):
    """`settings`: members of the operator's configuration, as Lua. settings_write() changes them; reload() takes them in."""

    def __init__(self, settings="", env=None):
        super().__init__(env)
        self.settings = settings

    def start(self):
        if self.folder is None:
            self.folder = tempfile.mkdtemp(prefix="shama-faults-")
            os.chmod(self.folder, 0o755)
            for name in COPIED:
                shutil.copytree(os.path.join(ROOT, name), os.path.join(self.root, name))
            self.extra_env["SHAMA_CONFIG"] = os.path.join(self.folder, "settings.lua")
            self.settings_write(self.settings)
            self.edit("rules/sales/store.lua", "\nreturn store", STATEMENTS)
            self.edit(SERVICE, "\nlocal STAFF", '\nlocal probe = require "sales.probe"\n\nlocal STAFF')
            self.edit(SERVICE, "routes = {\n", "routes = {" + ROUTES)
            self.write(PROBE, RULES)
            os.makedirs(self.path("tests/spec/sales"))
            self.write("tests/spec/sales/probe_spec.lua", GATE)
            self.write("runtime/lua/shama/endless.lua", ENDLESS)
            self.publish(0)
        return super().start()

    # ---- files

    def path(self, name):
        return os.path.join(self.root, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def edit(self, name, old, new):
        text = self.read(name)
        if old not in text:
            raise AssertionError("%s has no %r" % (name, old))
        self.write(name, text.replace(old, new, 1))

    def publish(self, n, more=""):
        """Both modules say `n`; `more` goes before the left one's table."""
        self.write(LEFT, "%s\nreturn { n = %d }\n" % (more, n))
        self.write(RIGHT, "return { n = %d }\n" % n)

    def settings_read(self):
        with open(os.path.join(self.folder, "settings.lua"), encoding="utf-8") as file:
            return file.read()

    def settings_write(self, text):
        with open(os.path.join(self.folder, "settings.lua"), "w", encoding="utf-8") as file:
            file.write("return {\n%s\n}\n" % text)

    # ---- the server

    def ask(self, line, timeout_s=60):
        """The control socket itself, as `shama reload` and the others use it."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(timeout_s)
            sock.connect(self.env["SHAMA_CONTROL"])
            sock.sendall(line.encode() + b"\n")
            got = b""
            while True:
                chunk = sock.recv(65536)
                if not chunk:
                    return json.loads(got)
                got += chunk

    def reload(self):
        return self.ask("reload")

    def status(self):
        return self.ask("status")

    def version(self):
        return self.status()["rules"]["version"]

    def metric(self, line):
        """The value behind `name{labels}`, or 0."""
        for text in self.anonymous().get("/metrics").body.decode().splitlines():
            if text.startswith(line + " "):
                return float(text.rsplit(" ", 1)[1])
        return 0

    def pair(self):
        answer = self.anonymous().get(PAIR)
        return answer.json if answer.status == 200 else answer

    def pairs(self, connections=12):
        """What fresh connections are told: {n} when all workers agree."""
        found = set()
        for _ in range(connections):
            client = self.anonymous()
            answer = client.get(PAIR)
            found.add((answer.json["left"], answer.json["right"]) if answer.status == 200 else answer.status)
            client.close()
        return found


class Load:
    """Steady requests on keep-alive connections, a thread each. Every answer that is not wanted is in `failures`; `seen` are the numbers told,
    `versions` the rules versions. On one connection, which one worker serves, numbers may never go back (`is_rising`)."""

    def __init__(self, stack, connections=6, pause_s=0.002, is_rising=True):
        self.stack = stack
        self.pause_s = pause_s
        self.is_rising = is_rising
        self.count, self.failures, self.seen, self.versions, self.latencies = 0, [], set(), set(), []
        self.stopping = threading.Event()
        admin, seller = stack.token("ADMIN"), stack.token("SALES")
        kinds = [(PAIR, None), (PAIR, None), ("/admin/rules", admin), ("/quotations?limit=5", seller)]
        self.threads = [threading.Thread(target=self._run, args=kinds[i % len(kinds)], daemon=True) for i in range(connections)]

    def _run(self, path, token):
        client, last = Client(self.stack.base_url, token), -1
        while not self.stopping.is_set():
            started = time.monotonic()
            try:
                answer = client.get(path)
                self.latencies.append((time.monotonic(), time.monotonic() - started))
                if answer.status != 200:
                    self.failures.append(repr(answer))
                elif path == PAIR:
                    told = answer.json
                    if told["left"] != told["right"] or (self.is_rising and told["left"] < last):
                        self.failures.append("after %d came %r" % (last, told))
                    last = told["left"]
                    self.seen.add(last)
                elif token and "admin" in path:
                    self.versions.add(answer.json["version"])
            except Exception as error:  # a failed request is what is looked for
                self.failures.append("%s: %r" % (path, error))
            self.count += 1
            time.sleep(self.pause_s)
        client.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)
