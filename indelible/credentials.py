"""Who a program is to a service."""

from __future__ import annotations

import attrs

from indelible import checks
from indelible.errors import InvalidRequest
from indelible.secret import Secret


def _secret(value: Secret | str) -> Secret:
    return value if isinstance(value, Secret) else Secret(checks.name(value, "apikey").encode())


@attrs.frozen
class Credentials:
    """A customer's id and one of its API keys; printing shows the id alone. Raises ``InvalidRequest``."""

    customer_id: str
    apikey: Secret = attrs.field(converter=_secret)

    def __attrs_post_init__(self) -> None:
        # HTTP Basic puts a colon between the two (RFC 7617).
        if ":" in checks.name(self.customer_id, "customer_id"):
            raise InvalidRequest("a customer id must not contain a colon")
