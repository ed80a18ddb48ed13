"""``accept-rollback``: the deliberate way on after a service's logs were restored from a backup."""

from __future__ import annotations

from indelible import backend
from indelible.cli.common import DEFAULTS, Common, LogName
from indelible.cli.output import one, visible


def accept_rollback(log: LogName, /, *, common: Common = DEFAULTS) -> None:
    """Take a log as its service shows it now, though a newer version of it was seen before.

    What was written after the restored backup is lost, and only whoever runs the service can say why.
    """
    with common.connect() as client:
        backend.accept_rollback(client.backend, log)
        version = client.log(log).version
    item = {"log": log, "version": version}
    one(common.output, item, f"log {visible(log)} is taken as it is shown now, at version {version}")
