"""A real service for tests, on a free port of this machine: in a thread of this process, or in a process of its own."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib3

import attrs
import uvicorn

from indelible.client import open_backend
from indelible.credentials import Credentials
from indelible.server.access import Access
from indelible.server.running import config_of, listen
from indelible.server.settings import ServiceLimits, Settings

PATIENCE = 30
_numbers = itertools.count()


@attrs.define
class Service:
    """A service that runs: its URL, its store as another program would open it, and keys for it."""

    url: str
    settings: Settings
    store: object
    server: object = None
    process: object = None

    @property
    def access(self):
        return Access(self.store)

    def credentials(self, customer="acme", scopes=("read", "write", "admin"), **more):
        """A new key, of a customer who is made if need be."""
        if customer not in {known.id for known in self.access.customers()}:
            self.access.add_customer(customer)
        _, secret = self.access.issue(customer, scopes, **more)
        given = Credentials(customer, secret)
        self.knows(given)
        return given

    def knows(self, credentials):
        """Wait until the service has heard of a key: it follows the log of access."""
        deadline = time.monotonic() + PATIENCE
        while self.call("list", {}, credentials).status == 401:
            assert time.monotonic() < deadline, "the service does not learn of new keys"
            time.sleep(0.01)

    def call(self, name, body, credentials=None, **options):
        """One call, over plain urllib3: ``body`` is bytes as they are, or an object."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = dict(options.pop("headers", {}))
        if credentials is not None:
            text = f"{credentials.customer_id}:{credentials.apikey.reveal().decode()}"
            headers |= urllib3.make_headers(basic_auth=text)
        return urllib3.request(
            "POST", f"{self.url}/v1/log/{name}", body=data, headers=headers, retries=False, timeout=PATIENCE, **options
        )

    @property
    def app(self):
        """The application itself, where it runs in this process."""
        return self.server.config.loaded_app


def settings_for(store, **options):
    """Settings for a free port; ``limits`` may be a dict."""
    limits = options.pop("limits", {})
    limits = limits if isinstance(limits, ServiceLimits) else ServiceLimits(**limits)
    return Settings(store=store, port=0, access_log=False, limits=limits, **options)


@contextlib.contextmanager
def serving(store=None, **options):
    """A service in a thread, over a store in memory unless told otherwise."""
    settings = settings_for(store or f"memory:serving-{os.getpid()}-{next(_numbers)}", **options)
    backend = settings.open_store()
    Access(backend).open()
    listener = listen(settings)
    server = uvicorn.Server(config_of(settings))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    scheme = "http" if settings.tls_certificate is None else "https"
    service = Service(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", settings, backend, server)
    try:
        _until(lambda: server.started or not thread.is_alive())
        assert server.started, "the service did not start"
        yield service
    finally:
        stop(service)
        thread.join(PATIENCE)
        backend.close()
        assert not thread.is_alive(), "the service does not stop"


def stop(service):
    """What a signal does to a service that has a process to itself."""
    if service.server.started:
        with contextlib.suppress(RuntimeError):
            service.app.service.polls._loop.call_soon_threadsafe(service.app.service.drain)
    service.server.should_exit = True


_RUN = """
import pickle, socket, sys
from indelible.server.running import serve
if __name__ == "__main__":
    settings, number = pickle.loads(bytes.fromhex(sys.argv[1])), int(sys.argv[2])
    serve(settings, socket.socket(fileno=number))
"""


@contextlib.contextmanager
def serving_apart(store, *, code=_RUN, **options):
    """A service in a process of its own, over a store that other processes can open too; ended by its own id."""
    import pickle

    settings = settings_for(store, **options)
    backend = settings.open_store()
    Access(backend).open()
    listener = listen(settings)
    script = [sys.executable, "-c", code, pickle.dumps(settings).hex(), str(listener.fileno())]
    process = subprocess.Popen(script, pass_fds=[listener.fileno()], env={**os.environ, "PYTHONPATH": os.getcwd()})
    scheme = "http" if settings.tls_certificate is None else "https"
    service = Service(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", settings, backend, process=process)
    listener.close()
    try:
        _until(lambda: _answers(service) or process.poll() is not None)
        assert process.poll() is None, "the service did not start"
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
        backend.close()


def _answers(service):
    try:
        return urllib3.request("GET", f"{service.url}/readyz", retries=False, timeout=1.0).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def _until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
