"""The generator as an OpenVINO graph for one shape, with the values of a loaded network.

It computes what `model.generator` does, with 1x1 convolutions in place of matrix products over permuted features, and
the factors of the attention folded into weights. Built in hundredths of a second, where tracing takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from dagan_cli.engine.runtimes import library
from dagan_cli.model.attention import ChannelAttention, SpatialAttention
from dagan_cli.model.generator import Dense, Generator, Residual
from dagan_cli.model.rk import RungeKutta, classical, step

ov = library.load()
ops: Any = ov.opset13
Node = Any  # a node of OpenVINO, whose operators make new nodes


class Unsupported(Exception):
    """The network, or its setting, has no graph here."""


def graph_of(network: Generator, shape: Sequence[int]) -> Any:
    """Return the network at its current order and window for inputs (N, 3, h, w) of one `shape`, fp32.

    The sides must be multiples of the network's grid. Raises Unsupported for attention to the whole input in
    overlapping windows.
    """
    height, width = shape[2:]
    if height % network.grid or width % network.grid:
        raise Unsupported(f"{width}x{height} px are no whole windows")
    x = ops.parameter(list(shape), np.float32, name="input")
    shallow = _convolution(network.sfe1, x)
    y = _convolution(network.sfe2, shallow)
    fused: Node = None
    for block, weight in zip(network.blocks, _split(network.fusion1, network.config.blocks), strict=True):
        assert isinstance(block, RungeKutta)
        y = _step(block, network.solver, y)
        # Summed block by block, as OpenVINO adds in the convolution, but joins channels slowly.
        part = ops.convolution(y, _floats(weight), [1, 1], [0, 0], [0, 0], [1, 1])
        fused = part + _row(_values(network.fusion1.bias)) if fused is None else fused + part
    deep = _convolution(network.fusion2, fused) + shallow
    result: Any = ops.result(_enlarged(network, deep, x), name="output")
    return ov.Model([result], [x], "dagan")


def _step(block: RungeKutta, solver: str, y: Node) -> Node:
    """One step of the solver; its formulas are those for tensors, on nodes."""

    def f(stage: int, at: Node) -> Node:
        return _function(block.functions[0 if len(block.functions) == 1 else stage], at)

    own = solver in block.constants
    constants = block.constants[solver].tolist() if own else classical(solver, block.stages)
    return step(solver, f, y, [_floats(np.array(value)) for value in constants], block.stages)  # type: ignore[arg-type]


def _enlarged(network: Generator, features: Node, x: Node) -> Node:
    s, config, y = network.scale, network.config, features
    repeated = ops.gather(x, _indices(np.arange(3).repeat(s * s)), _indices(1)) if config.image_skip else None
    for layer in network.upsampler:
        if isinstance(layer, nn.Conv2d):
            y = _convolution(layer, y)
            continue
        assert isinstance(layer, nn.PixelShuffle)
        if config.upsampler == "direct" and repeated is not None:  # the same sum before the shuffle
            y, repeated = y + repeated, None
        y = ops.depth_to_space(y, "depth_first", layer.upscale_factor)
    return y if repeated is None else y + ops.depth_to_space(repeated, "depth_first", s)


def _function(module: nn.Module, y: Node) -> Node:
    """f(y) of a block: its convolutions and its attention."""
    for part in module.children():
        match part:
            case Residual():
                y = _convolution(part.last, ops.relu(_convolution(part.first, y)))
            case Dense():
                for layer in part.layers:
                    assert isinstance(layer, nn.Conv2d)
                    y = ops.concat([y, ops.relu(_convolution(layer, y))], 1)
                y = _convolution(part.fusion, y)
            case SpatialAttention():
                y = _attended(part, y)
            case ChannelAttention():
                y = _gated(part, y)
            case _:
                raise Unsupported(f"no graph for {type(part).__name__}")
    return y


def _attended(layer: SpatialAttention, x: Node) -> Node:
    """Spatial attention: over windows, or over the whole input."""
    n, c, h, w = x.shape
    if layer.window is None and layer.local is not None and max(h, w) > layer.local:
        raise Unsupported("no graph for attention in overlapping windows")
    side = layer.window or 0
    scale = layer.scale if layer.sharpness is None else layer.scale * float(_values(layer.sharpness.exp()))
    small = x if layer.pool == 1 else _pooled(x, layer.pool)
    out, bias = _values(layer.w.weight), _values(layer.w.bias)
    g, g_bias = _values(layer.g.weight)[:, :, 0, 0], _values(layer.g.bias)
    # W g is one matrix, and the rows of the softmax sum to one: so values are made at the pooled positions, C wide.
    joined = out[:, :, 0, 0].astype(np.float64) @ g
    shift = out[:, :, 0, 0].astype(np.float64) @ g_bias + bias
    v = _pointwise(small, joined, shift)
    if layer.embedded:
        q = _pointwise(x, _values(layer.theta.weight)[:, :, 0, 0] * scale, _values(layer.theta.bias) * scale)
        k = _pointwise(small, _values(layer.phi.weight)[:, :, 0, 0], _values(layer.phi.bias))
    else:
        q, k = x * _floats(np.array(scale)), small
    q, k, v = (_windows(each, of) for each, of in ((q, side), (k, side // layer.pool), (v, side // layer.pool)))
    logits = ops.matmul(k, q, transpose_a=False, transpose_b=True)  # (windows, keys, positions): fastest to sum over
    y = ops.matmul(ops.softmax(logits, 1), v, transpose_a=True, transpose_b=False)  # (windows, positions, C)
    return _joined(y, n, c, h, w, side) + x


def _pooled(x: Node, side: int) -> Node:
    return ops.max_pool(x, [side, side], [1, 1], [0, 0], [0, 0], [side, side], "ceil", index_element_type="i64").output(
        0
    )


def _windows(x: Node, side: int) -> Node:
    """(N, D, H, W) -> (N * H/side * W/side, side^2, D); side 0: the whole input is one window."""
    n, d, h, w = x.shape
    x = ops.transpose(x, _indices([0, 2, 3, 1]))  # as features lie in memory
    if side:
        x = _reshaped(x, [n, h // side, side, w // side, side, d])
        x = ops.transpose(x, _indices([0, 1, 3, 2, 4, 5]))
    return _reshaped(x, [-1, side * side or h * w, d])


def _joined(y: Node, n: int, c: int, h: int, w: int, side: int) -> Node:
    """The inverse of `_windows`: to (N, C, H, W)."""
    if side:
        y = _reshaped(y, [n, h // side, w // side, side, side, c])
        y = ops.transpose(y, _indices([0, 1, 3, 2, 4, 5]))
    return ops.transpose(_reshaped(y, [n, h, w, c]), _indices([0, 3, 1, 2]))


def _gated(layer: ChannelAttention, x: Node) -> Node:
    """Channel attention: each channel times a gate made from the means of all, over the input or a sliding window."""
    local = layer.local if layer.local is not None and max(x.shape[-2:]) > layer.local else None
    squeeze, excite = _values(layer.squeeze.weight), _values(layer.excite.weight)
    zero = np.zeros(1, np.float32)
    if layer.sees_deviation:
        mean, square = _mean(x, local), _mean(x * x, local)
        deviation = ops.sqrt(ops.maximum(square - mean * mean, _floats(np.array(0.0))) + _floats(np.array(1e-6)))
        waist = _pointwise(ops.concat([mean, deviation], 1), squeeze, zero)
    elif local is None:
        waist = _pointwise(_mean(x, None), squeeze, zero)
    else:  # squeezing and averaging commute; squeezed first, there are fewer channels to average
        waist = _mean(_pointwise(x, squeeze, zero), local)
    return x * (ops.sigmoid(_pointwise(ops.relu(waist), excite, zero)) * _floats(np.array(layer.gain)))


def _mean(x: Node, side: int | None) -> Node:
    """Mean of each channel over the input, or over a window around each position; edges repeat the outermost."""
    if side is None:
        return ops.reduce_mean(x, _indices([2, 3]), keep_dims=True)
    _, _, h, w = x.shape
    k, l = min(side, h), min(side, w)
    for kernel in ([k, 1], [1, l]):
        x = ops.avg_pool(x, [1, 1], [0, 0], [0, 0], kernel, exclude_pad=True)
    above, before = (h - x.shape[2]) // 2, (w - x.shape[3]) // 2
    below, after = h - x.shape[2] - above, w - x.shape[3] - before
    return ops.pad(x, _indices([0, 0, above, before]), _indices([0, 0, below, after]), "edge")


def _split(layer: nn.Conv2d, parts: int) -> list[np.ndarray]:
    """Return the weights of a convolution for each part of its input channels."""
    return np.split(_values(layer.weight), parts, 1)


def _pointwise(x: Node, weight: np.ndarray, bias: np.ndarray) -> Node:
    """A 1x1 convolution with a weight (D, C) and a bias (D,), or one zero."""
    y = ops.convolution(x, _floats(weight[:, :, None, None]), [1, 1], [0, 0], [0, 0], [1, 1])
    return y + _row(bias) if bias.any() else y


def _convolution(layer: nn.Conv2d, x: Node) -> Node:
    before = list(layer.padding)
    y = ops.convolution(x, _floats(_values(layer.weight)), [1, 1], before, before, [1, 1])
    return y if layer.bias is None else y + _row(_values(layer.bias))


def _row(values: np.ndarray) -> Node:
    """One value for each channel."""
    return _floats(values.reshape(1, -1, 1, 1))


def _reshaped(x: Node, shape: list[int]) -> Node:
    return ops.reshape(x, _indices(shape), special_zero=False)


def _values(x: Tensor | None) -> np.ndarray:
    assert x is not None
    return x.detach().float().numpy(force=True)


def _floats(values: np.ndarray) -> Node:
    return ops.constant(np.ascontiguousarray(values, np.float32))


def _indices(values: object) -> Node:
    return ops.constant(np.asarray(values, np.int64))
