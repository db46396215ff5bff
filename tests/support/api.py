"""A small client of the HTTP API for tests: one keep-alive connection, JSON in and out, raw sockets, tokens of one's own making."""

import base64
import hashlib
import hmac
import http.client
import json
import socket
import time
import urllib.parse


class Answer:
    """Status, headers (lower-case names) and body of one answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))

    @property
    def code(self):
        """The problem's code, or None."""
        return self.json.get("code") if self.is_problem else None

    @property
    def is_problem(self):
        return self.headers.get("content-type", "").split(";")[0] == "application/problem+json"

    def __repr__(self):
        return "<%d %s>" % (self.status, self.body[:600].decode("utf-8", "replace"))


class Client:
    """Speaks to one server, as one user if `token` is given. Not for several threads at once."""

    def __init__(self, base_url, token=None, timeout_s=20):
        self.base = urllib.parse.urlsplit(base_url)
        self.token = token
        self.timeout_s = timeout_s
        self.conn = None

    def close(self):
        if self.conn:
            self.conn.close()
            self.conn = None

    def request(self, method, path, body=None, headers=None, fresh=False):
        """`body`: bytes as they are, anything else as JSON. A path without a leading /health, /metrics ... gets the prefix /api/v1."""
        if fresh:
            self.close()
        if self.conn is None:
            self.conn = http.client.HTTPConnection(self.base.hostname, self.base.port, timeout=self.timeout_s)
        all_headers = {"Accept": "*/*"}
        if self.token:
            all_headers["Authorization"] = "Bearer " + self.token
        if body is not None:
            all_headers["Content-Type"] = "application/json"
            if not isinstance(body, bytes):
                body = json.dumps(body).encode("utf-8")
        elif method in ("POST", "PUT", "PATCH"):
            all_headers["Content-Length"] = "0"
        all_headers.update(headers or {})
        try:
            self.conn.request(method, full_path(path), body=body, headers=all_headers)
            response = self.conn.getresponse()
            answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except BaseException:
            self.close()
            raise
        if response.will_close:
            self.close()
        return answer

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, body, **kw)

    def patch(self, path, body=None, **kw):
        return self.request("PATCH", path, body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)


def full_path(path):
    is_platform = path.startswith(("/api/", "/health", "/metrics", "/openapi.json", "/docs"))
    return path if is_platform else "/api/v1" + path


def raw(base_url, data, timeout_s=10):
    """Sends bytes as they are and reads one answer (to its Content-Length, or the connection's end). None when there was none."""
    base = urllib.parse.urlsplit(base_url)
    with socket.create_connection((base.hostname, base.port), timeout=timeout_s) as sock:
        try:
            sock.sendall(data)
        except OSError:
            pass  # refused while sending: the answer is there all the same
        got = b""
        while True:
            head, sep, rest = got.partition(b"\r\n\r\n")
            if sep:
                lines = head.decode("latin-1").split("\r\n")
                headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
                if len(rest) >= int(headers.get("content-length", 0)):
                    return Answer(int(lines[0].split()[1]), headers, rest)
            chunk = sock.recv(65536)
            if not chunk:
                return None
            got += chunk


def wait_until(question, timeout_s=15, step_s=0.05):
    """Asks until the answer is true; returns it, or the last answer when time is up."""
    end = time.monotonic() + timeout_s
    while True:
        answer = question()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(step_s)


# ---- tokens ----

def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def token_parts(token):
    """(header, claims) of a JWT, unchecked."""
    return [json.loads(base64.urlsafe_b64decode(p + "=" * (-len(p) % 4))) for p in token.split(".")[:2]]


def token_make(claims, secret, header=None):
    """A JWT signed with HS256, whatever its header says; without a signature when `secret` is None."""
    text = _b64(json.dumps(header or {"alg": "HS256", "typ": "JWT"}).encode()) + "." + _b64(json.dumps(claims).encode())
    if secret is None:
        return text + "."
    return text + "." + _b64(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest())


def token_is_signed_by(token, secret):
    head, _, signature = token.rpartition(".")
    return _b64(hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest()) == signature
