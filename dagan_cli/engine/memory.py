"""Free memory, and files for results that do not fit in it. Only this module catches out-of-memory errors."""

from __future__ import annotations

import gc
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from dagan_cli.device import free_host_memory
from dagan_cli.errors import CannotWrite

T = TypeVar("T")


SURE = 64 << 20  # bytes that are taken without asking how much memory is free, which takes a millisecond


def free_memory(device: torch.device) -> int:
    """Return the bytes that can still be allocated on `device`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return free_host_memory()


def attempt(step: Callable[[], T]) -> T | None:
    """Return `step()`, or None if memory ran out, after freeing what it had allocated."""
    try:
        return step()
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
    # Outside of `except`, where the error would still hold the stack frames that hold the tensors.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return None


def ran_out(error: Exception) -> bool:
    """True if the error means that memory ran out."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY))


_OUT_OF_MEMORY = (
    "bad allocation",  # OpenVINO
    "std::bad_alloc",
    "not enough memory",
    "DefaultCPUAllocator",
    "out of memory",
    "could not create a memory",  # oneDNN
    "STATUS_ALLOC_FAILED",  # cuDNN, cuBLAS
)


def mapped_zeros(shape: tuple[int, ...], dtype: torch.dtype, folder: Path | None) -> Tensor:
    """Return zeros in an unnamed file, freed with the tensor. Raises CannotWrite if there is no room."""
    return torch.from_numpy(_mapped(math.prod(shape) * dtype.itemsize, folder)).view(dtype).reshape(shape)


def roomy_array(shape: tuple[int, ...], dtype: np.dtype, folder: Path | None) -> np.ndarray:
    """Return an array to fill: in memory, or in an unnamed file if it takes more than a quarter of what is free.

    Raises CannotWrite if there is no room.
    """
    size = math.prod(shape) * dtype.itemsize
    if size <= SURE or size <= free_host_memory() // 4:
        return np.empty(shape, dtype)
    return _mapped(size, folder).view(dtype).reshape(shape)


def _mapped(size: int, folder: Path | None) -> np.ndarray:
    """Return so many zero bytes in an unnamed file. Raises CannotWrite if there is no room."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # find a full disk here: a write to a mapping raises no error
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "r+" if hasattr(os, "posix_fallocate") else "w+", shape=(size,))
    except OSError as error:
        place = folder or tempfile.gettempdir()
        raise CannotWrite(
            f"no room for an image of {size / 2**30:.1f} GiB in {place}", hint="free some space, or use another folder"
        ) from error
