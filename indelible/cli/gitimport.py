"""``git-import``: a git repository's history as a log, a version for each commit that changed files.

A key is a path, a value ``"<mode> <object id>"``: ``100644`` and ``100755`` are files, ``120000`` symbolic links,
``160000`` submodules, as ``git ls-tree -r`` says. So a log's diff between two versions is what ``git diff-tree -r
--no-renames`` says between their commits. A version's source is the id of its commit.

A path that is not UTF-8 becomes a key in the form in which git itself quotes it (with octal numbers), and so does a
path that begins with a quotation mark, so that no two paths have the same key.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from indelible.cli import progress
from indelible.cli.common import DEFAULTS, Common, Group, embedded_limits, ensure, flag, send
from indelible.cli.gitrepo import Commit, FileChange, Repository
from indelible.cli.output import counted, one, visible
from indelible.cli.txids import derive
from indelible.client import connect
from indelible.commands import Command, ExpectVersion, Insert, Remove, Transaction, Update
from indelible.errors import InvalidRequest, TooLarge
from indelible.limits import Limits
from indelible.log import Log
from indelible.secret import MasterKey

_LIMITS: Final = Limits(commands=10_000_000)
"""A commit is one transaction however many files it changes; the kernel's first commit has 17,000."""


def git_import(
    repository: Annotated[str, Parameter(help="The repository's folder.")],
    /,
    *,
    log: Annotated[str | None, Parameter(help="The log's name; the folder's name unless given.")] = None,
    rev: Annotated[str, Parameter(name=("--rev", "--branch"), help="The commit or branch to import up to.")] = "HEAD",
    allow_shallow: Annotated[bool, flag("Import a shallow clone too, beginning where its history is cut off.")] = False,
    group: Group = None,
    common: Common = DEFAULTS,
) -> None:
    """Replay a git repository into a log: a path is a key, its mode and object id the value, a commit a version.

    It follows first parents, makes the log if need be, and keeps the commit id as each version's source, in the clear.
    A commit that changes no file makes no version. Run it again to add the commits made since: nothing is committed
    twice. If the history was rewritten it refuses.
    """
    repo = Repository(repository)
    if repo.check() and not allow_shallow:
        raise InvalidRequest(
            f"{repository!r} is a shallow clone, its older history is missing; "
            "run 'git fetch --unshallow' there, or add --allow-shallow"
        )
    name = log or Path(repository).resolve().name.removesuffix(".git")
    chain = repo.chain(repo.resolve(rev))
    profile = common.load()
    with connect(profile, limits=embedded_limits(profile, _LIMITS)) as client:
        it = client.log(name)
        ensure(it, group)
        replay = Replay(it, profile.master_key)
        start = replay.resume(chain)
        with progress.bar(f"git-import {name}", len(chain) - start) as show:
            for done in replay.run(repo, chain[start:]):
                show(done)
        version = it.version
    item = {"log": name, "version": version, "commits": len(chain) - start, "versions": replay.made}
    text = f"{counted(len(chain) - start, 'new commit', 'new commits')}, {counted(replay.made, 'version', 'versions')}"
    one(common.output, item, f"log {visible(name)} is at version {version}: {text} made")


def key_of(path: bytes) -> str:
    """The key of a path: itself, or as git quotes it if it is not UTF-8 or begins with a quotation mark."""
    if not path.startswith(b'"'):
        try:
            return path.decode()
        except UnicodeDecodeError:
            pass
    return '"' + "".join(map(_quoted, path)) + '"'


_ESCAPES: Final = dict(zip(b'\a\b\t\n\v\f\r"\\', (rf"\{char}" for char in 'abtnvfr"\\'), strict=True))


def _quoted(byte: int) -> str:
    return _ESCAPES.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}")


@attrs.define
class Replay:
    """The import of one repository into one log; ``made`` counts the versions it made."""

    log: Log[str, Any]
    key: MasterKey
    made: int = 0

    def resume(self, chain: list[Commit]) -> int:
        """How many commits of the chain the log has already. Raises ``InvalidRequest`` if it has others."""
        info = self.log.describe()
        if info.head == 0:
            return 0
        # Version 0 can always be named, those below the oldest cannot.
        *_, newest = self.log.versions(info.head - 1 if info.oldest < info.head else 0)
        source = newest.source or ""
        if newest.transaction_id != self._id(source):
            raise InvalidRequest(
                f"version {info.head} of log {self.log.name!r} was not made by git-import; "
                "import into another log with --log"
            )
        for index, commit in enumerate(chain):
            if commit.id == source:
                return index + 1
        raise InvalidRequest(
            f"log {self.log.name!r} ends at commit {source[:12]}, which is not among the {len(chain)} first-parent "
            f"commits up to {chain[-1].id[:12]}: the history was rewritten, or this is an older or another branch; "
            "import it into another log with --log"
        )

    def run(self, repository: Repository, commits: list[Commit]) -> Iterator[int]:
        """Commit what the commits changed; give how many are done, now and then."""
        head = self.log.version
        places = {commit.id: index for index, commit in enumerate(commits, start=1)}
        for commit, changes in repository.changes(commits):
            head = self._commit(commit, changes, head)
            yield places[commit]

    def _commit(self, commit: str, changes: list[FileChange], head: int) -> int:
        # Whoever runs the same import at the same time sends the same transaction; whoever writes anything else to
        # the log makes this one fail.
        commands: list[Command[str, str]] = [ExpectVersion(head), *map(_command, changes)]
        try:
            committed = send(self.log, Transaction(commands, source=commit, id=self._id(commit)))
        except TooLarge as error:
            raise InvalidRequest(f"commit {commit[:12]}: {error}") from None
        self.made += committed.changed and not committed.replayed
        return committed.version

    def _id(self, commit: str) -> bytes:
        return derive(self.key, b"git-import", self.log.name.encode(), commit.encode())


def _command(change: FileChange) -> Command[str, str]:
    key = key_of(change.path)
    if change.after is None:
        assert change.before is not None
        return Remove(key, change.before)
    return Insert(key, change.after) if change.before is None else Update(key, change.after)
