"""Export a network to an ONNX file for any image size, checked against PyTorch before it is written."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import numpy as np
import torch

from dagan_cli.engine.runtimes.traced import traced
from dagan_cli.errors import BadModel, DaganError
from dagan_cli.model.checkpoint import Network
from dagan_cli.version import __version__

TOLERANCE = 1e-4  # for values in [0, 1]; measured differences are below 2e-6
_TRACED = (2, 3, 17, 19)  # no whole windows: with these the trace would omit the padding
_CHECKED = ((1, 3, 33, 50), (2, 3, 16, 31))


def require_onnx() -> None:
    """Raise DaganError, with what to install, if a library is missing."""
    try:
        import_module("onnx")
        import_module("onnxruntime")
    except ImportError as error:
        raise DaganError("ONNX export needs onnx and onnxruntime", hint="pip install 'dagan[onnx]'") from error


def export_onnx(network: Network, facts: dict[str, str]) -> tuple[bytes, float]:
    """Return the network as a file, at its current order, and the largest difference from PyTorch's results.

    The file maps `input` (N, 3, H, W), RGB in [0, 1] as float32, with any N, H and W from 1 up, to `output`
    (N, 3, scale*H, scale*W), not clamped. There is no tiling: attention without a window needs memory for (H*W)^2
    weights, and pooling covers the whole image, whatever the model's default. `facts` and the network's properties
    become the metadata.

    Raises BadModel if the difference is above `TOLERANCE`.
    """
    import onnx

    network.use_window("global")
    model = onnx.load_from_string(_traced(network))
    sides = {"input": ("height", "width"), "output": (f"{network.scale}*height", f"{network.scale}*width")}
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param, dims[1].dim_value = "batch", 3
        dims[2].dim_param, dims[3].dim_param = sides[value.name]
    model.producer_name, model.producer_version = "dagan", __version__
    field = network.receptive_field
    known = {
        "scale": str(network.scale),
        "order": "none" if network.order is None else str(network.order),
        "receptive_field": "everywhere" if field is None else str(field),
        "window": "global",
        "values": "RGB in [0, 1], float32; clamp the output",
        "config": json.dumps(network.config.to_dict(), sort_keys=True),
    }
    onnx.helper.set_model_props(model, facts | known)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    difference = _difference(network, data)
    if not difference <= TOLERANCE:
        raise BadModel(
            f"the ONNX file's results differ from PyTorch's by {difference:.2g}, more than {TOLERANCE:g}",
            hint="use the .safetensors file, or try other versions of torch and onnxruntime",
        )
    return data, difference


def _traced(network: Network) -> bytes:
    """Return the file for any number, height and width of images."""
    axes = {0: "batch", 2: "height", 3: "width"}
    sample = torch.rand(_TRACED, generator=torch.Generator().manual_seed(0))
    return traced(network, sample, {"input": axes, "output": axes})  # its branches are the same for all padded sizes


@torch.inference_mode()
def _difference(network: Network, data: bytes) -> float:
    """Return the largest difference over images of several sizes, with and without whole windows."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = 0.0
    for number, shape in enumerate((_TRACED, *_CHECKED)):
        x = torch.rand(shape, generator=torch.Generator().manual_seed(number))
        (result,) = session.run(["output"], {"input": x.numpy()})
        found = np.maximum(found, np.abs(result - network(x).numpy()).max())  # keeps a NaN
    return float(found)
