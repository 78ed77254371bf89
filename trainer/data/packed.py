"""Decoded images in one file that is mapped into memory, for training sets that do not fit into it.

The file: a header (`_MAGIC`, position of the index), the pixels of one image after the other, and the index. The index
is JSON: for each image its name within the folders, the size and time of its file, and height and width, or why it has
no pixels. Positions follow from the sizes. Size and time of a file tell whether it has changed; pixels are not checked.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np

from dagan_cli.errors import BadOption
from dagan_cli.files import open_regular, owned, whole_or_absent
from dagan_cli.prefetch import in_order

THREADS = 4  # that decode images
Source = tuple[Path, str]  # an image's file, and its name within the folders of images
_MAGIC = b"dagan images 1\n\0"
_HEADER = Struct("<16sQ")
_LONGEST = 2**26  # bytes of an index; one of 16,700 images takes 1 MiB
_PATIENCE = 24 * 3600.0  # seconds that another process may take to write the file
_REMOVE = "remove it, and it is made again from the images"


def packed(file: Path, sources: Sequence[Source], read: Callable[[Path], np.ndarray | str]) -> list[np.ndarray | str]:
    """Return the image of each source from `file`, uint8 (H, W, 3) and read-only, or the reason why there is none.

    The file is made if it is missing, by one process while others wait for it; `read` decodes an image, or returns the
    reason. A file that exists is never replaced. Raises BadOption if it is of other images, damaged, or something else;
    CannotWrite.
    """
    facts = [[name, (found := path.stat()).st_size, found.st_mtime_ns] for path, name in sources]
    if not os.path.lexists(file):
        with owned(file, patience=_PATIENCE):
            if not os.path.lexists(file):
                _write(file, facts, [path for path, _ in sources], read)
    index, pixels = _open(file)
    _require_same(file, [entry[:3] for entry in index], facts)
    return pixels


def _write(file: Path, facts: list[Any], paths: list[Path], read: Callable[[Path], np.ndarray | str]) -> None:
    index = []
    with whole_or_absent(file, replace=False) as out, in_order(read, paths, THREADS) as results:
        out.write(_HEADER.pack(_MAGIC, 0))
        for fact, result in zip(facts, results, strict=True):
            if isinstance(result, np.ndarray):
                out.write(np.ascontiguousarray(result).data)
            index.append([*fact, *([result] if isinstance(result, str) else result.shape[:2])])
        end = out.tell()
        out.write(json.dumps(index).encode())
        out.seek(0)
        out.write(_HEADER.pack(_MAGIC, end))


def _open(file: Path) -> tuple[list[Any], list[np.ndarray | str]]:
    """Return the index of a packed file, and its images. Raises BadOption."""
    try:
        with open_regular(file) as stream:
            size, head = os.fstat(stream.fileno()).st_size, stream.read(_HEADER.size)
            if len(head) < _HEADER.size or not head.startswith(_MAGIC):
                raise BadOption(f"--pack {file} is not a file of packed images", hint="name another file, or a new one")
            end = _HEADER.unpack(head)[1]
            if not _HEADER.size <= end <= size <= end + _LONGEST:
                raise ValueError
            stream.seek(end)
            index = json.loads(stream.read(size - end))
            if not (isinstance(index, list) and all(map(_is_entry, index))):
                raise ValueError
            mapped = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ)
            if hasattr(mmap, "MADV_RANDOM"):  # reading ahead, a cold batch of 16 crops reads 90 MiB instead of 1.2
                mapped.madvise(mmap.MADV_RANDOM)
        if sum(_bytes(entry) for entry in index) != end - _HEADER.size:
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise BadOption(f"--pack {file} is damaged", hint=_REMOVE) from error
    except OSError as error:
        what = f"cannot read --pack {file}: {(error.strerror or str(error)).lower()}"
        raise BadOption(what, hint="name another file, or a new one") from error
    images: list[np.ndarray | str] = []
    start = _HEADER.size
    for entry in index:
        is_image = len(entry) == 5
        images.append(np.ndarray((*entry[3:], 3), np.uint8, mapped, start) if is_image else entry[3])
        start += _bytes(entry)
    return index, images


def _is_entry(entry: Any) -> bool:
    """True for [name, size, time, height, width] and for [name, size, time, reason]."""
    if not (isinstance(entry, list) and len(entry) in (4, 5) and isinstance(entry[0], str)):
        return False
    if len(entry) == 4:
        return isinstance(entry[3], str)
    return all(type(side) is int and side > 0 for side in entry[3:])


def _bytes(entry: list[Any]) -> int:
    """Return the bytes of pixels of an entry of the index."""
    return entry[3] * entry[4] * 3 if len(entry) == 5 else 0


def _require_same(file: Path, stored: list[Any], found: list[Any]) -> None:
    if stored == found:
        return
    before, now = {fact[0]: fact for fact in stored}, {fact[0]: fact for fact in found}
    if missing := before.keys() - now:
        what = f"{min(missing)} is missing"
    elif new := now.keys() - before:
        what = f"{min(new)} is new"
    elif changed := [name for name in now if before[name] != now[name]]:
        what = f"{changed[0]} has changed since"
    else:
        what = "their order has changed"
    raise BadOption(f"--pack {file} was made from other images: {what}", hint="name another file, or remove this one")
