"""``import``: a file of entries, in transactions that a second run recognises.

A transaction's id is derived from the transaction before it and its own content. So the same file makes the same ids
and finds its first batches committed already, and after any difference all ids are new: nothing after it is skipped.
Every transaction is sent as a second attempt, whose answer is always kept (S16): a batch that had nothing to change
must be recognised too, or it would undo on the next run what later batches did.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeAlias

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number

from indelible import codecs
from indelible.cli import progress
from indelible.cli.common import DEFAULTS, Common, Group, LogName, Source, ensure, send
from indelible.cli.output import counted, one, visible
from indelible.cli.rows import csv_rows, json_rows
from indelible.cli.txids import derive
from indelible.commands import Transaction, Upsert
from indelible.errors import InvalidRequest
from indelible.log import Log
from indelible.secret import MasterKey

Row: TypeAlias = tuple[str, Any]


@attrs.define
class _Done:
    """What an import has done so far."""

    entries: int = 0
    batches: int = 0
    replayed: int = 0


def import_(
    log: LogName,
    file: Annotated[
        str, Parameter(help='JSON lines of {"key", "value"}, or CSV; \'-\' is stdin.', allow_leading_hyphen=True)
    ],
    /,
    *,
    key_column: Annotated[
        str | None, Parameter(help="The file is CSV with a header, and this column is the key.")
    ] = None,
    batch: Annotated[int, Parameter(help="Entries in a transaction.", validator=Number(gte=1))] = 1_000,
    run: Annotated[
        str, Parameter(help="Name this run, to import a file anew that was imported before.", show_default=False)
    ] = "",
    group: Group = None,
    source: Source = None,
    common: Common = DEFAULTS,
) -> None:
    """Store every entry of a file under its key, whatever was there; the log is made if need be.

    Run it again after it was interrupted, with the same file and --batch: it goes on, and commits nothing twice. A
    value of a CSV file is an object of the other columns, all of them texts.
    """
    if file.startswith("-") and file != "-":
        raise InvalidRequest(f"there is no option {file}; a file of that name is ./{file}")
    if key_column is None and file.lower().endswith(".csv"):
        raise InvalidRequest("for a CSV file name the column that is the key: --key-column NAME")
    profile = common.load()
    done = _Done()
    with _opened(file) as stream, common.connect() as client, progress.bar(f"import {log}", _size(stream)) as show:
        it = client.log(log)
        ensure(it, group)
        rows = json_rows(stream) if key_column is None else csv_rows(stream, key_column)
        try:
            for transaction in _transactions(rows, batch, source, _first_id(profile.master_key, log, run)):
                _commit(it, transaction, done)
                show(stream.tell() if stream.seekable() else done.entries)
        except InvalidRequest as error:
            before = f"; the {counted(done.entries, 'entry', 'entries')} before are stored" if done.entries else ""
            raise InvalidRequest(f"{file}: {error}{before}") from None
        version = it.version
    item = {"log": log, "version": version, **attrs.asdict(done)}
    again = f", {done.replayed} of them stored by an earlier run" if done.replayed else ""
    text = f"{counted(done.entries, 'entry', 'entries')} in {counted(done.batches, 'batch', 'batches')}{again}"
    one(common.output, item, f"log {visible(log)} is at version {version}: {text}")


def _commit(log: Log[str, Any], transaction: Transaction[str, Any], done: _Done) -> None:
    committed = send(log, transaction, attempt=2)
    done.entries += len(transaction.commands)
    done.batches += 1
    done.replayed += committed.replayed


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
    else:
        with Path(file).open("rb") as stream:
            yield stream


def _size(stream: BinaryIO) -> int | None:
    if not stream.seekable():
        return None
    size = stream.seek(0, 2)
    stream.seek(0)
    return size


@attrs.frozen
class _Chain:
    """The id of the next transaction depends on this one's, and on the key."""

    key: MasterKey
    id: bytes

    def next(self, rows: list[Row], source: str | None) -> _Chain:
        content = itertools.chain.from_iterable(
            (codecs.STRING.encode(key), codecs.JSON.encode(value)) for key, value in rows
        )
        return _Chain(self.key, derive(self.key, b"import", self.id, (source or "").encode(), *content))


def _first_id(key: MasterKey, log: str, run: str) -> _Chain:
    parts = (part.encode(errors="surrogatepass") for part in (log, run))
    return _Chain(key, derive(key, b"import of", *parts))


def _transactions(
    rows: Iterator[Row], batch: int, source: str | None, chain: _Chain
) -> Iterator[Transaction[str, Any]]:
    while found := list(itertools.islice(rows, batch)):
        chain = chain.next(found, source)
        yield Transaction([Upsert(key, value) for key, value in found], source, id=chain.id)
