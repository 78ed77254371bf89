"""Attention against the plain slow way: a softmax over every position in float64, means over every window by a loop."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.model.attention import ChannelAttention, SpatialAttention, attend, sliding_mean
from dagan_cli.model.config import GeneratorConfig, Pairwise

CHANNELS = 8
FEW_POSITIONS, MANY_POSITIONS = (9, 7), (13, 15)  # on a CPU few keys take the explicit form, many the fused kernel


def spatial(**choices) -> SpatialAttention:
    return SpatialAttention(GeneratorConfig(channels=CHANNELS, reduction=4, **choices))


def features(height: int, width: int, seed: int = 0) -> Tensor:
    """(2, C, H, W), large enough for the softmax to be far from an average."""
    return torch.randn(2, CHANNELS, height, width, generator=torch.Generator().manual_seed(seed))


def linear(layer: nn.Module, rows: np.ndarray) -> np.ndarray:
    """A 1x1 convolution on (positions, channels) in float64."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    weight = layer.weight.detach().double().numpy()[:, :, 0, 0]
    return rows @ weight.T + layer.bias.detach().double().numpy()


def naive_weighted(block: SpatialAttention, x: np.ndarray, pairwise: Pairwise, temperature: float, pool: int):
    """The paper's sum over all positions of one (C, H, W) picture, g applied before it: (C/2, H, W)."""
    c, h, w = x.shape
    cells = [x[:, i : i + pool, j : j + pool].max((1, 2)) for i in range(0, h, pool) for j in range(0, w, pool)]
    queries, keys = x.reshape(c, -1).T, np.stack(cells)
    values = linear(block.g, keys)
    if pairwise == "embedded":
        queries, keys = linear(block.theta, queries), linear(block.phi, keys)
    out = np.empty((h * w, values.shape[1]))
    for i, query in enumerate(queries):
        logits = np.array([query @ key for key in keys]) / temperature
        weights = np.exp(logits - logits.max())
        out[i] = (weights[:, None] * values).sum(0) / weights.sum()
    return out.T.reshape(-1, h, w)


