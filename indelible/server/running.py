"""Running the service: uvicorn, as these settings want it."""

from __future__ import annotations

import functools
import gc
import logging
import multiprocessing
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Coroutine
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from indelible.errors import IndelibleError, InvalidRequest, NotExecuted
from indelible.server.app import App
from indelible.server.lines import Lines
from indelible.server.protocol import LimitedProtocol
from indelible.server.settings import Settings

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_COLLECT_AFTER = 20_000

_problems = logging.getLogger("indelible.server")


def config_of(settings: Settings) -> uvicorn.Config:
    """What uvicorn is told."""
    limits = settings.limits
    return uvicorn.Config(
        functools.partial(_app, settings),
        factory=True,
        interface="asgi3",
        http=functools.partial(LimitedProtocol, limits),  # type: ignore[arg-type] # called as the class would be
        ws="none",
        lifespan="on",
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(limits.drain_seconds)),
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        server_header=False,
        proxy_headers=False,
        access_log=False,
        log_config=None,
        workers=settings.workers,
    )


class Program(App):
    """The application with a process to itself: tells when it has started, and keeps what it fails with."""

    started: Callable[[], object] = staticmethod(lambda: None)
    failure: Exception | None = None

    def __call__(self, scope: Any, receive: Any, send: Any) -> Coroutine[Any, Any, None]:
        """Answer one request, or live through the life of the server."""
        # Not a coroutine around another one: ten thousand of them wait.
        return (self._live if scope["type"] == "lifespan" else super().__call__)(scope, receive, send)

    async def _live(self, scope: Any, receive: Any, send: Any) -> None:
        async def tell(message: Any) -> None:
            # What goes wrong comes with a traceback, which uvicorn would print.
            await send({"type": message["type"]})
            if message["type"] == "lifespan.startup.complete":
                self.started()

        try:
            await super().__call__(scope, receive, tell)
        except Exception as error:
            self.failure = error
            if self.service.settings.workers > 1:
                # Nobody in this process can raise it.
                _problems.error("%s", error if isinstance(error, IndelibleError) else type(error).__name__)
            raise


def _app(settings: Settings) -> Program:
    """The application, made anew in each process."""
    set_up_logging(settings)
    if settings.workers > 1:
        _stop_with_parent()
    # What was imported stays for good, and ten thousand polls are no garbage: looking through all of it for cycles
    # every few hundred requests would stop everybody.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    return Program(settings)


def _stop_with_parent() -> None:
    """Stop this worker as SIGTERM would, when the process that started it is gone: nobody else would ever do so."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=wait, name="indelible-parent", daemon=True).start()


def check_tls(settings: Settings) -> None:
    """Raise ``InvalidRequest`` if the settings name a certificate and a key that cannot be used, and say why."""
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None or key is None:
        return
    _check_pem(certificate, b"CERTIFICATE-----", "certificate")
    _check_pem(key, b"PRIVATE KEY-----", "private key")

    def ask() -> NoReturn:
        raise InvalidRequest(f"{key} asks for a password; the service takes a key that does not")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidRequest(f"the key in {key} is not that of the certificate in {certificate}") from None
        raise InvalidRequest(f"{certificate} and {key} cannot be used ({error.reason or 'not in PEM form'})") from None


def _check_pem(path: Path, mark: bytes, what: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read ({error.strerror})") from None
    if mark not in content:
        raise InvalidRequest(f"{path} holds no {what} in PEM form")


def listen(settings: Settings) -> socket.socket:
    """A socket at the address of the settings. Raises ``InvalidRequest`` if it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise InvalidRequest(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror or 'no such address'}); "
            "choose another host or port"
        ) from None
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def serve(settings: Settings, listener: socket.socket, started: Callable[[], object] = lambda: None) -> None:
    """Serve on ``listener`` until a signal says to stop. Raises whatever keeps it from starting.

    ``started`` is called when requests are answered, and a signal ends it well; the process does nothing afterwards.
    """
    # Who does not read the lines of the requests, or no longer, does not stop the service, nor fill its other stream.
    logging.raiseExceptions = False
    try:
        (_serve_with_workers if settings.workers > 1 else _serve_alone)(settings, listener, started)
    finally:
        # Whatever the caller says of it comes after this.
        for handler in _problems.handlers:
            handler.flush()


def _serve_alone(settings: Settings, listener: socket.socket, started: Callable[[], object]) -> None:
    config = config_of(settings)
    config.load()
    program: Program = config.loaded_app
    program.started = started
    server = uvicorn.Server(config)

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        # Having stopped, uvicorn raises the signal again, which would end the process as if it had been killed.
        signal.signal(number, stop)
    try:
        server.run(sockets=[listener])
    except SystemExit:
        # This is how uvicorn ends when the application does not start.
        if program.failure is None:
            raise
    if program.failure is not None:
        raise program.failure


def _serve_with_workers(settings: Settings, listener: socket.socket, started: Callable[[], object]) -> None:
    set_up_logging(settings)
    workers = Multiprocess(config_of(settings), sockets=[listener])
    _keep_interrupts_from_workers(workers)
    started()
    workers.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in workers.processes):
        raise NotExecuted("a worker could not start, for the reason above; all were stopped")


def _keep_interrupts_from_workers(workers: Multiprocess) -> None:
    """Take ctrl-C for all processes: a terminal sends it to each, and one that is being started would complain."""
    if sys.platform == "win32":
        return
    # What this thread does not take, the processes that it starts do not take either. Starting the first of them
    # starts a tracker too, and that would end with taking it again.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def take() -> None:
        while True:
            workers.signal_queue.append(signal.sigwait({signal.SIGINT}))

    threading.Thread(target=take, name="indelible-interrupts", daemon=True).start()


def set_up_logging(settings: Settings) -> None:
    """One JSON line a request to stdout; what goes wrong, to stderr."""
    lines = Lines(sys.stdout, "%(message)s")
    access = logging.getLogger("indelible.access")
    access.handlers, access.propagate = [lines], False
    access.setLevel(logging.INFO if settings.access_log else logging.WARNING)
    problems = Lines(sys.stderr, "%(levelname)s %(name)s: %(message)s")
    for name in ("indelible.server", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [problems], False
        logger.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Not where it only says that the application failed: ``Program`` tells why."""
    return not record.getMessage().startswith("Application ")
