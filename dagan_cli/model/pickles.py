"""Read tensors and plain values from a PyTorch pickle, without running its code or unpacking zip bombs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

from dagan_cli.errors import BadModel
from dagan_cli.files import open_regular

LARGEST = 2**32  # bytes; a training state holds two networks and their optimisers' state
LONGEST = 2**22  # bytes of the pickle without the tensors, and of the list of parts; each can need 64 bytes of memory
_FOR_A_TENSOR = 512  # bytes of the pickle that describe a tensor; it is less than half of that
KNOWN = "supported: state.pt of `dagan train`, and state dicts of yjn870's RDN, the paper's RDN and leftthomas's SRGAN"
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)  # int64: counted batches


def unpickle(path: Path) -> dict[Any, Any]:
    """Read the file's mapping with torch's `weights_only` reader. Raises BadModel."""
    try:
        with open_regular(path) as file:
            return mapping_in(file, path)
    except OSError as error:
        raise BadModel(f"cannot read {path}: {(error.strerror or str(error)).lower()}", hint=KNOWN) from error


def mapping_in(file: BinaryIO, path: Path, *, spare: int = LONGEST) -> dict[Any, Any]:
    """Like `unpickle`, for an open file. `path` is its name in errors. Also raises OSError.

    spare: bytes of the pickle for all that is not a tensor; torch reads less than a million bytes of it per second.
    """
    size = os.fstat(file.fileno()).st_size
    if size > LARGEST:
        raise BadModel(f"{path} is larger than any training state", hint=KNOWN)
    if is_archive(file):
        _refuse_inflating(path, file, size, spare)
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unsupported pickle protocols; reading then fails
            values = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # an unknown pickle can raise anything
        what = f"{path} holds more than weights, or is not a PyTorch file ({type(error).__name__})"
        # Not `from error`: torch's message advises to load the file unsafely, and --debug would show it.
        raise BadModel(what, hint="save model.state_dict() where it was trained, not the model") from None
    if not isinstance(values, dict):
        raise BadModel(f"{path} holds a {type(values).__name__}, not a state dict", hint=KNOWN)
    return values


def is_archive(file: BinaryIO) -> bool:
    """True for the file format since PyTorch 1.6."""
    file.seek(0)
    return file.read(4) == b"PK\3\4"


def _refuse_inflating(path: Path, file: BinaryIO, size: int, spare: int) -> None:
    """Raise BadModel for parts that need more memory than the file is long: they may be a zip bomb.

    PyTorch stores its files uncompressed. Parts that overlap would have more bytes together than the file.
    """
    try:
        with ZipFile(_InSmallParts(file)) as archive:  # type: ignore[arg-type] (it reads, seeks and tells)
            parts = archive.infolist()
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise BadModel(f"{path} is damaged: {error}", hint="download it again") from error
    if any(part.compress_type != ZIP_STORED for part in parts) or sum(part.file_size for part in parts) > size:
        raise BadModel(f"{path} unpacks to more than it holds, which no PyTorch file does", hint=KNOWN)
    longest = min(LONGEST, spare + _FOR_A_TENSOR * len(parts))
    if any(part.file_size > longest for part in parts if part.filename.endswith(".pkl")):
        raise BadModel(f"{path} holds more than weights", hint=KNOWN)


class _InSmallParts:
    """An open file from which at most LONGEST bytes are read at once: ZipFile reads the whole list of parts."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self._file = file.seek, file.tell, file

    def read(self, count: int = -1) -> bytes:
        """Raises BadZipFile for more bytes than that."""
        if count > LONGEST:
            raise BadZipFile("its list of parts is too long")
        return self._file.read(count if count >= 0 else LONGEST)


def state_dict(path: Path, values: Any) -> dict[str, Tensor]:
    """Return the same mapping if it holds only ordinary tensors, none larger than its storage. Raises BadModel."""
    if not isinstance(values, dict) or not values:
        raise BadModel(f"{path} holds no state dict", hint=KNOWN)
    for name, tensor in values.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise BadModel(f"{path} holds {str(name)[:60]!r}, which is not a tensor", hint=KNOWN)
        ordinary = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_nested
        if not ordinary or tensor.dtype not in _DTYPES:
            what = f"{tensor.layout}, {tensor.dtype}, {tensor.device.type}"
            raise BadModel(f"{path} holds {name[:60]!r} in an unsupported form: {what}", hint=KNOWN)
        if tensor.nbytes > tensor.untyped_storage().nbytes():  # one value expanded to many
            raise BadModel(f"{path} is damaged: {name[:60]!r} is larger than its storage", hint=KNOWN)
    if sum(tensor.nbytes for tensor in values.values()) > LARGEST:  # many views of one storage
        raise BadModel(f"{path} is damaged: its tensors are larger than the file", hint=KNOWN)
    return {name: tensor.detach() for name, tensor in values.items()}
