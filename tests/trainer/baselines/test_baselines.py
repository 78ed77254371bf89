"""The baselines against their published sizes, and each structure against its definition written out."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dagan_cli.engine.engine import Engine
from dagan_cli.engine.options import EngineOptions
from dagan_cli.errors import BadOption
from dagan_cli.model.attention import SpatialAttention
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.rk import CLASSICAL, step
from tests.support.training import parameters
from trainer.baselines import BASELINES, SCALES, Baseline, baseline, names
from trainer.baselines.edsr import Residual, edsr
from trainer.baselines.frame import MEAN, Block, Frame
from trainer.baselines.mdsr import Mdsr
from trainer.baselines.msrresnet import MsrResNet
from trainer.baselines.oisr import HeunStep, KuttaStep, LeapFrogSteps, oisr_lf, oisr_rk2, oisr_rk3
from trainer.baselines.over_bicubic import OverBicubic, enlarge
from trainer.baselines.rcan import ChannelWeights, Pointwise, WeightedResidual, rcan
from trainer.baselines.srcnn import srcnn
from trainer.baselines.srresnet import SrResNet
from trainer.baselines.vdsr import vdsr
from trainer.ema import Average
from trainer.validate import validate

COUNTS: dict[str, dict[int, int]] = {  # as published, or as the authors' code has them
    "srcnn-915": {2: 8_129, 3: 8_129, 4: 8_129},
    "srcnn-955": {2: 57_281, 3: 57_281, 4: 57_281},
    "vdsr": {2: 665_921, 3: 665_921, 4: 665_921},
    "srresnet": {2: 1_401_749, 4: 1_549_462},
    "srgan-lt": {2: 586_506, 4: 734_219, 8: 881_932},
    "msrresnet": {4: 1_517_571},
    "edsr-baseline": {2: 1_369_859, 3: 1_554_499, 4: 1_517_571},
    "edsr": {2: 40_729_603, 3: 43_680_003, 4: 43_089_923},
    "mdsr-baseline": {2: 3_227_203, 3: 3_227_203, 4: 3_227_203},
    "mdsr": {2: 7_953_987, 3: 7_953_987, 4: 7_953_987},
    "rdn": {2: 22_123_395, 3: 22_308_035, 4: 22_271_107},
    "rdn-a": {2: 5_616_515, 4: 5_764_227},
    "rdn-b": {2: 22_123_395, 3: 22_308_035, 4: 22_271_107},
    "rcan": {2: 15_444_643, 3: 15_629_283, 4: 15_592_355},
    "rcan-small-2x6": {2: 1_155_251},
    "rcan-small-3x5": {2: 1_415_487},
    "rcan-small-5x5": {2: 2_233_703},
    "rcan-small-dual-2x6": {2: 1_205_555},
    "rcan-small-dual-3x5": {2: 1_478_367},
    "rcan-small-dual-5x5": {},
    "rcan-small-pointwise-3x5": {2: 1_478_367},
    "oisr-rk2-s": {2: 1_371_915, 3: 1_556_555, 4: 1_519_627},
    "oisr-lf-s": {2: 1_371_939},
    "oisr-rk3": {2: 41_926_769, 3: 44_877_169, 4: 44_287_089},
}
LARGE = {"edsr", "mdsr", "rdn", "rdn-a", "rdn-b", "rcan", "oisr-rk3"}
SMALL = [name for name in COUNTS if name not in LARGE]
AUTHORS_LUMA = torch.tensor(  # RGB in [0, 1] -> Y in [16, 235], Cb and Cr in [16, 240] less 128: BT.601
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=torch.float64
)


def sized(name: str, scale: int) -> Baseline:
    """The large ones without their weights: shapes only."""
    with torch.device("meta" if name in LARGE else "cpu"):
        return baseline(name, scale)


@cache
def count(name: str, scale: int) -> int:
    return parameters(sized(name, scale))


def scales_of(name: str) -> tuple[int, ...]:
    return Mdsr.scales if name.startswith("mdsr") else SCALES


def zeroed(network: nn.Module) -> None:
    for parameter in network.parameters():
        nn.init.zeros_(parameter)


def test_every_baseline_is_in_the_table_of_sizes():
    assert set(names()) == set(BASELINES) == set(COUNTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_the_parameters_count_what_is_published(name):
    assert {scale: count(name, scale) for scale in COUNTS[name]} == COUNTS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COUNTS if not name.startswith(("srcnn", "vdsr", "mdsr"))])
def test_scales_differ_by_their_enlarging_convolutions_only(name):
    """Of C channels: x2 has one to 4 C, x3 one to 9 C, x4 two to 4 C; SRResNet's with a slope each."""
    c = 256 if name in ("edsr", "oisr-rk3") else 64
    slope = name in ("srresnet", "srgan-lt")
    two, three, four = (count(name, scale) for scale in (2, 3, 4))
    assert three - two == (9 - 4) * c * (9 * c + 1)
    assert four - two == 4 * c * (9 * c + 1) + slope


