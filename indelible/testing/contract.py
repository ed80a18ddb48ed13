"""The contract as tests: what an author of a backend runs to see whether it is one.

.. code-block:: python

    from indelible.testing import BackendContract

    class TestMyBackend(BackendContract):
        def make_backend(self, tmp_path):
            return MyBackend(tmp_path / "logs")

        def reopen(self, backend):          # leave it out if logs do not outlive their process
            return MyBackend(backend.path)
"""

from __future__ import annotations

from indelible.testing.laws.grouping import GroupingLaws
from indelible.testing.laws.keeping import KeepingLaws
from indelible.testing.laws.paging import PagingLaws
from indelible.testing.laws.reading import ReadingLaws
from indelible.testing.laws.retrying import RetryingLaws
from indelible.testing.laws.subscribing import SubscribingLaws
from indelible.testing.laws.updating import UpdatingLaws
from indelible.testing.laws.waiting import WaitingLaws


class SequentialContract(UpdatingLaws, ReadingLaws, RetryingLaws, KeepingLaws):
    """The clauses that one caller at a time can see; for what is used by one thread only, as the oracle is."""


class BackendContract(SequentialContract, PagingLaws, WaitingLaws, SubscribingLaws, GroupingLaws):
    """Every clause from S1 to S21 that can be seen from outside, tried on the backend that ``make_backend`` makes.

    Subclass it, say how a backend is made and, if its logs outlive it, how it is reopened. ``sorted_keys``,
    ``limits`` and ``exact_limits`` say what is known of wrappers and of stores with limits of their own. Methods are
    named by the clauses they try; overriding one to make it pass means that the backend is not one.
    """
