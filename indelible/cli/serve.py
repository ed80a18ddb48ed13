"""``serve``: the service, and at its first start a profile that works."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import unquote

import attrs
from cyclopts import Parameter

from indelible import seams
from indelible.cli.common import flag
from indelible.cli.exits import USAGE, Failure
from indelible.cli.output import counted, line, visible
from indelible.errors import BadApiKey, InvalidRequest
from indelible.profile import Profile
from indelible.secret import MasterKey

if TYPE_CHECKING:
    from indelible.server.access import Access, Directory
    from indelible.server.settings import Settings

_EXTRA: Final = frozenset({"httptools", "prometheus_client", "starlette", "uvicorn"})

_FIRST: Final = "me"
"""The customer of the profile that is made at the first start."""

_FROM_HERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - how to reach who listens everywhere


def serve(
    *,
    config: Annotated[Path | None, Parameter(help="A TOML file with settings; these options come before it.")] = None,
    store: Annotated[str | None, Parameter(help="The store's URL; else a file in your folder for data.")] = None,
    host: Annotated[str | None, Parameter(help="The address to listen on; else 127.0.0.1.")] = None,
    port: Annotated[int | None, Parameter(help="The port to listen on; else 8420. 0 is any that is free.")] = None,
    tls_certificate: Annotated[Path | None, Parameter(help="The certificate and its chain, as PEM.")] = None,
    tls_key: Annotated[Path | None, Parameter(help="The certificate's key, as PEM, without a password.")] = None,
    allow_plain_http: Annotated[bool, flag("Let other machines in without TLS; for use behind a proxy.")] = False,
    workers: Annotated[int | None, Parameter(help="How many processes; else 1.")] = None,
    access_log: Annotated[
        bool | None,
        Parameter(negative="--no-access-log", help="A line of JSON a request on stdout; else not on a terminal."),
    ] = None,
    profile: Annotated[
        Path | None, Parameter(help="A profile for this service; made, with a customer and a key, if it is not there.")
    ] = None,
) -> None:
    """Run the service: logs over HTTP, for any number of programs, until ctrl-C or SIGTERM.

    Without options, only this machine can reach it; its logs are in a file in your folder for data, and a profile
    beside that file, made at the first start, is all that a client needs.
    """
    try:
        # Other commands need not wait for the service to be imported, nor have what it needs.
        from indelible.server import running  # noqa: PLC0415
        from indelible.server.access import Access  # noqa: PLC0415
        from indelible.server.settings import Settings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise Failure("the service is an extra; to get it: pip install 'indelible[server]'", USAGE) from None

    flags = {
        "store": store,
        "host": host,
        "port": port,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "allow_plain_http": allow_plain_http or None,
        "workers": workers,
        # People at a terminal would lose what stands there among the requests.
        "access_log": False if access_log is None and config is None and sys.stdout.isatty() else access_log,
    }
    settings = Settings.load(config, flags)
    in_memory = settings.store.lower().startswith("memory:")
    if in_memory:
        if profile is None or profile.exists():
            raise InvalidRequest("a memory: store begins empty, so nobody could use it; add --profile with a new name")
        # By its name the service finds the one that is opened here.
        settings = attrs.evolve(settings, store="memory:indelible serve")
    running.check_tls(settings)
    with closing(running.listen(settings)) as listener, closing(settings.open_store()) as backend:
        port = listener.getsockname()[1]
        access = Access(backend, source="indelible serve").open()
        url = _url(settings, _FROM_HERE.get(settings.host, settings.host), port)
        introduction = [
            f"indelible listens on {_url(settings, settings.host, port)}",
            *_introduction(access, url, profile, _usual_profile(settings), _option(config, store)),
        ]
        if not in_memory:
            # Nothing more is asked of it here; each process of the service opens its own.
            backend.close()
        running.serve(settings, listener, lambda: _say(introduction))


def _say(lines: Sequence[str]) -> None:
    for text in lines:
        line(visible(text), sys.stderr)
    sys.stderr.flush()


def _url(settings: Settings, host: str, port: int) -> str:
    scheme = "http" if settings.tls_certificate is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _usual_profile(settings: Settings) -> Path | None:
    """Where the profile of a service is that was told neither store nor address."""
    try:
        usual = type(settings)()
    except InvalidRequest:  # a user without a home
        return None
    names = ("store", "host", "port", "tls_certificate")
    if any(getattr(settings, name) != getattr(usual, name) for name in names):
        return None
    return Path(unquote(usual.store.removeprefix("sqlite:///"))).with_name("profile.json")


def _option(config: Path | None, store: str | None) -> str:
    """What tells ``indelible admin`` which store this is."""
    if store is not None:
        # Any other URL may hold a password.
        return f" --store {shlex.quote(store) if store.lower().startswith('sqlite:') else 'URL'}"
    return "" if config is None else f" --config {shlex.quote(str(config))}"


def _introduction(access: Access, url: str, given: Path | None, usual: Path | None, option: str) -> Iterator[str]:
    """What to do next: with the profile if there is one, or can be; else how to let somebody in."""
    now = access.directory()
    path = usual if given is None else given
    if path is not None and path.exists():
        profile = Profile.load(path)
        if _is_known(profile, now):
            if profile.endpoint_url == url:
                yield f"Your profile is {path}"
                yield from _lines_to_try(path)
            else:
                yield f"Your profile is {path}, which leads to {profile.endpoint_url}"
            return
        yield f"The profile {path} is of no use here: this store does not know its API key"
    elif path is not None and (given is not None or not now.customers):
        _make_profile(access, now, url, path)
        yield f"{path} is a profile for it, with a new key in it."
        yield "Keep a copy in a safe place: what is written under this key"
        yield "cannot be read without it."
        yield from _lines_to_try(path)
        return
    customers, keys = counted(len(now.customers), "customer", "customers"), counted(len(now.keys), "key", "keys")
    yield f"It knows {customers} and {keys}. To add more, even while it runs:"
    yield f"  indelible admin customer add ID{option}"
    yield f"  indelible admin key add ID --profile-to FILE --url {url}{option}"


def _lines_to_try(path: Path) -> Iterator[str]:
    option = f"--profile {shlex.quote(str(path))}"
    yield ""
    yield "Try it:"
    yield f"  indelible create notes {option}"
    yield f"  indelible put notes hello '\"world\"' {option}"
    yield f"  indelible show notes {option}"


def _is_known(profile: Profile, now: Directory) -> bool:
    if profile.credentials is None:
        return False
    try:
        now.authenticate(profile.credentials, seams.now())
    except BadApiKey:
        return False
    return True


def _make_profile(access: Access, now: Directory, url: str, path: Path) -> None:
    from indelible.server.access import SCOPES  # noqa: PLC0415

    if _FIRST not in now.customers:
        access.add_customer(_FIRST)
    made, text = access.issue(_FIRST, SCOPES, label="indelible serve")
    try:
        Profile(endpoint_url=url, customer_id=_FIRST, apikey=text, master_key=MasterKey.generate()).save(path)
    except BaseException:
        # Nobody has it.
        access.revoke(made.id)
        raise
