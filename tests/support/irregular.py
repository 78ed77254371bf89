"""What has the name of a file and is none: opening it may wait for ever, or never end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

KINDS = ("FIFO", "device", "folder")


def irregular(path: Path, kind: str) -> Path:
    """Make a FIFO, a link to a device that never ends, or a folder."""
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


def at_once(call: Callable[..., Any], *arguments: Any) -> Any:
    """The result of the call, or its error; the test fails if it waits for what never comes."""
    results: list[Any] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call(*arguments))
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it waits"
    if errors:
        raise errors[0]
    return results[0]
