"""Steady requests from a few threads while something happens to the server; every answer that is not as wanted is kept."""

import threading
import time

from support.api import Client


class Traffic:
    """with Traffic(base_url, token, "/quotations") as traffic: ...; then traffic.failures, traffic.count."""

    def __init__(self, base_url, token, path, threads=4, pause_s=0.005):
        self.clients = [Client(base_url, token) for _ in range(threads)]
        self.path = path
        self.pause_s = pause_s
        self.count = 0
        self.failures = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(client,), daemon=True) for client in self.clients]

    def _run(self, client):
        while not self.stopping.is_set():
            try:
                answer = client.get(self.path)
                if answer.status != 200:
                    self.failures.append(repr(answer))
            except OSError as error:
                self.failures.append(repr(error))
            except Exception as error:  # http.client's own
                self.failures.append(repr(error))
            self.count += 1
            time.sleep(self.pause_s)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)
        for client in self.clients:
            client.close()
