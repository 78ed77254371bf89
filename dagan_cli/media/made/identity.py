"""Identity of a source by its content: its size and a digest. Its name and times change when it is copied."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from dagan_cli.files import open_regular

_MIB = 1 << 20
_BLOCKS = 16  # of a MiB each; a file that is no larger than all of them is read whole


def identity_of(source: Path | bytes) -> str:
    """Return the identity of a file, or of its content: "bytes-digest", in ASCII. Raises OSError.

    Of a file above 16 MiB, 16 evenly spread blocks of a MiB count, among them the first and the last, so that videos of
    any length take milliseconds.
    """
    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
        return identity_in(file)


def identity_in(file: BinaryIO) -> str:
    """Return the identity of an open file, which can seek; see `identity_of`."""
    size = file.seek(0, io.SEEK_END)
    spread = [(size - _MIB) * number // (_BLOCKS - 1) for number in range(_BLOCKS)]
    digest = sha256()
    for place in range(0, size, _MIB) if size <= _BLOCKS * _MIB else spread:
        file.seek(place)
        digest.update(file.read(_MIB))
    return f"{size}-{digest.hexdigest()[:32]}"


def may_be(source: Path, identity: str) -> bool:
    """True if the file has the size that the identity states; its content is not read."""
    try:
        return str(source.stat().st_size) == identity.partition("-")[0]
    except OSError:
        return False
