"""Read tensors and plain values from a PyTorch pickle, without running its code or unpacking zip bombs."""

from __future__ import annotations

import stat
import warnings
from pathlib import Path
from typing import IO, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
from torch import Tensor

from dagan_cli.errors import BadModel

LARGEST = 2**32  # bytes; a training state holds two networks and their optimisers' state
KNOWN = "supported: state.pt of `dagan train`, and state dicts of yjn870's RDN, the paper's RDN and leftthomas's SRGAN"
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)  # int64: counted batches


def unpickle(path: Path) -> dict[Any, Any]:
    """Read the file's mapping with torch's `weights_only` reader. Raises BadModel."""
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise BadModel(f"cannot read {path}: not a file", hint=KNOWN)
        if facts.st_size > LARGEST:
            raise BadModel(f"{path} is larger than any training state", hint=KNOWN)
        with path.open("rb") as file:
            if file.read(4) == b"PK\3\4":
                _refuse_inflating(path, file)
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about unsupported pickle protocols; reading then fails
                values = torch.load(file, map_location="cpu", weights_only=True)
    except BadModel:
        raise
    except OSError as error:
        raise BadModel(f"cannot read {path}: {(error.strerror or str(error)).lower()}", hint=KNOWN) from error
    except Exception as error:  # an unknown pickle can raise anything
        what = f"{path} holds more than weights, or is not a PyTorch file ({type(error).__name__})"
        raise BadModel(what, hint="save model.state_dict() where it was trained, not the model") from error
    if not isinstance(values, dict):
        raise BadModel(f"{path} holds a {type(values).__name__}, not a state dict", hint=KNOWN)
    return values


def _refuse_inflating(path: Path, file: IO[bytes]) -> None:
    """Raise BadModel for compressed parts: PyTorch stores its files uncompressed, so they may be a zip bomb."""
    try:
        with ZipFile(file) as archive:
            parts = archive.infolist()
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise BadModel(f"{path} is damaged: {error}", hint="download it again") from error
    if any(part.compress_type != ZIP_STORED for part in parts) or sum(part.file_size for part in parts) > LARGEST:
        raise BadModel(f"{path} unpacks to more than it holds, which no PyTorch file does", hint=KNOWN)


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
