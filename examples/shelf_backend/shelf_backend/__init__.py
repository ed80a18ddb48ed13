"""A backend of one's own: logs in a shelf of the standard library. The rules come with the ledger; this stores it."""

import os
import shelve
import threading
from contextlib import contextmanager

from indelible import Closed, Limits, LogExists, NonexistentLog
from indelible.ledger import Ledger
from indelible.seams import now


class ShelfBackend:
    def __init__(self, path, limits=None):
        self.limits = limits or Limits()
        # Absolute, since a shelf of pure Python opens its files by name again whenever it writes.
        self.shelf = shelve.open(os.path.abspath(path))
        self.changed = threading.Condition()
        self.closed = False

    def create(self, log, group=None):
        self.limits.check_name(log)
        self.limits.check_group(group)
        with self.changed:
            self.check_open()
            if log not in self.shelf:
                self.keep(Ledger(log, group))
            if self.shelf[log].group != group:
                raise LogExists(log)

    def update(self, log, transaction, attempt=1):
        self.limits.check(transaction)
        with self.ledger(log) as ledger:
            try:
                return ledger.update(transaction, attempt, now())
            finally:
                self.keep(ledger)

    def diff(self, log, request):
        with self.ledger(log) as ledger:
            if request.waits_at(ledger.head):
                self.changed.wait_for(
                    lambda: self.closed or self.shelf[log].head > request.from_version, request.wait_seconds
                )
                self.check_open()
            return self.shelf[log].diff(request)

    def describe(self, log):
        with self.ledger(log) as ledger:
            return ledger.describe()

    def logs(self, group=None):
        with self.changed:
            self.check_open()
            found = [self.shelf[log].describe() for log in sorted(self.shelf)]
            return [info for info in found if group in (None, info.group)]

    def versions(self, log, from_version=0, to_version=None):
        with self.ledger(log) as ledger:
            return ledger.versions(from_version, to_version)

    def trim(self, log, before):
        with self.ledger(log) as ledger:
            ledger.trim(before)
            self.keep(ledger)

    def close(self):
        with self.changed:
            self.closed = True
            self.shelf.close()
            self.changed.notify_all()

    @contextmanager
    def ledger(self, log):
        self.limits.check_name(log)
        with self.changed:
            self.check_open()
            if log not in self.shelf:
                raise NonexistentLog(log)
            yield self.shelf[log]

    def keep(self, ledger):
        self.shelf[ledger.name] = ledger
        self.shelf.sync()
        self.changed.notify_all()

    def check_open(self):
        if self.closed:
            raise Closed("the shelf was closed; open it again to go on")


def open_url(url, limits=None):
    return ShelfBackend(url.removeprefix("shelf:"), limits)