def test_dual_attention_adds_a_non_local_block_to_each_residual_block():
    assert count("rcan-small-dual-5x5", 2) == 2_233_703 + 25 * 4_192


@pytest.mark.parametrize(("name", "weights"), [("srcnn-915", 8_032), ("srcnn-955", 57_184), ("vdsr", 664_704)])
def test_the_counts_include_the_biases(name, weights):
    assert sum(p.numel() for p in sized(name, 2).parameters() if p.ndim > 1) == weights


def test_the_large_edsr_scales_its_residuals_down():
    factors = {
        name: {block.factor for block in sized(name, 2).modules() if isinstance(block, Residual)}
        for name in ("edsr", "edsr-baseline", "mdsr")
    }
    assert factors == {"edsr": {0.1}, "edsr-baseline": {1.0}, "mdsr": {1.0}}


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize(("name", "scale"), [(name, s) for name in SMALL for s in scales_of(name)])
def test_any_size_is_enlarged_by_the_scale(name, scale):
    network = baseline(name, scale).eval()
    assert network.scale == scale
    for n, h, w in ((1, 1, 1), (2, 3, 7)):
        assert network(torch.rand(n, 3, h, w)).shape == (n, 3, scale * h, scale * w)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SMALL, "rdn-a"])  # the other large ones are more of the same
def test_the_gradient_reaches_every_parameter(name):
    network = baseline(name, 2).eval()  # in training a batch norm cancels the biases before it
    for module in network.modules():
        if isinstance(module, ChannelWeights) and module.squeeze.bias is not None:
            nn.init.ones_(module.squeeze.bias)  # at random, one in sixteen has all its four gates closed
    x = torch.rand(1, 3, 5, 6)
    for scale in scales_of(name) if isinstance(network, Mdsr) else (2,):
        if isinstance(network, Mdsr):
            network.scale = scale
        out = network(x)
        assert out.shape == (1, 3, 5 * scale, 6 * scale)
        out.square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("edsr-basline", "edsr-baseline?"),
        ("RCAN", "did you mean rcan?"),
        ("oisr-rk2", "oisr-rk2-s?"),
        ("?", "choose one of srcnn-915"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name, advice):
    with pytest.raises(BadOption, match="unknown baseline") as refused:
        baseline(name, 2)
    assert advice in refused.value.hint


@pytest.mark.parametrize(("name", "scale"), [("vdsr", 1), ("edsr", 5), ("rdn", 0), ("mdsr", 8)])
def test_a_scale_there_is_none_of_is_refused_with_those_there_are(name, scale):
    with pytest.raises(BadOption, match=f"scale {scale}") as refused:
        baseline(name, scale)
    assert refused.value.hint.startswith("use 2, 3, 4")


# --- over bicubic ---------------------------------------------------------------------------------------------------


