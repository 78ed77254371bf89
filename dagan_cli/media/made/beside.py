"""The record of a file whose format has no place for it: a small hidden file next to it.

It names the identity of the file that it belongs to, so that it says nothing about another file of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from dagan_cli.files import Folder, read_regular, tag_of, whole_or_absent
from dagan_cli.media.made.identity import identity_in

_HEADING = "dagan made the file of this identity: "
MOST = 1 << 16  # bytes of a hidden file


def path_beside(target: Path) -> Path:
    """Return the hidden file for `target`; its name is short even if the target's is long."""
    return target.with_name(f".dagan-{tag_of(target)}.made")


def write_beside(target: Path, file: BinaryIO, record: str) -> None:
    """Write the record of `target`, whose content is complete in the open `file`. Raises CannotWrite."""
    text = f"{_HEADING}{identity_in(file)}\n{record}\n"
    with whole_or_absent(path_beside(target)) as hidden:
        hidden.write(text.encode("ascii"))


def remove_beside(target: Path) -> None:
    """Remove the record of a former `target`, if there is one."""
    hidden = path_beside(target)
    with suppress(OSError):  # there is none
        hidden.lstat()
        with Folder.opened(hidden.parent) as folder:
            folder.remove(hidden.name)


def read_beside(target: Path, identity: Callable[[], str]) -> str:
    """Return the record of `target`, which has this identity; "" if there is none, or it belongs to another file."""
    try:
        data = read_regular(path_beside(target), MOST)
    except OSError:
        return ""
    return record_of(data, identity)


def record_of(data: bytes, identity: Callable[[], str]) -> str:
    """Return the record in the content of a hidden file; "" if it does not belong to the file with this identity."""
    lines = data.decode("ascii", "replace").splitlines()
    return lines[1] if len(lines) == 2 and lines[0] == _HEADING + identity() else ""
