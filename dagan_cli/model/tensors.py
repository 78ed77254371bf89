"""Weights of third-party networks: read tensors by name from a file, and load them into a module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dagan_cli.errors import BadModel
from dagan_cli.files import open_regular
from dagan_cli.model.header import Header
from dagan_cli.model.pickles import mapping_in

LARGEST = 2**30  # bytes; torchvision's VGG19 with its classifier is 575 MB


def read_weights(path: Path, hint: str) -> dict[str, Tensor]:
    """Read all tensors of a .safetensors file, or of a pickled state dict, of which only tensors are unpickled.

    Raises BadModel, with `hint`, for a missing, oversized, damaged or foreign file.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise BadModel(f"{path} is larger than any supported network", hint=hint)
            if path.suffix.lower() == ".safetensors":
                return Header.read(file).tensors(file)
            tensors = mapping_in(file, path)
    except BadModel as error:
        raise BadModel(str(error), hint=hint) from error
    except ValueError as error:
        raise BadModel(f"{path} holds no readable weights: {error}", hint=hint) from error
    except OSError as error:
        raise BadModel(
            f"cannot read the weights {path}: {(error.strerror or str(error)).lower()}", hint=hint
        ) from error
    if not all(isinstance(value, Tensor) for value in tensors.values()):
        raise BadModel(f"{path} is not a plain state dict", hint=hint)
    return tensors


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, hint: str, prefix: str = "") -> None:
    """Load a module's weights from `tensors`, by `prefix` + the names of its state dict; other tensors are ignored.

    Raises BadModel, with `hint`, for a tensor that is missing, has another shape, or holds non-finite numbers.
    """
    own = module.state_dict()
    for name, value in own.items():
        tensor = tensors.get(prefix + name)
        if tensor is None:
            raise BadModel(f"{path} has no {prefix + name}", hint=hint)
        if tensor.shape != value.shape:
            raise BadModel(f"{path}: {prefix + name} is {tuple(tensor.shape)}, not {tuple(value.shape)}", hint=hint)
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise BadModel(f"{path}: {prefix + name} holds values that are not finite numbers", hint=hint)
    module.load_state_dict({name: tensors[prefix + name] for name in own})
