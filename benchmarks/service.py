"""A service in a process of its own, to be measured from this one; with durability switched off where that is asked."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import urllib3

import indelible
from indelible.credentials import Credentials
from indelible.server.access import Access
from indelible.server.running import listen
from indelible.server.settings import Settings

_PATIENCE = 30.0

_RUN = """
import pickle, socket, sys
from indelible.backends.sqlite import file
from indelible.server.running import serve
if __name__ == "__main__":
    settings, number, durable = pickle.loads(bytes.fromhex(sys.argv[1])), int(sys.argv[2]), sys.argv[3] == "durable"
    if not durable:
        # What no setting allows: nothing is synced, and the check that everything is looks away.
        file._SETTINGS = {**file._SETTINGS, "synchronous": "OFF"}
        file._PROMISED = {"journal_mode": "wal"}
    serve(settings, socket.socket(fileno=number))
"""


@attrs.frozen
class Running:
    """A service that answers."""

    url: str
    credentials: Credentials
    pid: int

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def memory(self) -> int:
        """Bytes that are its own, as Linux counts them."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


@contextmanager
def running(path: Path, *, durable: bool = True) -> Iterator[Running]:
    """A service over the SQLite file at ``path``, with one customer whose key may do everything."""
    settings = Settings(store=f"sqlite:///{path}", port=0, access_log=False)
    backend = settings.open_store()
    access = Access(backend).open()
    access.add_customer("bench")
    _, secret = access.issue("bench", ["read", "write", "admin"])
    backend.close()
    listener = listen(settings)
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _RUN, pickle.dumps(settings).hex(), str(listener.fileno())),
            "durable" if durable else "fast",
        ],
        pass_fds=[listener.fileno()],
        env={**os.environ, "PYTHONPATH": str(Path(indelible.__file__).parent.parent)},
    )
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    try:
        _await(url, process)
        yield Running(url, Credentials("bench", secret), process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_PATIENCE)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            if urllib3.request("GET", f"{url}/readyz", retries=False, timeout=1.0).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.02)
    raise RuntimeError("the service did not start")
