"""What a disk may hold after a power cut, given the record of what was asked of it.

What a file held at its last sync is there. Of what came after, anything may be: nothing, all, some of the writes,
single sectors of 512 or 4,096 bytes of a write, sectors as they were at different moments, or a longer file that is
still zeros or noise. A file that was created or deleted since the folder was last synced is there or not, each name by
itself, as it was at any moment since. After a sync that failed, what it should have written stays in doubt for good,
even after a later sync that did not fail (as on Linux, whose kernel takes a page for clean once writing it has failed),
unless the same bytes are written again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import attrs

SECTORS = (512, 4096)

Files: TypeAlias = dict[str, bytes]
"""What a folder holds: contents by name."""


@attrs.define
class Change:
    """A write, or a truncation where ``data`` is None; ``certain`` once a sync covered it."""

    offset: int
    data: bytes | None
    certain: bool = False
    doubted: bool = False

    def apply(self, content: bytearray) -> None:
        """Make the change."""
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
        else:
            content.extend(bytes(max(0, self.offset - len(content))))
            content[self.offset : self.offset + len(self.data)] = self.data

    def torn(self, sector: int, keep_front: bool, rng: random.Random) -> Change | None:
        """The part of a write that lies in its first or its last sectors, if it spans more than one."""
        if self.data is None:
            return None
        first, last = self.offset // sector + 1, (self.offset + len(self.data) - 1) // sector
        if first > last:
            return None
        at = rng.randint(first, last) * sector - self.offset
        return Change(self.offset, self.data[:at]) if keep_front else Change(self.offset + at, self.data[at:])


@attrs.define
class Inode:
    """A file: what it certainly holds, and what was changed since."""

    base: bytearray = attrs.field(factory=bytearray)
    changes: list[Change] = attrs.field(factory=list)

    def sync(self) -> None:
        """All that is not in doubt becomes certain; what comes before any doubt is folded away."""
        for change in self.changes:
            change.certain = change.certain or not change.doubted
        while self.changes and self.changes[0].certain:
            self.changes.pop(0).apply(self.base)

    def doubt(self) -> None:
        """A sync failed: what it was to write may never come to the disk."""
        for change in self.changes:
            change.doubted = change.doubted or not change.certain

    def content(self, kept: Iterable[Change], torn: Change | None = None, part: Change | None = None) -> bytes:
        """What the file holds if, of the uncertain changes, just ``kept`` took place, and a ``part`` of ``torn``."""
        result = bytearray(self.base)
        chosen = {id(change) for change in kept}
        for change in self.changes:
            if change is torn and part is not None:
                part.apply(result)
            elif change.certain or id(change) in chosen:
                change.apply(result)
        return bytes(result)

    def open_changes(self) -> list[Change]:
        """Those that may be lost."""
        return [change for change in self.changes if not change.certain]

    def possible(self, rng: random.Random, effort: int) -> Iterator[bytes]:
        """Contents the file may have; ``effort`` of each random kind."""
        uncertain = self.open_changes()
        yield self.content(())
        if not uncertain:
            return
        yield self.content(uncertain)
        for sector in SECTORS:
            for keep_front in (True, False):
                if (part := uncertain[-1].torn(sector, keep_front, rng)) is not None:
                    yield self.content(uncertain[:-1], uncertain[-1], part)
        for _ in range(effort):
            yield self.content(uncertain[: rng.randrange(len(uncertain))])
            yield self.content([change for change in uncertain if rng.random() < 0.5])
            lost = rng.choice(uncertain)
            yield self.content([change for change in uncertain if change is not lost])
            yield from (self._written_back(uncertain, sector, rng) for sector in SECTORS)
            yield self._grown(uncertain, rng)

    def _written_back(self, uncertain: list[Change], sector: int, rng: random.Random) -> bytes:
        """Each sector as it was at some moment of its own."""
        moments = [self.content(uncertain[:count]) for count in sorted(rng.sample(range(len(uncertain) + 1), 2))]
        moments.append(self.content(uncertain))
        size = len(rng.choice(moments))
        pieces = (rng.choice(moments)[at : at + sector].ljust(sector, b"\0") for at in range(0, size, sector))
        return b"".join(pieces)[:size]

    def _grown(self, uncertain: list[Change], rng: random.Random) -> bytes:
        """As long as the file became, with zeros or noise where its bytes did not follow."""
        whole = self.content(uncertain)
        kept = self.content(uncertain[: rng.randrange(len(uncertain))])
        missing = max(0, len(whole) - len(kept))
        return kept + (bytes(missing) if rng.random() < 0.5 else rng.randbytes(missing))


class Disk:
    """The disk at one moment of a record."""

    def __init__(self, files: Files | None = None) -> None:
        self.inodes: dict[int, Inode] = {}
        self.names: dict[str, list[int | None]] = {}
        """For each name, the inode it certainly had, and all it had since the folder was last synced."""
        for inode, (name, content) in enumerate(sorted((files or {}).items()), 1):
            self.inodes[inode] = Inode(bytearray(content))
            self.names[name] = [inode]

    def events(self) -> list[tuple]:
        """The record that says which inodes there are, to begin a recording from this disk."""
        return [("create", name, inodes[-1]) for name, inodes in self.names.items() if inodes[-1] is not None]

    def apply(self, event: tuple) -> None:
        """Let one more event happen."""
        match event:
            case ("create", name, inode):
                if self.names.get(name, [None])[-1] != inode:
                    self.names.setdefault(name, [None]).append(inode)
                    self.inodes[inode] = Inode()
            case ("delete", name):
                self.names.setdefault(name, [None]).append(None)
            case ("dirsync",):
                self.names = {name: inodes[-1:] for name, inodes in self.names.items()}
            case ("write", inode, offset, data):
                self.inodes[inode].changes.append(Change(offset, data))
            case ("truncate", inode, size):
                self.inodes[inode].changes.append(Change(size, None))
            case ("sync", inode):
                self.inodes[inode].sync()
            case ("badsync", inode):
                self.inodes[inode].doubt()

    def unchanged(self) -> Files:
        """What every program sees while the power is on."""
        return {
            name: self.inodes[inodes[-1]].content(self.inodes[inodes[-1]].open_changes())
            for name, inodes in self.names.items()
            if inodes[-1] is not None
        }

    def after_power_cut(self, rng: random.Random, effort: int) -> Iterator[Files]:
        """What may be there when the power is back: many of all the possibilities, ``effort`` of each random kind."""
        present = {inode for inodes in self.names.values() for inode in inodes if inode is not None}
        possible = {inode: list(self.inodes[inode].possible(rng, effort)) for inode in present}
        namings = list(self._namings(rng))
        for naming in namings:
            yield {name: possible[inode][0] for name, inode in naming.items()}
            yield {name: possible[inode][min(1, len(possible[inode]) - 1)] for name, inode in naming.items()}
        for inode, contents in possible.items():
            for content in contents[1:]:
                naming = rng.choice(namings)
                yield {
                    name: content if other == inode else rng.choice(possible[other]) for name, other in naming.items()
                }

    def _namings(self, rng: random.Random) -> Iterator[dict[str, int]]:
        def named(choice: dict[str, int | None]) -> dict[str, int]:
            return {name: inode for name, inode in choice.items() if inode is not None}

        yield named({name: inodes[-1] for name, inodes in self.names.items()})
        if any(len(inodes) > 1 for inodes in self.names.values()):
            yield named({name: inodes[0] for name, inodes in self.names.items()})
            yield named({name: rng.choice(inodes) for name, inodes in self.names.items()})