def mirrored_bicubic(x: Tensor, scale: int) -> Tensor:
    """Torch's own bicubic with a = -1/2, which takes edges otherwise than MATLAB, on a picture mirrored around."""
    x = torch.cat((x.flip(3), x, x.flip(3)), dim=3)
    x = torch.cat((x.flip(2), x, x.flip(2)), dim=2)
    x = F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False, antialias=True)
    h, w = x.shape[-2] // 3, x.shape[-1] // 3
    return x[..., h : 2 * h, w : 2 * w]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_enlargement_is_matlabs_unrounded(scale):
    x = torch.rand(2, 3, 7, 10, dtype=torch.float64)
    torch.testing.assert_close(enlarge(x, scale), mirrored_bicubic(x, scale), rtol=0, atol=1e-12)


def test_the_enlargement_has_a_gradient_after_use_without_one_too():
    x = torch.rand(1, 1, 3, 4, dtype=torch.float64)
    with torch.inference_mode():
        enlarge(x, 2)
    assert torch.autograd.gradcheck(lambda at: enlarge(at, 2), x.requires_grad_())


def test_the_enlargement_keeps_its_precision_where_the_network_has_less():
    x = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(enlarge(x, 2), enlarge(x, 2).float())
        within = enlarge(x, 2)
    assert torch.equal(within, enlarge(x, 2))
    half = x.bfloat16()
    assert torch.equal(enlarge(half, 2), enlarge(half.float(), 2))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_vdsr_whose_last_convolution_is_zero_returns_the_enlargement(scale):
    network, x = vdsr(scale, depth=4, width=8), torch.rand(1, 3, 6, 9)
    assert isinstance(network.network, nn.Sequential)
    assert (network(x) - enlarge(x, scale)).abs().max() > 0.01
    zeroed(network.network[-1])
    torch.testing.assert_close(network(x), enlarge(x, scale), rtol=0, atol=1e-6)


class Luma(nn.Module):
    """Any luma -> another one."""

    def forward(self, y: Tensor) -> Tensor:
        return 0.9 * y.square() + 0.03


@pytest.mark.parametrize("residual", [True, False])
def test_the_network_sees_and_makes_luma_and_leaves_chroma_alone(residual):
    x = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    ycc = torch.einsum("ij,njhw->nihw", AUTHORS_LUMA, enlarge(x, 2))
    y = (ycc[:, :1] + 16) / 255
    new = Luma()(y) + (y if residual else 0)
    expected = torch.einsum("ij,njhw->nihw", AUTHORS_LUMA.inverse(), torch.cat((255 * new - 16, ycc[:, 1:]), dim=1))
    network = OverBicubic(2, Luma(), reach=0, residual=residual)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-6)


def test_srcnn_of_central_ones_returns_the_enlargement():
    network, x = srcnn(3, middle=5), 0.2 + 0.6 * torch.rand(1, 3, 6, 5)  # nothing overshoots into the rectifiers
    zeroed(network)
    assert isinstance(network.network, nn.Sequential)
    for layer in (layer for layer in network.network if isinstance(layer, nn.Conv2d)):
        middle = layer.kernel_size[0] // 2
        layer.weight.data[0, 0, middle, middle] = 1
    torch.testing.assert_close(network(x), enlarge(x, 3), rtol=0, atol=1e-6)


def test_srcnn_sees_edges_repeated():
    network, grey = srcnn(2, middle=5), torch.full((1, 3, 8, 8), 0.5)
    out = network(grey)
    torch.testing.assert_close(out, out[..., 8:9, 8:9].expand_as(out), rtol=0, atol=1e-6)


def test_twenty_layers_begin_with_a_signal_as_large_as_their_input():
    network = baseline("vdsr", 2)
    assert isinstance(network, OverBicubic)
    deviations = [network.network(torch.randn(1, 1, 32, 32)).std().item() for _ in range(3)]
    assert all(0.2 < deviation < 5 for deviation in deviations)


# --- EDSR's frame ---------------------------------------------------------------------------------------------------

