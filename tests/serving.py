"""A real service for tests, on a free port of this machine: in a thread of this process, or in a process of its own."""

import base64
import contextlib
import http.client
import io
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib3

import attrs
import uvicorn

from indelible.backends.http import HTTPBackend
from indelible.credentials import Credentials
from indelible.server.access import Access
from indelible.server.running import config_of, listen
from indelible.server.settings import ServiceLimits, Settings

PATIENCE = 30
_numbers = itertools.count()


class Connection:
    """A connection to a service, and the bytes on it as they are."""

    def __init__(self, service, receives=None):
        """``receives`` is about how many bytes its system takes without anybody reading them."""
        host, _, port = service.url.rpartition("//")[2].rpartition(":")
        self.socket = socket.socket()
        if receives is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        self.socket.settimeout(PATIENCE)
        self.socket.connect((host, int(port)))

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, name, body, credentials=None, version="1.1", **headers):
        """Send a call; with ``promised`` among the headers, its body is said to be so long, and what there is sent."""
        self.send(head_of(name, body, credentials, version, **headers) + body)

    def answer(self, method="POST"):
        """The next answer, read to its end: status, headers, body."""
        response = http.client.HTTPResponse(self.socket, method=method)
        # It may have read ahead what belongs to the next one.
        response.fp.close()
        response.fp = _OneAtATime(self.socket)
        response.begin()
        body = response.read()
        return Answer(response.status, dict(response.getheaders()), body)

    def is_cut(self):
        """Read on until the other side has ended it."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass
        return True


class _OneAtATime(io.RawIOBase):
    """A socket as a file that takes no more from it than it is asked for."""

    def __init__(self, taken_from):
        self._socket = taken_from

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._socket.recv_into(buffer)

    def readline(self, limit=-1):
        line = b""
        while not line.endswith(b"\n") and (byte := self._socket.recv(1)):
            line += byte
        return line

    def read(self, size=-1):
        parts = []
        while size and (part := self._socket.recv(65536 if size < 0 else size)):
            parts.append(part)
            size -= len(part) if size > 0 else 0
        return b"".join(parts)


@attrs.frozen
class Answer:
    """An answer as it came."""

    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json().get("code")


def basic(credentials):
    """What HTTP Basic says of who asks."""
    text = f"{credentials.customer_id}:{credentials.apikey.reveal().decode()}"
    return "Basic " + base64.b64encode(text.encode()).decode()


def head_of(name, body=b"", credentials=None, version="1.1", promised=None, **headers):
    """The head of a call: with the length of ``body``, unless another is ``promised`` or it comes in chunks."""
    given = {"Host": "service"}
    if credentials is not None:
        given["Authorization"] = basic(credentials)
    if "transfer_encoding" not in headers:
        given["Content-Length"] = str(len(body) if promised is None else promised)
    given |= {key.replace("_", "-"): value for key, value in headers.items()}
    lines = [f"POST /v1/log/{name} HTTP/{version}", *(f"{key}: {value}" for key, value in given.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


@contextlib.contextmanager
def overheard():
    """Within this context, the list of what services of this process tell of troubles."""
    told = []

    def listener(record):
        told.append(record)
        return True

    # A service puts handlers of its own in the place of others; filters stay.
    names = ("indelible.server", "indelible.server.http", "uvicorn.error", "asyncio")
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addFilter(listener)
    try:
        yield told
    finally:
        for logger in loggers:
            logger.removeFilter(listener)


@contextlib.contextmanager
def nothing_goes_wrong():
    """Within this context, no service of this process tells of an error of its own."""
    with overheard() as told:
        yield
    assert [record.getMessage() for record in told if record.levelno >= logging.ERROR] == []


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

    def metric(self, name):
        """What ``/metrics`` says now of one line of it."""
        page = urllib3.request("GET", f"{self.url}/metrics", retries=False, timeout=PATIENCE).data.decode()
        (found,) = [line.rpartition(" ")[2] for line in page.splitlines() if line.startswith(f"{name} ")]
        return float(found)

    def waits(self, polls):
        """Wait until so many polls wait."""
        until(lambda: self.metric("indelible_polls") == polls)

    @property
    def app(self):
        """The application itself, where it runs in this process."""
        return self.server.config.loaded_app


def settings_for(store, *, kind=Settings, **options):
    """Settings for a free port; ``limits`` may be a dict, and ``kind`` says how else a store is opened."""
    limits = options.pop("limits", {})
    limits = limits if isinstance(limits, ServiceLimits) else ServiceLimits(**limits)
    return kind(store=store, port=0, limits=limits, **{"access_log": False} | options)


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
        until(lambda: server.started or not thread.is_alive())
        assert server.started, "the service did not start"
        yield service
    finally:
        stop(service)
        thread.join(PATIENCE)
        backend.close()
        assert not thread.is_alive(), "the service does not stop"


class House:
    """A service that can be stopped and started again, and those who are new to it: they see nobody's logs (S20)."""

    def __init__(self, store=None, **options):
        self._store, self._options = store, options
        self._numbers = itertools.count()
        self._guest = None
        self.start()

    def start(self):
        self._running = contextlib.ExitStack()
        self.service = self._running.enter_context(serving(self._store, **self._options))

    def stop(self):
        self._running.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.stop()

    def newcomer(self):
        """Credentials of a customer nobody was before. Who came before goes: many would only be slow to read."""
        if self._guest is not None:
            self.service.access.remove_customer(self._guest.customer_id)
        self._guest = self.service.credentials(f"guest-{next(self._numbers)}")
        return self._guest

    def client(self, credentials, **options):
        return HTTPBackend(self.service.url, credentials, **options)


def stop(service):
    """What a signal does to a service that has a process to itself."""
    if service.server.started:
        with contextlib.suppress(RuntimeError):
            service.app.service.polls._loop.call_soon_threadsafe(service.app.service.drain)
    service.server.should_exit = True


RUN = """
import pickle, socket, sys
from indelible.server.running import serve
if __name__ == "__main__":
    settings, number = pickle.loads(bytes.fromhex(sys.argv[1])), int(sys.argv[2])
    serve(settings, socket.socket(fileno=number))
"""


@contextlib.contextmanager
def serving_apart(store, *, code=RUN, output=None, **options):
    """A service in a process of its own, over a store that other processes can open too; ended by its own id.

    What it prints goes to the files ``out`` and ``err`` in the folder ``output``, if that is given.
    """
    import pickle

    settings = settings_for(store, **options)
    backend = settings.open_store()
    Access(backend).open()
    listener = listen(settings)
    script = [sys.executable, "-c", code, pickle.dumps(settings).hex(), str(listener.fileno())]
    with contextlib.ExitStack() as files:
        printed = {}
        if output is not None:
            printed = {
                "stdout": files.enter_context(open(output / "out", "wb")),
                "stderr": files.enter_context(open(output / "err", "wb")),
            }
        process = subprocess.Popen(
            script,
            pass_fds=[listener.fileno()],
            env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", os.getcwd())},
            **printed,
        )
    scheme = "http" if settings.tls_certificate is None else "https"
    service = Service(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}", settings, backend, process=process)
    listener.close()
    try:
        until(lambda: _answers(service) or process.poll() is not None)
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


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
