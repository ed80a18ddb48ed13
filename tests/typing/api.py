"""What type checkers must know of the public API: checked by mypy and pyright, never run."""

# pyright: strict

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, assert_never, assert_type

import attrs

import indelible
from indelible import (
    Added,
    Change,
    Client,
    Committed,
    Entry,
    ExpectVersion,
    Insert,
    Limits,
    Log,
    LogInfo,
    MasterKey,
    Profile,
    Remove,
    Removed,
    Revision,
    Snapshot,
    Transaction,
    Update,
    Upsert,
    VersionDiff,
    VersionInfo,
    codecs,
    connect,
)
from indelible.backends import Backend, EncryptedBackend, MemoryBackend, ScopedBackend, SQLiteBackend
from indelible.cipher import SecretBoxCipher


@attrs.frozen
class Order:
    item: str
    count: int


def connecting(profile: Profile, key: MasterKey) -> None:
    assert_type(connect("memory:"), Client)
    assert_type(connect("indelible.json"), Client)
    assert_type(connect(Path("indelible.json"), limits=Limits(key=10)), Client)
    assert_type(connect(profile), Client)
    assert_type(connect("sqlite:///x.db", master_key=key, scheme=1), Client)
    assert_type(connect("sqlite:///x.db", master_key=b""), Client)
    assert_type(connect("sqlite:///x.db", master_key=None), Client)
    with connect("memory:") as client:
        assert_type(client, Client)
    assert_type(client.logs("g"), Sequence[LogInfo])
    assert_type(Profile.load("x"), Profile)


def logs_of(client: Client) -> None:
    assert_type(client.log("a"), Log[str, Any])
    assert_type(client.log("a", values=codecs.typed(Order)), Log[str, Order])
    assert_type(client.log("a", values=codecs.STRING), Log[str, str])
    assert_type(client.log("a", keys=codecs.BYTES), Log[bytes, Any])
    assert_type(client.log("a", keys=codecs.BYTES, values=codecs.typed(Order)), Log[bytes, Order])


def reading(log: Log[str, Order]) -> None:
    assert_type(log.get("k"), Order | None)
    assert_type(log.get("k", at=3), Order | None)
    assert_type(log.get("k", 0), Order | int)
    assert_type(log.get("k", Order("", 0)), Order)
    assert_type(log.version, int)
    assert_type(log.describe(), LogInfo)
    assert_type(log.versions(1, 2), Iterator[VersionInfo])
    assert_type(iter(log), Iterator[Entry[str, Order]])
    for entry in log:
        assert_type(entry.key, str)
        assert_type(entry.value, Order)
        assert_type(entry.version, int)
    assert_type(log.history("k"), list[Revision[str, Order]])
    for revision in log.history("k"):
        assert_type(revision.before, Entry[str, Order] | None)
    snapshot = log.snapshot(at=3)
    assert_type(snapshot, Snapshot[str, Order])
    assert_type(snapshot["k"], Order)
    assert_type(snapshot.get("k"), Order | None)
    assert_type(snapshot.entry("k"), Entry[str, Order])
    assert_type(dict(snapshot), dict[str, Order])


def diffs(log: Log[str, Order]) -> None:
    diff = log.diff(1, wait_seconds=60, order="key")
    assert_type(diff, VersionDiff[str, Order])
    assert_type(diff.to_version, int)
    for change in diff:
        assert_type(change, Change[str, Order])
        match change:
            case Added(key, value):
                assert_type(key, str)
                assert_type(value, Order)
            case Removed(key, value, version):
                assert_type(value, Order)
                assert_type(version, int)
            case _:
                assert_never(change)
    for followed in log.follow(3):
        assert_type(followed, VersionDiff[str, Order])


def writing(log: Log[str, Order], order: Order) -> None:
    assert_type(log.update([Insert("a", order), ExpectVersion(1), Remove("b", order)]), Committed)
    assert_type(log.update([Upsert("a", order)], source="here", attempt=2), Committed)
    assert_type(log.update([]), Committed)
    # mypy makes nothing of a list of several kinds of command without being told what it is for.
    sent: Transaction[str, Order] = Transaction([Update("a", order), ExpectVersion(1)], source="here")
    log.update(sent)
    assert_type(log.update(sent).version, int)


def backends(cipher: SecretBoxCipher) -> None:
    every: list[Backend] = [
        MemoryBackend(),
        SQLiteBackend("x.db", busy_seconds=1),
        ScopedBackend(MemoryBackend(), "tenant"),
        EncryptedBackend(MemoryBackend(), cipher),
    ]
    assert_type(Client(every[0]).log("a"), Log[str, Any])
    assert_type(indelible.MasterKey.generate(), MasterKey)