FRAMES: dict[str, Callable[[int], Frame | Mdsr]] = {
    "edsr": lambda scale: edsr(scale, blocks=2, width=16, factor=0.1),
    "rcan": lambda scale: rcan(scale, groups=2, blocks=1, width=16),
    "dual": lambda scale: rcan(scale, groups=2, blocks=1, width=16, dual=True),
    "oisr-rk2": lambda scale: oisr_rk2(scale, blocks=2, width=16),
    "oisr-lf": lambda scale: oisr_lf(scale, blocks=2, width=16),
    "oisr-rk3": lambda scale: oisr_rk3(scale, blocks=2, width=16),
    "mdsr": lambda scale: Mdsr(scale, blocks=2, width=16),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_without_weights_shows_the_mean_colour(kind):
    network = FRAMES[kind](2)
    zeroed(network)
    expected = torch.tensor(MEAN).view(1, 3, 1, 1).expand(1, 3, 6, 8)
    torch.testing.assert_close(network(torch.rand(1, 3, 3, 4)), expected, rtol=0, atol=0)
    assert MEAN == (0.4488, 0.4371, 0.4040)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_that_only_passes_on_is_the_nearest_neighbour(kind, scale):
    """The head keeps RGB, the blocks add nothing, the skip carries it, and the mean that was taken is given back."""
    network, x = FRAMES[kind](scale), torch.rand(2, 3, 4, 5)
    zeroed(network)
    ends = (network.enlarging[str(scale)], network.tail) if isinstance(network, Mdsr) else (network.tail,)
    path = [network.head, *(layer for end in ends for layer in end.modules() if isinstance(layer, nn.Conv2d))]
    for layer in path:
        assert isinstance(layer, nn.Conv2d)
        copies = max(1, layer.out_channels // layer.in_channels) if layer.in_channels > 3 else 1
        for channel in range(3):
            layer.weight.data[channel * copies : (channel + 1) * copies, channel, 1, 1] = 1
    nearest = x.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    torch.testing.assert_close(network(x), nearest, rtol=0, atol=1e-6)


def convolved(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def test_edsr_is_as_its_authors_have_it():
    network, x = edsr(2, blocks=2, width=8, factor=0.1).double(), torch.rand(2, 3, 5, 4, dtype=torch.float64)
    state = network.state_dict()
    mean = torch.tensor(MEAN).double()[:, None, None]
    y = head = convolved(state, "head", x - mean)
    for i in range(2):
        y = y + 0.1 * convolved(state, f"body.{i}.last", convolved(state, f"body.{i}.first", y).relu())
    y = convolved(state, "body.2", y) + head
    expected = convolved(state, "tail.2", F.pixel_shuffle(convolved(state, "tail.0", y), 2)) + mean
    torch.testing.assert_close(network(x), expected)
    assert len(state) == 2 * (1 + 4 + 1 + 2)  # the mean is no weight


def test_mdsr_uses_the_ends_of_the_chosen_scale_and_shares_the_rest():
    network, x = Mdsr(2, blocks=1, width=8), torch.rand(1, 3, 4, 4)
    state, outputs = network.state_dict(), {}
    for scale in (2, 3, 4):
        network.scale = scale
        outputs[scale] = network(x)
        network.zero_grad()
        outputs[scale].sum().backward()
        unused = {key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()}
        others = {str(other) for other in (2, 3, 4)} - {str(scale)}
        ends = [key for key in state if key.startswith(("before", "enlarging"))]
        assert unused == {key for key in ends if key.split(".")[1] in others}
    with pytest.raises(BadOption, match="scale 8"):
        network.scale = 8
    assert network.scale == 4
    torch.testing.assert_close(network(x), outputs[4])


# --- blocks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dual", [False, True])
def test_rcans_block_weights_its_channels_and_the_dual_one_attends_to_positions_first(dual):
    block, x = WeightedResidual(16, dual=dual).double(), torch.randn(2, 16, 3, 4, dtype=torch.float64)
    state = block.state_dict()
    y = convolved(state, "body.2", convolved(state, "body.0", x).relu())
    if dual:
        rows = y.flatten(2)  # (N, C, positions)
        values = torch.softmax(rows.transpose(1, 2) @ rows, dim=-1) @ rows.transpose(1, 2)
        values = values.transpose(1, 2).reshape_as(y)
        y = y + convolved(state, "body.3.w", convolved(state, "body.3.g", values))
    last = "body.4" if dual else "body.3"
    mean = y.mean((2, 3), keepdim=True)
    weights = torch.sigmoid(convolved(state, f"{last}.excite", convolved(state, f"{last}.squeeze", mean).relu()))
    torch.testing.assert_close(block(x), x + weights * y)
    assert state[f"{last}.squeeze.weight"].shape == (1, 16, 1, 1)


@pytest.mark.parametrize(
    ("kind", "factors"),
    [(HeunStep, [0.5]), (LeapFrogSteps, [2, 2, 2, 2]), (KuttaStep, [0.5, 2, -1, 4, 1 / 6])],
)
def test_the_factors_of_a_solver_start_classical_and_are_learned(kind, factors):
    block = kind(8)
    torch.testing.assert_close(block.factors.data, torch.tensor(factors, dtype=torch.float32))
    assert block.factors.requires_grad
    slopes = [layer.weight for layer in block.modules() if isinstance(layer, nn.PReLU)]
    assert all((slope == 0.25).all() and slope.shape == (8,) for slope in slopes)


def linear(block: Block, matrix: Tensor) -> Block:
    """The block where every stage is y -> A y: slopes of one, and convolutions of A in their centre.

    Of a stage with several convolutions the first is A, the others pass on.
    """
    block = block.double()
    for stage in (module for module in block.modules() if isinstance(module, nn.Sequential)):
        a = matrix
        for layer in stage:
            if isinstance(layer, nn.PReLU):
                nn.init.ones_(layer.weight)
            elif isinstance(layer, nn.Conv2d):
                zeroed(layer)
                layer.weight.data[:, :, 1, 1] = a
                a = torch.eye(len(a), dtype=a.dtype)
    return block


@pytest.mark.parametrize(
    ("kind", "polynomial", "solver"),
    [
        (HeunStep, (1, 1, 1 / 2), "heun"),
        (KuttaStep, (1, 1, 1 / 2, 1 / 6), "rk3"),
        (LeapFrogSteps, (1, 0, 12, 0, 16), None),  # Fibonacci's fifth polynomial, of 2 A
    ],
)
def test_on_a_linear_equation_a_block_is_the_polynomial_of_its_solver(kind, polynomial, solver):
    """For y' = A y an order-n Runge-Kutta step is the exponential series of A up to the power n."""
    a, y = 0.5 * torch.randn(6, 6, dtype=torch.float64), torch.randn(2, 6, 3, 4, dtype=torch.float64)

    def times(matrix: Tensor, at: Tensor) -> Tensor:
        return torch.einsum("ij,njhw->nihw", matrix, at)

    series = sum((factor * torch.linalg.matrix_power(a, n) for n, factor in enumerate(polynomial)), torch.zeros_like(a))
    stepped = linear(kind(6), a)(y)
    torch.testing.assert_close(stepped, times(series, y), rtol=0, atol=1e-6)
    if solver:
        constants = torch.tensor(CLASSICAL[solver], dtype=torch.float64)
        torch.testing.assert_close(stepped, step(solver, lambda _, at: times(a, at), y, constants), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [HeunStep, LeapFrogSteps, KuttaStep])
def test_no_two_stages_share_weights(kind):
    block, y = kind(4), torch.randn(1, 4, 3, 3)
    before = block(y)
    stages = [module for module in block.modules() if isinstance(module, nn.Sequential)]
    for stage in stages:
        changed = deepcopy(block)
        zeroed([m for m in changed.modules() if isinstance(m, nn.Sequential)][stages.index(stage)])
        assert not torch.allclose(changed(y), before, rtol=0, atol=1e-4)
    assert len(stages) == {HeunStep: 2, LeapFrogSteps: 4, KuttaStep: 3}[kind]


# --- SRResNet and its kin -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounded", [False, True])
def test_srresnet_is_as_its_authors_have_it(bounded):
    network = SrResNet(4, blocks=2, width=8, bounded=bounded).double()
    x = torch.rand(3, 3, 5, 4, dtype=torch.float64)
    state = network.state_dict()

    def normal(name: str, y: Tensor) -> Tensor:
        centred = y - y.mean((0, 2, 3), keepdim=True)
        scaled = centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    def prelu(name: str, y: Tensor) -> Tensor:
        assert state[f"{name}.weight"].shape == (1,)
        return torch.where(y > 0, y, state[f"{name}.weight"] * y)

    y = head = prelu("head.1", convolved(state, "head.0", x))
    for i in range(2):
        body = f"body.{i}.body"
        inner = prelu(f"{body}.2", normal(f"{body}.1", convolved(state, f"{body}.0", y)))
        y = y + normal(f"{body}.4", convolved(state, f"{body}.3", inner))
    y = normal("body.3", convolved(state, "body.2", y)) + head
    for i in (0, 3):
        y = prelu(f"tail.{i + 2}", F.pixel_shuffle(convolved(state, f"tail.{i}", y), 2))
    y = convolved(state, "tail.6", y)
    torch.testing.assert_close(network(x), (y.tanh() + 1) / 2 if bounded else y)


def test_only_srgan_lt_is_bounded():
    for name, bounded in (("srgan-lt", True), ("srresnet", False)):
        network = baseline(name, 2).eval()
        assert isinstance(network, SrResNet)
        for parameter in network.tail.parameters():
            parameter.data.mul_(100)
        out = network(torch.rand(1, 3, 4, 4))
        assert torch.equal(out, out.clamp(0, 1)) is bounded


def test_msrresnet_is_as_its_authors_have_it():
    network, x = MsrResNet(4, blocks=1, width=8).double(), torch.rand(1, 3, 5, 4, dtype=torch.float64)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    state = network.state_dict()

    def leaky(y: Tensor) -> Tensor:
        return torch.maximum(y, 0.1 * y)

    y = leaky(convolved(state, "head.0", x))
    y = y + convolved(state, "body.0.last", convolved(state, "body.0.first", y).relu())
    for i in (0, 3):
        y = leaky(F.pixel_shuffle(convolved(state, f"tail.{i}", y), 2))
    y = convolved(state, "tail.8", leaky(convolved(state, "tail.6", y)))
    bilinear = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(x), y + bilinear)


def test_msrresnet_starts_as_the_bilinear_enlargement():
    network, x = baseline("msrresnet", 4), torch.rand(1, 3, 8, 8)
    bilinear = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(x), bilinear, rtol=0, atol=0.01)


# --- how far they see, and what runs them ---------------------------------------------------------------------------

FINITE: dict[str, Callable[[int], Baseline]] = {
    "srcnn-915": lambda scale: srcnn(scale, middle=1),
    "srcnn-955": lambda scale: srcnn(scale, middle=5),
    "vdsr": lambda scale: vdsr(scale, depth=7, width=4),
    "edsr": lambda scale: edsr(scale, blocks=2, width=4),
    "mdsr": lambda scale: Mdsr(scale, blocks=1, width=4),
    "oisr-rk2": lambda scale: oisr_rk2(scale, blocks=1, width=4),
    "oisr-lf": lambda scale: oisr_lf(scale, blocks=1, width=4),
    "oisr-rk3": lambda scale: oisr_rk3(scale, blocks=2, width=4),
    "srresnet": lambda scale: SrResNet(scale, blocks=2, width=4),
    "msrresnet": lambda scale: MsrResNet(scale, blocks=2, width=4),
}


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize(("kind", "scale"), [(kind, s) for kind in FINITE for s in scales_of(kind)])
def test_the_receptive_field_is_as_far_as_one_input_pixel_is_seen(kind, scale):
    network = FINITE[kind](scale).double().eval()
    for key, parameter in network.named_parameters():
        parameter.abs_()  # nothing cancels, no rectifier closes
        if parameter.ndim == 4 and not kind.startswith("srcnn"):
            parameter.add_(0.05)
        elif "bias" in key:
            parameter.add_(0.5)
    field = network.receptive_field
    assert field is not None
    side, at = 2 * field + 5, field + 2
    x = torch.rand(1, 3, side, side).double()
    changed = x.clone()
    changed[..., at, at] += 1
    difference = (network(changed) - network(x)).abs().amax((0, 1))
    rows, columns = (difference > 1e-12 * difference.max()).nonzero().div(scale, rounding_mode="floor").T
    ways = (at - rows.min(), rows.max() - at, at - columns.min(), columns.max() - at)
    assert {int(way) for way in ways} == {field}


@pytest.mark.slow
def test_channel_attention_sees_everywhere():
    assert {baseline(name, 2).receptive_field for name in SMALL if name.startswith("rcan")} == {None}


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["srcnn-955", "vdsr", "edsr", "oisr-rk3", "srresnet", "mdsr"])
def test_the_engine_cuts_a_baseline_into_tiles_that_fit_together(kind):
    network, x = FINITE[kind](3).eval(), torch.rand(1, 3, 70, 50)
    engine = Engine(network, EngineOptions(device="cpu", precision="fp32", tile=64))
    assert engine.plan(70, 50).count > 1
    torch.testing.assert_close(engine(x), network(x), rtol=0, atol=1e-5)


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("name", [name for name in SMALL if not name.startswith("rdn")])
def test_the_engine_runs_every_small_baseline_in_half_precision_too(name):
    network, x = baseline(name, 2).eval(), torch.rand(1, 3, 9, 12)
    half, exact = Engine(network, EngineOptions(device="cpu", precision="bf16"))(x), network(x)
    depth = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in network.modules())
    rounded = torch.finfo(torch.bfloat16).eps / 2 * (2 * depth) ** 0.5  # weights and results, each rounded once a layer
    assert rms(half - exact) < 2 * rounded * rms(exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["srcnn-955", "srgan-lt", "msrresnet", "edsr-baseline", "mdsr-baseline", "rdn-a"])
