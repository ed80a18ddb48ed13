"""Bugs to seed in the product, one at a time; here those in what is judged and read.

A bug is a text that stands exactly once in its file and what to put in its place; two such where one alone would not
break the law but only a check of it. A line that was rewritten since fails the suite: write the bug anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mutants_stored import COMMITTING, STORED
from seeding import ENGINE, FILE, LAWS, MEMORY, PAGES, RANGES, RECEIPTS, SCHEMA, Mutant, bug

JUDGED: Final[Sequence[Mutant]] = (
    # What is asked and judged.
    bug(
        "an id is not looked up",
        "S16",
        "ledger.py",
        "if (receipt := self.receipts.get(transaction.id)) is not None:",
        "if (receipt := None) is not None:",
        MEMORY,
        only="s16",
    ),
    bug(
        "an id is not looked up in the file",
        "S16",
        COMMITTING,
        "            kept = rows.receipt(db, it.id, self.transaction.id)\n            if",
        "            kept = None\n            if",
        FILE,
        only="s16",
    ),
    bug(
        "an id is looked up after judging",
        "S16",
        COMMITTING,
        "            if kept is not None:\n                return kept.answer",
        "            outcome = rows.apply(db, it, self.transaction, self.fingerprint, self.attempt)\n"
        "            if kept is not None:\n                return kept.answer",
        FILE,
        only="s16",
    ),
    bug(
        "a retry's rejection is forgotten",
        "S16",
        "receipts.py",
        "return attempt > 1 or (isinstance(outcome, Committed) and outcome.changed)",
        "return isinstance(outcome, Committed) and (attempt > 1 or outcome.changed)",
        MEMORY,
        only="s16",
    ),
    bug(
        "a retry's 'nothing changed' is forgotten",
        "S16",
        "receipts.py",
        "return attempt > 1 or (isinstance(outcome, Committed) and outcome.changed)",
        "return isinstance(outcome, Committed) and outcome.changed or (attempt > 1 and isinstance(outcome, Rejection))",
        MEMORY,
        only="s16",
    ),
    bug(
        "the second attempt is taken for the first",
        "S16",
        "receipts.py",
        "return attempt > 1 or",
        "return attempt > 2 or",
        MEMORY,
        only="s16",
    ),
    bug(
        "an answer given again looks new",
        "S6, S16",
        "receipts.py",
        "replayed=True",
        "replayed=False",
        MEMORY,
        only="s16",
    ),
    bug(
        "a fingerprint leaves the source out",
        "S16",
        "receipts.py",
        "if transaction.source is not None:",
        "if False:",
        MEMORY,
        only="s16",
    ),
    bug(
        "a fingerprint leaves values out", "S16", "receipts.py", "sizes, key, value)", "sizes, key)", MEMORY, only="s16"
    ),
    bug(
        "a fingerprint runs key and value together", "S16", "receipts.py", "sizes, key, value)", "key, value)", RECEIPTS
    ),
    bug(
        "a trim forgets ids",
        "S16",
        "ledger.py",
        "self.made = [info for info in self.made if info.version >= self.oldest]",
        "self.made = [info for info in self.made if info.version >= self.oldest]; self.receipts.clear()",
        MEMORY,
        only="s16",
    ),
    bug(
        "ids of one log are those of all",
        "S20",
        SCHEMA,
        "FROM receipts WHERE log = ? AND transaction_id = ?",
        "FROM receipts WHERE log IN (?, 1, 2, 3) AND transaction_id = ?",
        FILE,
        only="s16",
    ),
    bug(
        "an equal value is inserted in vain",
        "S2",
        "engine.py",
        '"Insert": (SET, KEEP, UnexpectedValue.code)',
        '"Insert": (SET, UnexpectedValue.code, UnexpectedValue.code)',
        ENGINE,
    ),
    bug(
        "a version is expected of the transaction itself",
        "S2",
        "engine.py",
        "if command.version != head:",
        "if command.version != head + bool(changed_by):",
        ENGINE,
    ),
    bug(
        "a value put back is a new entry",
        "S4",
        "engine.py",
        "if (before := current.get(key)) != after",
        "if [before := current.get(key), after] != [None, None]",
        ENGINE,
    ),
    bug(
        "an effect stands at its first command",
        "S4",
        "engine.py",
        "changed_by[key] = index",
        "changed_by.setdefault(key, index)",
        ENGINE,
    ),
    bug("nothing makes a version", "S5", "engine.py", "head + 1 if effects else head", "head + 1", ENGINE),
    # What a diff says.
    bug(
        "a page is one too long",
        "S12",
        "history.py",
        "islice(rest, min(request.limit, 2**62))",
        "islice(rest, min(request.limit, 2**62) + 1)",
        LAWS,
    ),
    bug(
        "the last page is dropped",
        "S12",
        "history.py",
        "following = next(rest, None)",
        "following = None",
        LAWS,
    ),
    bug("a page has no end in bytes", "S12", "history.py", "if room <= 0:", "if False:", MEMORY, only="bytes"),
    bug(
        "a page that is just full goes on",
        "S12",
        "history.py",
        "if room <= 0:",
        "if room < 0:",
        MEMORY,
        only="bytes",
    ),
    bug(
        "values do not count as bytes",
        "S12",
        "history.py",
        "room -= len(step[1].key) + len(step[1].value)",
        "room -= len(step[1].key)",
        MEMORY,
        only="bytes",
    ),
    bug(
        "a cursor forgets the removal that was seen",
        "S12",
        "history.py",
        "AtCommand(*position, position_before == position)",
        "AtCommand(*position, False)",
        LAWS,
    ),
    bug(
        "a cursor in key order forgets the removal",
        "S12",
        "history.py",
        "AtKey(change.key, change_before.key == change.key)",
        "AtKey(change.key, False)",
        LAWS,
    ),
    bug(
        "an addition stands before the removal",
        "S9",
        "history.py",
        "if backward else (version, command)), isinstance(change, Added)",
        "if backward else (version, command)), isinstance(change, Removed)",
        LAWS,
    ),
    bug(
        "the way back is not reversed",
        "S10",
        "history.py",
        "return ((-version, -command) if backward else (version, command)), isinstance",
        "return (version, command), isinstance",
        LAWS,
    ),
    bug(
        "a page of the file reads a row too few",
        "S12",
        RANGES,
        "min(request.limit, 2**62) + 2",
        "min(request.limit, 2**62) + 1",
        PAGES,
    ),
    bug("a cursor by key skips its key", "S12", RANGES, "key >= ?7", "key > ?7", PAGES),
    bug(
        "what a middle range added and ended later is left out",
        "S8",
        RANGES,
        "    if span.high < head:\n",
        "    if False:\n",
        FILE,
        only="s08",
    ),
    bug(
        "a trim forgets one version too many",
        "S19",
        "ledger.py",
        "span.ended[0] > self.oldest]",
        "span.ended[0] > self.oldest + 1]",
        MEMORY,
        only="s19",
    ),
    bug(
        "a trim of the file forgets one too many",
        "S19",
        SCHEMA,
        'ended_version <= ?"',
        'ended_version <= ? + 1"',
        FILE,
        only="s19",
    ),
    bug(
        "versions begin one too early",
        "S18",
        SCHEMA,
        "WHERE log = ? AND version > ? AND version <= ? ORDER BY version",
        "WHERE log = ? AND version >= ? AND version <= ? ORDER BY version",
        FILE,
        only="s18",
    ),
)

MUTANTS: Final[Sequence[Mutant]] = (*JUDGED, *STORED)
