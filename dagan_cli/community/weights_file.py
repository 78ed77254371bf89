"""Read the tensors of a community model's file: a safetensors file, or a pickle whose code is never run."""

from __future__ import annotations

import os
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dagan_cli.errors import BadModel
from dagan_cli.files import open_regular
from dagan_cli.model.header import Header
from dagan_cli.model.pickles import mapping_in, state_dict

LARGEST = 2**32  # bytes; the largest network that spandrel reads, AuraSR, has 2.5 GB
OTHER = "use another file; those of `dagan train` and of the paper's RDN and SRGAN need `dagan models convert` once"


def read_tensors(path: Path, unwrapped: Any) -> tuple[dict[str, Tensor], str]:
    """Return the tensors by name, and the sha256 of the file.

    `unwrapped` removes the mappings around a state dict (params_ema, state_dict, ...) and prefixes of its names.
    Raises BadModel for a file that is missing, damaged or too large, or that holds more than tensors.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise BadModel(f"{path} is larger than any supported network", hint=OTHER)
            if path.suffix.lower() == ".safetensors":
                digest = sha256()
                values: dict[Any, Any] = Header.read(file).tensors(file, digest)
            else:
                digest = file_digest(file, "sha256")  # type: ignore[arg-type] (a file on the disk)
                values = mapping_in(file, path)
        tensors = state_dict(path, unwrapped(values) if all(isinstance(name, str) for name in values) else None)
    except ValueError as error:
        raise BadModel(f"{path} is damaged: {error}", hint="download it again") from error
    except OSError as error:
        raise BadModel(f"cannot read the model {path}: {(error.strerror or str(error)).lower()}", hint=OTHER) from error
    except BadModel as error:
        raise BadModel(str(error), hint=OTHER) from None  # the hint of the reader is about dagan's own models
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or (tensor.is_floating_point() and not torch.isfinite(tensor).all()):
            what = "is empty" if tensor.numel() == 0 else "holds values that are not finite"
            raise BadModel(f"{path} is damaged: {name[:60]!r} {what}", hint="download it again")
    return tensors, digest.hexdigest()
