"""Networks of other projects, written out over their weights by name: what a converted model must compute.

`rdn` follows yjn870/RDN-pytorch and what the paper's author added to it, `srgan` leftthomas/SRGAN.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def conv(w: Weights, name: str, x: Tensor) -> Tensor:
    kernel = w[f"{name}.weight"]
    return F.conv2d(x, kernel, w[f"{name}.bias"], padding=kernel.shape[-1] // 2)


def add_conv(w: Weights, name: str, inputs: int, outputs: int, side: int) -> None:
    w[f"{name}.weight"] = torch.randn(outputs, inputs, side, side) * (inputs * side * side) ** -0.5
    w[f"{name}.bias"] = torch.randn(outputs) * 0.1


# RDN


def rdn_weights(scale: int = 2, constants: tuple[str, ...] = (), *, dual: bool = False) -> Weights:
    """2 blocks of 3 layers, 16 wide, that grow by 8; `constants`: the blocks' scalars, such as one_half."""
    w: Weights = {}
    add_conv(w, "sfe1", 3, 16, 3)
    add_conv(w, "sfe2", 16, 16, 3)
    for block in ("rdbs.0", "rdbs.1"):
        for name in constants:
            w[f"{block}.{name}"] = torch.rand(1)
        for i in range(3):
            add_conv(w, f"{block}.layers.{i}.conv", 16 + 8 * i, 8, 3)
        add_conv(w, f"{block}.lff", 40, 16, 1)
        if dual:
            w[f"{block}.se.fc.0.weight"] = torch.randn(4, 16)
            w[f"{block}.se.fc.2.weight"] = torch.randn(16, 4)
            for name, sides in {"g": (16, 8), "W": (8, 16), "theta": (16, 8), "phi": (16, 8)}.items():
                add_conv(w, f"{block}.spatial_att.{name}", *sides, 1)
    add_conv(w, "gff.0", 32, 16, 1)
    add_conv(w, "gff.1", 16, 16, 3)
    for i in range(2 if scale == 4 else 1):
        add_conv(w, f"upscale.{2 * i}", 16, 16 * (9 if scale == 3 else 4), 3)
    add_conv(w, "output", 16, 3, 3)
    return w


def rdn(w: Weights, x: Tensor, scale: int = 2, solver: str = "euler") -> Tensor:
    shallow = conv(w, "sfe1", x)
    y = conv(w, "sfe2", shallow)
    seen = []
    for block in ("rdbs.0", "rdbs.1"):
        y = _stepped(w, block, y, solver)
        seen.append(y)
    y = conv(w, "gff.1", conv(w, "gff.0", torch.cat(seen, 1))) + shallow
    for i in range(2 if scale == 4 else 1):
        y = F.pixel_shuffle(conv(w, f"upscale.{2 * i}", y), 3 if scale == 3 else 2)
    return conv(w, "output", y)


def _stepped(w: Weights, block: str, y: Tensor, solver: str) -> Tensor:
    k1 = _dense(w, block, y)
    if solver == "euler":
        return y + k1
    half = w[f"{block}.one_half"]
    if solver == "heun":
        return y + half * (k1 + _dense(w, block, y + k1))
    third, sixth = w[f"{block}.one_third"], w[f"{block}.one_sixth"]
    k2 = _dense(w, block, y + half * k1)
    k3 = _dense(w, block, y + half * k2)
    k4 = _dense(w, block, y + k3)
    return y + sixth * k1 + third * k2 + third * k3 + sixth * k4


def _dense(w: Weights, block: str, y: Tensor) -> Tensor:
    for i in range(3):
        y = torch.cat((y, conv(w, f"{block}.layers.{i}.conv", y).relu()), 1)
    y = conv(w, f"{block}.lff", y)
    if f"{block}.se.fc.0.weight" not in w:
        return y
    flat = y.flatten(2)  # (N, C, positions)
    weights = (flat.transpose(1, 2) @ flat).softmax(-1)
    values = conv(w, f"{block}.spatial_att.g", y).flatten(2)
    y = y + conv(w, f"{block}.spatial_att.W", (values @ weights.transpose(1, 2)).unflatten(2, y.shape[2:]))
    gate = y.mean((2, 3)) @ w[f"{block}.se.fc.0.weight"].T
    return y * (gate.relu() @ w[f"{block}.se.fc.2.weight"].T).sigmoid()[..., None, None]


# SRGAN


def srgan_weights(doublings: int = 1, *, normed_trunk: bool = True) -> Weights:
    """The generator of leftthomas/SRGAN, 8 wide instead of 64; its first published weights have no norm in block 7."""
    w: Weights = {}
    add_conv(w, "block1.0", 3, 8, 9)
    w["block1.1.weight"] = torch.rand(1)
    for block in range(2, 7):
        for part in "12":
            add_conv(w, f"block{block}.conv{part}", 8, 8, 3)
            _add_norm(w, f"block{block}.bn{part}")
        w[f"block{block}.prelu.weight"] = torch.rand(1)
    add_conv(w, "block7.0", 8, 8, 3)
    if normed_trunk:
        _add_norm(w, "block7.1")
    else:
        w["block7.1.weight"] = torch.rand(1)
    for i in range(doublings):
        add_conv(w, f"block8.{i}.conv", 8, 32, 3)
        w[f"block8.{i}.prelu.weight"] = torch.rand(1)
    add_conv(w, f"block8.{doublings}", 8, 3, 9)
    return w


def srgan(w: Weights, x: Tensor, doublings: int = 1) -> Tensor:
    first = F.prelu(conv(w, "block1.0", x), w["block1.1.weight"])
    y = first
    for block in range(2, 7):
        inner = F.prelu(
            _norm(w, f"block{block}.bn1", conv(w, f"block{block}.conv1", y)), w[f"block{block}.prelu.weight"]
        )
        y = y + _norm(w, f"block{block}.bn2", conv(w, f"block{block}.conv2", inner))
    y = conv(w, "block7.0", y)
    normed = "block7.1.running_mean" in w
    y = first + (_norm(w, "block7.1", y) if normed else F.prelu(y, w["block7.1.weight"]))
    for i in range(doublings):
        y = F.prelu(F.pixel_shuffle(conv(w, f"block8.{i}.conv", y), 2), w[f"block8.{i}.prelu.weight"])
    return (conv(w, f"block8.{doublings}", y).tanh() + 1) / 2


def _add_norm(w: Weights, name: str) -> None:
    w[f"{name}.weight"] = 0.5 + torch.rand(8)
    w[f"{name}.bias"] = torch.randn(8) * 0.1
    w[f"{name}.running_mean"] = torch.randn(8) * 0.1
    w[f"{name}.running_var"] = 0.5 + torch.rand(8)
    w[f"{name}.num_batches_tracked"] = torch.tensor(1000)


def _norm(w: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, w[f"{name}.weight"], w[f"{name}.bias"])
