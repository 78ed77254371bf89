"""Import spandrel, and torchvision with it, which often does not fit a PyTorch without CUDA."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import torch

from dagan_cli.errors import BadModel

INSTALL = 'pip install "dagan[community]"'
_SCHEMAS = (  # of operators that torchvision registers in Python even where its binary part cannot be loaded
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_defined: list[torch.library.Library] = []  # their definitions last as long as these


def is_installed() -> bool:
    """True if spandrel is installed; it is not imported."""
    return importlib.util.find_spec("spandrel") is not None


def import_spandrel() -> Any:
    """Return the module. Raises BadModel, with what to install.

    torchvision from PyPI is built for CUDA. Next to PyTorch's CPU build its binary part is not loaded, and importing it
    fails on the operators that it cannot find. spandrel needs none of them, so their names are declared here.
    """
    if not is_installed():
        raise BadModel("models of other programs need spandrel", hint=INSTALL)
    try:
        try:
            import spandrel
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            _declare_operators()
            import spandrel
    except (ImportError, RuntimeError) as error:
        what = f"spandrel cannot be imported ({str(error).splitlines()[0][:120]})"
        raise BadModel(what, hint=f"{INSTALL}, with a torchvision that fits torch {torch.__version__}") from error
    return spandrel


def _declare_operators() -> None:
    """Declare what torchvision expects, and forget its modules, and spandrel's, that were imported halfway."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _defined.append(library)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("spandrel", "torchvision")]:
        del sys.modules[name]
