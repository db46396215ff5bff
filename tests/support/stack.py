"""A whole Shama of one's own for a test: `shama dev` in a temporary folder, with a copy of the rules that may be edited.

    stack = Stack().start()
    stack.login("SALES").get("/quotations")
    stack.stop()

Environment: SHAMA_BIN (default build/shama), SHAMA_E2E_KEEP=1 keeps the folder, SHAMA_E2E_WORKERS (default 2)."""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from support.api import Client, token_is_signed_by, wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("SHAMA_BIN", os.path.join(ROOT, "build", "shama")))
START_TIMEOUT_S = 120  # the first start makes a database
STOP_TIMEOUT_S = 40
COPIED = ("rules", "sql", "config", "runtime/lua")  # what the runtime reads below SHAMA_ROOT


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Stack:
    def __init__(self, env=None):
        self.folder = None
        self.process = None
        self.port = free_port()
        self.secret = "e2e-" + os.urandom(24).hex()
        self.extra_env = env or {}
        self.dev = None
        self.tokens = {}

    # ---- life ----

    def start(self):
        if not os.access(BINARY, os.X_OK):
            raise RuntimeError("no %s: build first (make build), or name it with SHAMA_BIN" % BINARY)
        if self.folder is None:
            self.prepare()
        self.env = dict(os.environ)
        for name in ("DATABASE_URL", "NATS_URL", "SHAMA_CONFIG"):
            self.env.pop(name, None)
        self.env.update({
            "PORT": str(self.port), "WORKERS": os.environ.get("SHAMA_E2E_WORKERS", "2"), "SHAMA_ROOT": self.root,
            "JWT_SECRET": self.secret, "LOG_FILE": self.log_path, "SHAMA_CONTROL": os.path.join(self.folder, "control.sock"),
            "SHAMA_ENV": "development", "SHAMA_WATCH": "0",
        })
        self.env.update(self.extra_env)
        self.output = open(os.path.join(self.folder, "output.txt"), "ab")
        self.process = subprocess.Popen([BINARY, "dev"], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True)
        atexit.register(self.stop)
        if not wait_until(self._is_ready, START_TIMEOUT_S, 0.1):
            text = self.printed()[-3000:] + "\n--- log ---\n" + self.log()[-3000:]
            self.stop()
            raise RuntimeError("shama dev did not become ready:\n" + text)
        return self

    def prepare(self):
        """Makes the folder; for a test that wants other rules in it."""
        self.folder = tempfile.mkdtemp(prefix="shama-e2e-")
        os.chmod(self.folder, 0o755)  # Postgres runs as another user when root starts it
        for name in COPIED:
            shutil.copytree(os.path.join(ROOT, name), os.path.join(self.root, name))

    def _is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError("shama dev ended with %d:\n%s\n--- log ---\n%s" % (self.process.returncode, self.printed()[-3000:], self.log()[-3000:]))
        path = os.path.join(self.folder, ".shama", "dev.json")
        try:
            with open(path, encoding="utf-8") as file:
                self.dev = json.load(file)
            return Client(self.base_url, timeout_s=5).get("/health/ready").status == 200
        except (OSError, ValueError):
            return False

    def stop(self, sig=signal.SIGTERM):
        """Returns the exit code. Idempotent."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        atexit.unregister(self.stop)
        code = process.poll()
        if code is None:
            process.send_signal(sig)
            try:
                code = process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                for pid in self.processes():
                    _kill(pid)
                process.wait()
                raise RuntimeError("shama dev did not stop within %d s:\n%s" % (STOP_TIMEOUT_S, self.printed()[-3000:]))
            finally:
                self.output.close()
        return code

    def remove(self):
        """Stops, ends whatever is left, and deletes the folder."""
        self.stop()
        for pid in self.processes():
            _kill(pid)
        if self.folder and not os.environ.get("SHAMA_E2E_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- places ----

    @property
    def root(self):
        return os.path.join(self.folder, "root")

    @property
    def log_path(self):
        return os.path.join(self.folder, "shama.log")

    @property
    def base_url(self):
        return self.dev["base_url"] if self.dev else "http://127.0.0.1:%d" % self.port

    def printed(self):
        return _read(os.path.join(self.folder, "output.txt"))

    def log(self):
        return _read(self.log_path)

    def log_has(self, text, timeout_s=3):
        """Lines are written together, a moment after the answer."""
        return wait_until(lambda: text in self.log() or text in self.printed(), timeout_s)

    # ---- users ----

    def demo(self, role):
        """The demo login that has this role: {"email", "password", "roles"}."""
        return next(login for login in self.dev["logins"] if role in login["roles"])

    def token(self, role):
        if role not in self.tokens:
            login = self.demo(role)
            answer = Client(self.base_url).post("/auth/login", {"email": login["email"], "password": login["password"]})
            if answer.status != 200:
                raise RuntimeError("login as %s failed: %r" % (login["email"], answer))
            self.tokens[role] = answer.json["access_token"]
        return self.tokens[role]

    def login(self, role):
        return Client(self.base_url, self.token(role))

    def anonymous(self):
        return Client(self.base_url)

    def jwt_secret(self):
        """The key that signs tokens here: the one that was given, else the one that `shama dev` made."""
        candidates = [self.secret] + [word for line in _read(os.path.join(self.folder, ".shama", "secrets")).splitlines()
                                      for word in line.replace("=", " ").split()]
        for secret in candidates:
            if token_is_signed_by(self.token("SALES"), secret):
                return secret
        raise RuntimeError("tokens are signed with a key that is neither JWT_SECRET nor in .shama/secrets")

    def superuser_url(self):
        """Of the private Postgres that `shama dev` made."""
        secrets = dict(line.replace("=", " ").split() for line in _read(os.path.join(self.folder, ".shama", "secrets")).splitlines() if line.strip())
        return re.sub(r"//[^@]*@", "//postgres:%s@" % secrets["postgres_password"], self.dev["database_url"])

    # ---- the running server ----

    def command(self, *args, timeout_s=60):
        """Runs `shama ARGS`; returns (exit code, output)."""
        done = subprocess.run([BINARY, *args], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout_s, check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def status(self):
        code, text = self.command("status", "--format", "json")
        if code != 0:
            raise RuntimeError("shama status: " + text)
        return json.loads(text)

    def worker_pids(self):
        return [w["pid"] for w in self.status()["workers"] if w["pid"] and w["ready"]]

    def processes(self):
        """Every process that was started here: it stands in our folder, or has it in its arguments or environment."""
        if self.folder is None:
            return []
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                state = _read("/proc/%s/stat" % name).rpartition(")")[2].split()[0]
                if state == "Z":
                    continue
                texts = [_read("/proc/%s/cmdline" % name), _read("/proc/%s/environ" % name)]
                try:
                    texts.append(os.readlink("/proc/%s/cwd" % name))
                except OSError:
                    pass
                if any(self.folder in text for text in texts):
                    found.append(int(name))
            except (OSError, IndexError):
                continue
        return found

    def worker_of(self, conn):
        """The pid of the worker that holds the other end of this socket, or None."""
        peer_port = conn.getsockname()[1]
        inode = None
        for line in _read("/proc/net/tcp").splitlines()[1:]:
            field = line.split()
            if int(field[1].split(":")[1], 16) == self.port and int(field[2].split(":")[1], 16) == peer_port:
                inode = "socket:[%s]" % field[9]
        for pid in self.worker_pids():
            for fd in os.listdir("/proc/%d/fd" % pid):
                try:
                    if os.readlink("/proc/%d/fd/%s" % (pid, fd)) == inode:
                        return pid
                except OSError:
                    continue
        return None


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass


_shared = None


def shared():
    """One stack for all test files that do not stop it; ended by the runner."""
    global _shared
    if _shared is None:
        stack = Stack()
        try:
            stack.start()
        except BaseException:
            stack.remove()
            raise
        _shared = stack
    return _shared


def shared_remove():
    global _shared
    if _shared is not None:
        stack, _shared = _shared, None
        stack.remove()
        time.sleep(0.1)
