"""What the service tells of itself: metrics, a line a request, and spans where OpenTelemetry is installed.

No body, key, value or name of a log is in any of it, and no secret.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from indelible import seams
from indelible.server.exchange import Exchange
from indelible.server.keys import Grant

_access = logging.getLogger("indelible.access")


class Telemetry:
    """Counts and tells; a registry of its own, so that several services in one process do not add up."""

    def __init__(self) -> None:
        self.registry: CollectorRegistry = CollectorRegistry()
        self._requests = Counter(
            "indelible_requests", "Requests answered, by call and outcome.", ["call", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "indelible_request_seconds", "Time to answer, waiting included.", ["call"], registry=self.registry
        )
        self._received = Counter("indelible_received_bytes", "Bytes of bodies received.", registry=self.registry)
        self._sent = Counter("indelible_sent_bytes", "Bytes of bodies sent.", registry=self.registry)
        self._groups = Histogram(
            "indelible_commit_transactions",
            "Transactions committed together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=self.registry,
        )
        self._children: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._tracer = _tracer()

    def gauge(self, name: str, text: str, value: Any) -> None:
        """Tell what ``value`` gives at the time it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def committed(self, size: int) -> None:
        """Count a commit of so many transactions."""
        self._groups.observe(size)

    def span(self, call: str, request_id: str) -> Any:
        """The span of one request, for ``answered`` to end; None without OpenTelemetry."""
        if self._tracer is None:
            return None
        attributes = {"indelible.call": call, "indelible.request_id": request_id}
        return self._tracer.start_span(f"indelible {call}", attributes=attributes)

    def answered(
        self, span: Any, call: str, code: str, exchange: Exchange, grant: Grant | None, seconds: float
    ) -> None:
        """Count a request that was answered, write its line, and end its span."""
        if span is not None:
            span.set_attribute("indelible.code", code)
            span.end()
        count, times = self._of(call, code)
        count.inc()
        times.observe(seconds)
        self._received.inc(exchange.received)
        self._sent.inc(exchange.sent)
        if _access.isEnabledFor(logging.INFO):
            _access.info(
                "%s",
                json.dumps(
                    {
                        "time": seams.now().isoformat(timespec="milliseconds"),
                        "request_id": exchange.request_id,
                        "call": call,
                        "status": exchange.status,
                        "code": code,
                        "customer": None if grant is None else grant.customer_id,
                        "key": None if grant is None else grant.key_id,
                        "received": exchange.received,
                        "sent": exchange.sent,
                        "seconds": round(seconds, 6),
                    }
                ),
            )

    def _of(self, call: str, code: str) -> tuple[Counter, Histogram]:
        """The counters of a call with this outcome; looking them up by their labels costs more than counting."""
        found = self._children.get((call, code))
        if found is None:
            found = self._children[call, code] = (self._requests.labels(call, code), self._seconds.labels(call))
        return found

    def page(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        return generate_latest(self.registry)


def _tracer() -> Any:
    if importlib.util.find_spec("opentelemetry") is None:
        return None
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    return trace.get_tracer("indelible")
