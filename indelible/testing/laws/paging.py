"""S12 in bytes: a page ends where ``max_bytes`` are used up, and nothing else changes by that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from indelible.backend import Backend
from indelible.changes import Change
from indelible.commands import Insert, Upsert
from indelible.errors import InvalidRequest
from indelible.pages import DEFAULT_MAX_BYTES, DiffRequest, Order, Page
from indelible.testing.laws.base import Laws
from indelible.testing.samples import HISTORIES, LOG, changes, commit, fill, pages

BOUNDLESS = 2**63 - 1


def size(told: Sequence[Change[bytes, bytes]]) -> int:
    """Bytes of keys and values."""
    return sum(len(change.key) + len(change.value) for change in told)


class PagingLaws(Laws):
    """Pages bounded in bytes. A sealing wrapper counts sealed bytes, so its pages may be shorter."""

    def bounded(self, backend: Backend, request: DiffRequest) -> list[Page]:
        """Every page from ``request`` on, each within its bounds and where it ends by them."""
        told = [page := backend.diff(LOG, request)]
        while page.next is not None:
            page = backend.diff(LOG, attrs.evolve(request, to_version=page.to_version, cursor=page.next))
            told.append(page)
        for page in told[:-1]:
            count = len(page.changes)
            assert 1 <= count <= request.limit, "a page with anything left to tell holds a change, and not too many"
            assert size(page.changes[:-1]) < request.max_bytes, "a page ends once its bytes are used up"
            if self.exact_limits:
                assert count == request.limit or size(page.changes) >= request.max_bytes, "a page ends without a reason"
        return told

    @pytest.mark.parametrize("name", list(HISTORIES))
    @pytest.mark.parametrize("order", ["command", "key"])
    def test_s12_pages_of_any_bytes_make_the_whole(self, backend: Backend, name: str, order: Order) -> None:
        """S12: pages of any number of bytes put together are the unpaged diff, each the page of as many changes."""
        head = fill(backend, name).log(LOG).head
        middle = head // 2
        for start, end in sorted({(0, head), (head, 0), (middle, head), (head, middle), (0, middle)}):
            whole = changes(backend, start, end, order)
            for limit, most in [(BOUNDLESS, 1), (BOUNDLESS, 2), (BOUNDLESS, 5), (2, 3), (3, 2), (1, 9), (100, 10**6)]:
                request = DiffRequest(start, end, order=order, limit=limit, max_bytes=most)
                told = self.bounded(backend, request)
                assert [change for page in told for change in page.changes] == whole
                cursor = None
                for page in told:
                    alike = attrs.evolve(request, limit=len(page.changes) or 1, max_bytes=BOUNDLESS, cursor=cursor)
                    assert backend.diff(LOG, alike) == page
                    cursor = page.next

    def test_s12_a_change_larger_than_a_page_has_one_to_itself(self, backend: Backend) -> None:
        """S12: whatever does not fit on a page stands on one alone, or last, and is not left out."""
        commit(backend, Insert(b"a", bytes(10)), Insert(b"b", bytes(5000)), Insert(b"c", bytes(10)), Insert(b"d", b""))
        told = self.bounded(backend, DiffRequest(max_bytes=1))
        assert [[change.key for change in page.changes] for page in told] == [[b"a"], [b"b"], [b"c"], [b"d"]]
        told = self.bounded(backend, DiffRequest(max_bytes=4000))
        assert [[change.key for change in page.changes] for page in told] == [[b"a", b"b"], [b"c", b"d"]]

    def test_s12_a_page_is_bounded_where_nobody_says_how(self, backend: Backend) -> None:
        """S12: a request that names no bytes gets no page of more than 8 MiB and a change, and the rest on the next."""
        value = DEFAULT_MAX_BYTES // 16
        for turn in range(17):
            commit(backend, Upsert(b"%c" % (65 + turn), bytes(value)))
        told = pages(backend, DiffRequest())
        assert sum(len(page.changes) for page in told) == 17
        assert max(size(page.changes) for page in told) < DEFAULT_MAX_BYTES + value + 2

    def test_s12_a_page_without_changes_needs_no_bytes(self, backend: Backend) -> None:
        """S12: ``limit=0`` gives the versions alone, however few bytes."""
        fill(backend, "there and back")
        assert backend.diff(LOG, DiffRequest(limit=0, max_bytes=1)) == Page(0, 6, (), None)

    @pytest.mark.parametrize("wrong", [0, -1, True, 1.0, "1", None, 2**63])
    def test_s14_bytes_are_a_whole_number_from_1(self, backend: Backend, wrong: Any) -> None:
        """S14: ``max_bytes`` that can bound no page is ``InvalidRequest``; 1 and the largest number are taken."""
        with pytest.raises(InvalidRequest):
            backend.diff(LOG, DiffRequest(max_bytes=wrong))
        for most in (1, BOUNDLESS):
            backend.diff(LOG, DiffRequest(max_bytes=most))
