"""Capture the warnings of the decoding libraries."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.Lock()  # all threads share one list of warning filters
_silent = logging.NullHandler()  # without any handler, logging prints errors to stderr


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect warnings raised in the block instead of printing them; complete when the block ends. Does not nest."""
    notes: list[str] = []
    for name in ("PIL", "tifffile"):
        logging.getLogger(name).addHandler(_silent)
    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield notes
        finally:
            notes += [str(warning.message).strip() for warning in caught if issubclass(warning.category, UserWarning)]
