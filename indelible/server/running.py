"""Running the service: uvicorn, as these settings want it."""

from __future__ import annotations

import functools
import gc
import logging
import socket
import sys

import uvicorn
from uvicorn.supervisors import Multiprocess

from indelible.errors import InvalidRequest
from indelible.server.app import App
from indelible.server.protocol import LimitedProtocol
from indelible.server.settings import Settings

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_COLLECT_AFTER = 20_000


def config_of(settings: Settings) -> uvicorn.Config:
    """What uvicorn is told."""
    limits = settings.limits
    return uvicorn.Config(
        functools.partial(_app, settings),
        factory=True,
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


def _app(settings: Settings) -> App:
    """The application, made anew in each process."""
    set_up_logging(settings)
    # What was imported stays for good, and ten thousand polls are no garbage: looking through all of it for cycles
    # every few hundred requests would stop everybody.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    return App(settings)


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


def serve(settings: Settings, listener: socket.socket) -> bool:
    """Serve on ``listener`` until told to stop; whether it came to that, and not to a failure at the start."""
    config = config_of(settings)
    if settings.workers > 1:
        set_up_logging(settings)
        Multiprocess(config, sockets=[listener]).run()
        return True
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    return server.started


def set_up_logging(settings: Settings) -> None:
    """One JSON line a request to stdout; what goes wrong, to stderr."""
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(message)s"))
    access = logging.getLogger("indelible.access")
    access.handlers, access.propagate = [lines], False
    access.setLevel(logging.INFO if settings.access_log else logging.WARNING)
    problems = logging.StreamHandler(sys.stderr)
    problems.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    for name in ("indelible.server", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [problems], False
        logger.setLevel(logging.WARNING)
