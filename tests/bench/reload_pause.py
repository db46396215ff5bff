#!/usr/bin/env python3
"""What a reload costs other requests: latencies of steady requests, one connection to each worker, without reloads and with one after the other.

    SHAMA_BIN=build/shama tests/bench/reload_pause.py [seconds]     prints p50, p99, p99.9 and the worst of both, in milliseconds"""

import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from support.probe import PAIR, ProbeStack  # noqa: E402

PACE_S = 0.002
REQUEST = ("GET /api/v1%s HTTP/1.1\r\nHost: x\r\n\r\n" % PAIR).encode()


def connect_each(stack):
    """A socket to every worker."""
    found = {}
    while len(found) < len(stack.worker_pids()):
        sock = socket.create_connection(("127.0.0.1", stack.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.setdefault(stack.worker_of(sock), sock)
    return list(found.values())


def ask_steadily(sock, until, out):
    while time.monotonic() < until:
        started = time.monotonic()
        sock.sendall(REQUEST)
        answer = sock.recv(4096)
        out.append((time.monotonic() - started) * 1000)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        time.sleep(PACE_S)


def measure(stack, seconds, is_reloading):
    until, latencies, reloads = time.monotonic() + seconds, [], 0
    threads = [threading.Thread(target=ask_steadily, args=(sock, until, latencies)) for sock in connect_each(stack)]
    for thread in threads:
        thread.start()
    while is_reloading and time.monotonic() < until:
        reloads += 1
        stack.publish(1000 + reloads)
        assert stack.reload()["ok"]
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    latencies.sort()
    at = [latencies[min(len(latencies) - 1, int(len(latencies) * share))] for share in (0.5, 0.99, 0.999, 1)]
    print("%-16s %6d requests, %3d reloads: p50 %.2f  p99 %.2f  p99.9 %.2f  worst %.2f ms" % (
        "with reloads" if is_reloading else "without", len(latencies), reloads, *at), flush=True)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    stack = ProbeStack("reload = { guard_s = 0 },")
    try:
        stack.start()
        for is_reloading in (False, True, False, True):
            measure(stack, seconds, is_reloading)
    finally:
        stack.remove()


if __name__ == "__main__":
    main()