def test_the_trainer_averages_and_validates_a_baseline(name):
    network: Any = baseline(name, 2)
    average = Average(network, decay=0.0)
    with torch.no_grad():
        network(torch.rand(4, 3, 6, 6))  # a batch norm learns from what it sees
        for parameter in network.parameters():
            parameter.mul_(1.1)
    average.update(network, step=10**6)
    lr = torch.rand(1, 3, 8, 8).mul(255).round()
    hr = network.eval()(lr / 255).mul(255).round().clamp(0, 255).detach()
    assert validate(average.network, [(lr, hr)]) > 60


@pytest.mark.slow
@pytest.mark.parametrize("kind", FINITE)
def test_a_few_steps_of_training_bring_a_baseline_closer(kind):
    network = FINITE[kind](2).train()
    lr = torch.rand(4, 3, 8, 8)
    hr = enlarge(lr, 2).clamp(0, 1).square()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.l1_loss(network(lr).float(), hr)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_pointwise_control_has_the_weights_of_the_dual_one_and_sees_one_position_only():
    torch.manual_seed(0)
    control, dual = Pointwise(GeneratorConfig(channels=8)), SpatialAttention(GeneratorConfig(channels=8))
    control.load_state_dict(dual.state_dict())
    x = torch.randn(1, 8, 3, 4)
    torch.testing.assert_close(control(x), dual.w(dual.g(x)) + x)
    torch.testing.assert_close(control(x[..., :1, :1]), dual(x[..., :1, :1]))  # where there is but one position
    assert not torch.allclose(control(x), dual(x))