def naive(block: SpatialAttention, x: Tensor, pairwise: Pairwise, temperature: float, pool: int, window: int | None):
    """x + W(weighted), window by window, in float64."""
    out = x.double().numpy().copy()
    for picture in out:
        side = window or max(picture.shape[1:])
        y = np.zeros((CHANNELS // 2, *picture.shape[1:]))
        for top in range(0, picture.shape[1], side):
            for left in range(0, picture.shape[2], side):
                area = (slice(None), slice(top, top + side), slice(left, left + side))
                y[area] = naive_weighted(block, picture[area], pairwise, temperature, pool)
        picture += linear(block.w, y.reshape(CHANNELS // 2, -1).T).T.reshape(picture.shape)
    return torch.from_numpy(out)


@pytest.mark.slow
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("size", [FEW_POSITIONS, MANY_POSITIONS, (1, 1), (1, 6)])
def test_attention_over_everything_equals_the_plain_sum(pairwise, temperature, pool, size):
    block, x = spatial(pairwise=pairwise, temperature=temperature, pool=pool), features(*size)
    expected = naive(block, x, pairwise, temperature, pool, None)
    torch.testing.assert_close(block(x).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pairwise", ["gaussian", "embedded"])
@pytest.mark.parametrize(("window", "pool"), [(4, 1), (4, 2), (6, 3), (12, 1)])
def test_attention_in_windows_equals_the_plain_sum_in_each(pairwise, window, pool):
    block, x = spatial(pairwise=pairwise, temperature=2.0, window=window, pool=pool), features(12, 24)
    expected = naive(block, x, pairwise, 2.0, pool, window)
    torch.testing.assert_close(block(x).double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("keys", [1, 20, 300])
def test_few_and_many_keys_take_different_ways_to_the_same_result(keys, monkeypatch):
    fused = []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **b: fused.append(1) or kernel(*a, **b))
    q, k, v = torch.randn(3, 50, 6), torch.randn(3, keys, 6), torch.randn(3, keys, 6)
    logits = 0.7 * np.einsum("bnd,bmd->bnm", q.double().numpy(), k.double().numpy())
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    expected = (weights / weights.sum(-1, keepdims=True)) @ v.double().numpy()
    torch.testing.assert_close(attend(q, k, v, 0.7).double(), torch.from_numpy(expected), rtol=0, atol=1e-5)
    assert bool(fused) == (keys == 300)


def test_no_more_windows_reach_the_fused_kernel_than_cuda_can_launch(monkeypatch):
    batches = []
    kernel = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, *a, **b: batches.append(len(q)) or kernel(q, *a, **b)
    )
    q, k = torch.empty(140_000, 4, 8, device="meta"), torch.empty(140_000, 300, 8, device="meta")
    assert attend(q, k, k, 1.0).shape == q.shape
    assert sum(batches) == 140_000
    assert max(batches) < 2**16


def test_large_features_do_not_overflow_the_softmax():
    x = 60 * features(*MANY_POSITIONS)  # logits of some 3e4: one-hot
    assert torch.isfinite(spatial()(x)).all()


@pytest.mark.parametrize("side", [1, 2, 3, 6, 7, 50])
@pytest.mark.parametrize("size", [(9, 14), (6, 7), (1, 5)])
def test_the_sliding_mean_equals_a_loop_over_windows(side, size):
    x = features(*size)
    expected = torch.empty_like(x)
    (h, w), (a, b) = size, (min(side, size[0]), min(side, size[1]))
    for i in range(h):
        for j in range(w):
            top = min(max(i - (a - 1) // 2, 0), h - a)  # the outermost full window serves the edge
            left = min(max(j - (b - 1) // 2, 0), w - b)
            expected[..., i, j] = x[..., top : top + a, left : left + b].mean((2, 3))
    torch.testing.assert_close(sliding_mean(x, side), expected, rtol=0, atol=1e-5)


def test_the_sliding_mean_of_half_precision_is_summed_in_single():
    x = torch.full((1, 1, 1, 8192), 20.0, dtype=torch.float16)  # sums of 160,000 overflow fp16
    out = sliding_mean(x, 4)
    assert out.dtype == torch.float16
    assert (out == 20).all()


def gate_of(block: ChannelAttention, means: Tensor) -> Tensor:
    """Squeeze-excitation of one vector of means, written out."""
    hidden = (block.squeeze.weight @ means).clamp(min=0)
    return 1 / (1 + torch.exp(-(block.excite.weight @ hidden)))


def test_channel_attention_gates_each_channel_by_all_means():
    block, x = ChannelAttention(GeneratorConfig(channels=CHANNELS, reduction=4)), features(5, 7)
    expected = torch.stack([picture * gate_of(block, picture.mean((1, 2)))[:, None, None] for picture in x])
    torch.testing.assert_close(block(x), expected)


def test_local_channel_attention_gates_each_position_by_the_means_around_it():
    block, x = ChannelAttention(GeneratorConfig(channels=CHANNELS, reduction=4)), features(6, 9)
    block.local = 5
    top, left = 0, 3  # the window of position (1, 5): rows 0..4, columns 3..7
    around = x[0, :, top : top + 5, left : left + 5].mean((1, 2))
    torch.testing.assert_close(block(x)[0, :, 1, 5], x[0, :, 1, 5] * gate_of(block, around))


@pytest.mark.parametrize("local", [None, 5])
def test_a_gate_may_see_the_deviation_of_each_channel_too(local):
    config = GeneratorConfig(channels=CHANNELS, reduction=4, squeeze="mean-deviation")
    block, x = ChannelAttention(config), features(6, 9) + 3
    block.local = local
    around = x[0, :, 0:5, 3:8] if local else x[0]  # the window of position (1, 5)
    seen = torch.cat((around.mean((1, 2)), around.std((1, 2), correction=0)))
    torch.testing.assert_close(block(x)[0, :, 1, 5], x[0, :, 1, 5] * gate_of(block, seen), rtol=1e-4, atol=1e-5)
    flat = torch.full((1, CHANNELS, 4, 4), 2.0, requires_grad=True)
    block(flat).sum().backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_a_learned_temperature_starts_at_the_one_given_and_gets_a_gradient():
    given = {"pairwise": "embedded", "temperature": 0.25}
    fixed, learned = spatial(**given), spatial(**given, learned_temperature=True)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    x = features(6, 7)
    torch.testing.assert_close(learned(x), fixed(x))
    learned(x).square().sum().backward()
    assert learned.sharpness is not None
    assert learned.sharpness.grad is not None
    assert learned.sharpness.grad.abs() > 0


def test_an_embedding_can_be_of_any_width():
    block = spatial(pairwise="embedded", embedding=3)
    assert (block.theta.out_channels, block.phi.out_channels, block.g.out_channels) == (3, 3, 3)
    block.local = 4
    assert block(features(6, 7)).shape == (2, CHANNELS, 6, 7)


@pytest.mark.parametrize("pairwise", ["gaussian", "embedded"])
@pytest.mark.parametrize(("size", "pool"), [((11, 17), 1), ((20, 6), 1), ((11, 17), 2), ((4, 9), 1)])
def test_local_attention_averages_evenly_spread_windows(pairwise, size, pool):
    side, (h, w) = 6, size
    block, x = spatial(pairwise=pairwise, pool=pool), features(*size)
    block.local = side

    def starts(length: int) -> list[int]:
        count = ceil(length / min(side, length))
        return [i * (length - min(side, length)) // max(1, count - 1) for i in range(count)]

    for picture, out in zip(x.double().numpy(), block(x).detach().double().numpy(), strict=True):
        total, count = np.zeros((CHANNELS // 2, h, w)), np.zeros((h, w))
        for top in starts(h):
            for left in starts(w):
                area = (slice(None), slice(top, top + side), slice(left, left + side))
                total[area] += naive_weighted(block, picture[area], pairwise, 1.0, pool)
                count[area[1:]] += 1
        y = (total / count).reshape(CHANNELS // 2, -1)
        expected = picture + linear(block.w, y.T).T.reshape(picture.shape)
        assert count.min() >= 1
        assert np.abs(out - expected).max() < 1e-5


@pytest.mark.parametrize("kind", [SpatialAttention, ChannelAttention])
@pytest.mark.parametrize("side", [8, 9, 100])
def test_local_equals_global_where_the_input_is_not_larger_than_the_window(kind, side):
    block, x = kind(GeneratorConfig(channels=CHANNELS, reduction=4)), features(5, 8)
    everywhere = block(x)
    block.local = side
    torch.testing.assert_close(block(x), everywhere, rtol=0, atol=0)
    block.local = 7
    assert not torch.equal(block(x), everywhere)


def test_attention_that_starts_as_nothing_returns_its_input():
    config = GeneratorConfig(channels=CHANNELS, reduction=4, identity_start=True)
    x = features(5, 8)
    for block in (SpatialAttention(config), ChannelAttention(config)):
        torch.testing.assert_close(block(x), x, rtol=0, atol=0)


def test_embedding_costs_two_more_projections():
    def size(block: nn.Module) -> int:
        return sum(p.numel() for p in block.parameters())

    gaussian = SpatialAttention(GeneratorConfig())
    embedded = SpatialAttention(GeneratorConfig(pairwise="embedded"))
    assert (size(gaussian), size(embedded)) == (4_192, 4_192 + 4_160)
    assert size(ChannelAttention(GeneratorConfig())) == 1_024
