"""Logs kept by a service, over HTTP; what it answers is checked as if it were hostile."""

from indelible.backends.http.backend import HTTPBackend
from indelible.backends.http.pins import Pins

__all__ = ["HTTPBackend", "Pins"]
