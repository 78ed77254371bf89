"""Any network as an ONNX file, by tracing one call."""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from torch import Tensor

OPSET = 17


def traced(network: Any, sample: Tensor, dynamic_axes: dict[str, dict[int, str]] | None = None) -> bytes:
    """Return a file that maps `input` to `output` as a call with `sample` did; branches are those that it took.

    The other exporter, torch.export, also needs onnxscript, and 20 times as long, for the same file. Raises whatever
    the network and the exporter raise, also if onnx is not installed.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about branches, which the caller knows of
        torch.onnx.export(
            network,
            (sample,),
            file,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes=dynamic_axes,
        )
    return file.getvalue()
