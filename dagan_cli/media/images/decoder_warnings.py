"""Capture the warnings of the decoding libraries."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_one_at_a_time = threading.Lock()  # all threads share one list of warning filters
_silent = logging.NullHandler()  # without any handler, logging prints errors to stderr


@contextmanager
def heard() -> Iterator[list[str]]:
    """Collect warnings that this thread raises in the block instead of printing them; complete when the block ends.

    It does not nest. Warnings of other threads, which write or compute at the same time, are shown as ever.
    """
    notes: list[str] = []
    for name in ("PIL", "tifffile"):
        logging.getLogger(name).addHandler(_silent)
    with _one_at_a_time, warnings.catch_warnings():
        thread, show = threading.get_ident(), warnings.showwarning

        def note(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if threading.get_ident() != thread:
                show(message, category, *where)
            elif issubclass(category, UserWarning):
                notes.append(str(message).strip())

        warnings.showwarning = note
        warnings.simplefilter("always")
        yield notes
