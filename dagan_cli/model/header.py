"""Read a safetensors file: its header first and alone, then, once it is known to be sound, its tensors.

The file is 8 bytes with the size of the header, the header, and the tensors. The header is JSON: for each tensor its
dtype, shape and place, and under `__metadata__` a mapping of strings. A hostile header costs less than a second and
about as much memory as it is long, whatever it declares: nothing is allocated for it before it is checked.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

if TYPE_CHECKING:  # a header alone is read without PyTorch
    import torch
    from torch import Tensor

LONGEST = 2**20  # bytes of a header; those of the published models have 30,000
MOST = 4096  # tensors in a file
DEEPEST = 32  # levels of the JSON in an entry of the metadata
_CONTAINERS = 2**16  # lists and mappings in a header; empty ones would take 20 times the memory of their text
_DIMENSIONS = 8  # of a tensor
_METADATA = "__metadata__"
_DTYPES = {  # PyTorch's names, and the bytes of a value
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}


class Hash(Protocol):
    """An object of hashlib."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """What the header declares of a tensor."""

    name: str  # of its dtype, as PyTorch calls it
    shape: tuple[int, ...]
    begin: int  # of its bytes, counted from the end of the header
    end: int

    @property
    def dtype(self) -> torch.dtype:
        import torch

        return getattr(torch, self.name)

    @property
    def values(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header. Its tensors are in the order of their bytes and fill the rest of the file exactly."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    source: bytes  # the header as in the file, with its size

    @classmethod
    def read(cls, file: BinaryIO) -> Header:
        """Read the header from the start of an open file. Raises ValueError with what is wrong, OSError."""
        file.seek(0)
        first = file.read(8)
        size, left = int.from_bytes(first, "little"), os.fstat(file.fileno()).st_size - 8
        if len(first) < 8 or not 2 <= size <= left:
            raise ValueError("it is not a complete safetensors file")
        if size > LONGEST:
            raise ValueError(f"its header is larger than {LONGEST:,} bytes")
        text = file.read(size)
        if len(text) < size:
            raise ValueError("it became shorter while it was read")
        parsed = _parsed(text, object_pairs_hook=_distinct)
        if not isinstance(parsed, dict):
            raise ValueError("its header cannot be read")
        metadata = parsed.pop(_METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata are not texts")
        if len(parsed) > MOST:
            raise ValueError(f"its header declares {len(parsed):,} tensors, more than {MOST:,}")
        entries = {name: _entry(name, value) for name, value in parsed.items()}
        return cls(_in_place(entries, left - size), metadata, first + text)

    def json(self, name: str) -> Any:
        """Parse an entry of the metadata; None if there is none. Raises ValueError unless it is JSON of few levels."""
        found = _parsed(self.metadata.get(name, "null"))
        if not is_shallow(found, DEEPEST):
            raise ValueError("its header cannot be read: it is nested too deeply")
        return found

    def tensors(self, file: BinaryIO, digest: Hash | None = None) -> dict[str, Tensor]:
        """Read all tensors; `digest` is fed the whole file. Raises ValueError if it became shorter, OSError."""
        import torch

        if digest is not None:
            digest.update(self.source)
        file.seek(len(self.source))
        found = {}
        for name, entry in self.entries.items():
            data = bytearray(entry.end - entry.begin)
            if file.readinto(data) < len(data):  # type: ignore[attr-defined] (of a buffered file)
                raise ValueError("it became shorter while it was read")
            if digest is not None:
                digest.update(data)
            flat = torch.frombuffer(data, dtype=entry.dtype) if data else torch.empty(0, dtype=entry.dtype)
            found[name] = flat.reshape(entry.shape)
        return found


def _parsed(text: str | bytes, **how: Any) -> Any:
    try:
        text = text if isinstance(text, str) else text.decode()
        if text.count("[") + text.count("{") > _CONTAINERS:
            raise ValueError("it has too many parts")
        return json.loads(text, **how)
    except (ValueError, RecursionError) as error:
        raise ValueError("its header cannot be read") from error


def is_shallow(value: object, levels: int) -> bool:
    """True if lists and mappings are nested in at most so many levels."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not inner or (levels > 0 and all(is_shallow(item, levels - 1) for item in inner))


def _entry(name: str, value: object) -> Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _wrong(name, "is not declared by dtype, shape and data_offsets")
    known = _DTYPES.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if known is None:
        raise _wrong(name, "has an unknown dtype")
    shape, place = value["shape"], value["data_offsets"]
    if not _whole_numbers(shape) or len(shape) > _DIMENSIONS:
        raise _wrong(name, f"has no shape of at most {_DIMENSIONS} whole numbers")
    if not _whole_numbers(place) or len(place) != 2:
        raise _wrong(name, "has no place in the file")
    dtype, itemsize = known
    entry = Entry(dtype, tuple(shape), *place)
    if entry.end - entry.begin != entry.values * itemsize:
        raise _wrong(name, "has another size than its shape needs")
    return entry


def _in_place(entries: dict[str, Entry], size: int) -> dict[str, Entry]:
    """Return the entries in the order of their bytes. Raises ValueError for gaps, overlaps and another end."""
    ordered = sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end))
    at = 0
    for name, entry in ordered:
        if entry.begin != at:
            raise _wrong(name, "leaves a gap, or overlaps another tensor")
        at = entry.end
    if at != size:
        raise ValueError(f"its tensors have {size:,} bytes, and its header declares {at:,}")
    return dict(ordered)


def _whole_numbers(values: object) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)


def _wrong(name: str, what: str) -> ValueError:
    return ValueError(f"its tensor {name[:60]!r} {what}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found
