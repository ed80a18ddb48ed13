"""``Secret``: the one type that holds key material, and shows it only to who asks by name."""

from __future__ import annotations

import base64
import hmac
from typing import ClassVar, NoReturn, SupportsIndex

from indelible import seams
from indelible.errors import InvalidRequest

_MAKE_ONE = "make one with MasterKey.generate() and keep it as MasterKey.to_base64() gives it"


class Guarded:
    """What holds key material: it cannot be pickled or copied, and so never leaves the process by accident.

    Subclasses have slots and a ``repr`` of their own, so that ``vars`` and a printed object give nothing away.
    """

    __slots__ = ()

    def _refuse(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds key material, so it cannot be pickled or copied; pass it as it is"
        )

    def __getstate__(self) -> NoReturn:
        self._refuse()

    def __reduce__(self) -> NoReturn:
        self._refuse()

    def __reduce_ex__(self, _protocol: SupportsIndex) -> NoReturn:
        self._refuse()


class Secret(Guarded):
    """Bytes that printing, formatting, pickling and copying do not give away; ``reveal`` does.

    Equal to another ``Secret`` of the same bytes, compared in constant time, and to nothing else. Unhashable: a hash by
    content would be one more thing to leak, and one by identity would not agree with equality. Raises
    ``InvalidRequest`` for anything but ``bytes``.
    """

    __slots__ = ("_value",)
    __hash__: ClassVar[None] = None  # type: ignore[assignment]

    def __init__(self, value: bytes) -> None:
        if not isinstance(value, bytes):
            raise InvalidRequest(f"{type(self).__name__} takes bytes, not {type(value).__name__}")
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves, for the cipher and for whoever stores the key."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<{len(self._value)} bytes>)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


def _fault(value: bytes) -> str | None:
    """What is wrong with ``value`` as a master key. A random one fails with a chance below 2**-40."""
    if len(value) != 32:
        return f"a master key is exactly 32 bytes, not {len(value)}"
    if all(0x20 <= byte < 0x7F for byte in value):
        return "this master key is printable text, which can be guessed; a text is not a key"
    if len(set(value)) < 20:
        return "this master key is plainly not random"
    return None


class MasterKey(Secret):
    """The 32 random bytes that every other key is derived from.

    Raises ``InvalidRequest`` for another length and for what is plainly not random: the log's name is sealed under this
    key, so a weak one can be guessed off line by whoever has the name's sealed form.
    """

    __slots__ = ()

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        if (fault := _fault(value)) is not None:
            raise InvalidRequest(f"{fault}; {_MAKE_ONE}")

    @classmethod
    def generate(cls) -> MasterKey:
        """A fresh key from the system's randomness."""
        return cls(seams.entropy(32))

    @classmethod
    def from_base64(cls, text: str) -> MasterKey:
        """The key that ``to_base64`` wrote; any other spelling of it raises ``InvalidRequest``."""
        value = None
        if isinstance(text, str):
            try:
                value = base64.b64decode(text, validate=True)
            except ValueError:
                value = None
        # Raised out here, so that no error about the key's text is chained to this one.
        if value is None or base64.b64encode(value).decode() != text:
            raise InvalidRequest(f"a master key's text is standard Base64, exactly as written; {_MAKE_ONE}")
        return cls(value)

    def to_base64(self) -> str:
        """The key as text, for a profile or a vault. It is the key: handle it as such."""
        return base64.b64encode(self._value).decode()
