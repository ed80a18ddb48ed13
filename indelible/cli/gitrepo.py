"""A git repository as an import sees it: its first-parent history, and what each commit changed.

Everything comes from git's own plumbing, in a fixed number of processes however long the history is. Replacement
objects are left alone, so the same commit id always means the same change.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Final

import attrs

from indelible.cli.exits import Failure
from indelible.errors import InvalidRequest

_ELSEWHERE: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
"""Variables by which git would look at another repository than the one that was named; hooks run with them."""

_DIFF_TREE: Final = (
    *("-c", "diff.orderFile=/dev/null", "diff-tree", "--stdin", "-r", "-z"),
    *("--raw", "--no-renames", "--no-abbrev", "--root", "--ignore-submodules=none"),
)


@attrs.frozen
class FileChange:
    """What a commit did to one path; ``before`` and ``after`` are ``"<mode> <object id>"``, or None for no file."""

    path: bytes
    before: str | None
    after: str | None


@attrs.frozen
class Commit:
    """A commit on the first-parent chain; the first one has no parent."""

    id: str
    parent: str | None


@attrs.frozen
class Repository:
    """The repository at ``path``. Every call raises ``InvalidRequest`` or ``Failure`` with what git said."""

    path: str

    def check(self) -> bool:
        """Raise unless it is a repository; tell whether it is a shallow clone."""
        if not os.path.isdir(self.path):  # noqa: PTH112 - the path stays as it was given
            raise InvalidRequest(f"{self.path!r} is not a folder")
        return self._output("rev-parse", "--is-shallow-repository").strip() == b"true"

    def resolve(self, revision: str) -> str:
        """The id of the commit that a revision names."""
        if not revision.startswith("-"):
            with contextlib.suppress(InvalidRequest):
                return self._output("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").decode().strip()
        raise InvalidRequest(
            f"{self.path!r} has no commit {revision!r}; has anything been committed there? --rev names another"
        )

    def chain(self, commit: str) -> list[Commit]:
        """The commits from the first one to this, each the first parent of the next."""
        lines = self._output("rev-list", "--first-parent", "--reverse", "--parents", commit).decode().splitlines()
        ids = [line.split(" ", 2) for line in lines]
        return [Commit(found[0], found[1] if len(found) > 1 else None) for found in ids]

    def changes(self, commits: Sequence[Commit]) -> Iterator[tuple[str, list[FileChange]]]:
        """What each commit changed against its first parent; one that changed nothing is left out."""
        with tempfile.TemporaryFile() as pairs, tempfile.TemporaryFile() as complaints:
            # The pairs go through a file: writing to git while it writes to us would need a thread.
            pairs.writelines(f"{commit.id} {commit.parent or ''}".rstrip().encode() + b"\n" for commit in commits)
            pairs.seek(0)
            with self._started(_DIFF_TREE, pairs, complaints) as process:
                assert process.stdout is not None
                yield from _parsed(process.stdout)
                if process.wait() != 0:
                    complaints.seek(0)
                    raise Failure(f"git could not read the history of {self.path!r}: {_first_line(complaints.read())}")

    def _command(self, arguments: Sequence[str]) -> tuple[str, ...]:
        return ("git", "--no-replace-objects", "-C", self.path, *arguments)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
        return {**kept, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}

    def _output(self, *arguments: str) -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - git, without a shell
                self._command(arguments), env=self._environment(), capture_output=True, check=False
            )
        except FileNotFoundError:
            raise _no_git() from None
        if done.returncode != 0:
            raise InvalidRequest(f"git cannot use {self.path!r}: {_first_line(done.stderr)}")
        return done.stdout

    @contextlib.contextmanager
    def _started(
        self, arguments: Sequence[str], stdin: IO[bytes], stderr: IO[bytes]
    ) -> Iterator[subprocess.Popen[bytes]]:
        try:
            process = subprocess.Popen(  # noqa: S603 - git, without a shell
                self._command(arguments), env=self._environment(), stdin=stdin, stdout=subprocess.PIPE, stderr=stderr
            )
        except FileNotFoundError:
            raise _no_git() from None
        with process:
            try:
                yield process
            finally:
                # Does nothing to one that has ended; one whose output nobody wants any more would wait for ever.
                process.kill()


def _no_git() -> Failure:
    return Failure("there is no git on this machine's PATH; install it first")


def _first_line(complaint: bytes) -> str:
    lines = complaint.decode(errors="replace").strip().splitlines()
    return lines[0].removeprefix("fatal: ") if lines else "it does not say why"


def _parsed(stream: IO[bytes]) -> Iterator[tuple[str, list[FileChange]]]:
    """The commits in the output of ``git diff-tree --stdin -z``.

    That is a commit's id, then for each path ``:mode mode id id status`` and the path; each ends with a NUL.
    """
    fields = _fields(stream)
    commit: str | None = None
    changes: list[FileChange] = []
    for field in fields:
        if not field.startswith(b":"):
            if commit is not None:
                yield commit, changes
            commit, changes = field.decode(), []
        else:
            before_mode, after_mode, before, after, status = field[1:].decode().split(" ")
            changes.append(
                FileChange(
                    next(fields),
                    None if status == "A" else f"{before_mode} {before}",
                    None if status == "D" else f"{after_mode} {after}",
                )
            )
    if commit is not None:
        yield commit, changes


def _fields(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := stream.read(64 * 1024):
        *whole, rest = (rest + piece).split(b"\0")
        yield from whole
