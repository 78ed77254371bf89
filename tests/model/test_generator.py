"""The generator is the paper's: its size to the integer, its arithmetic against a plain one, all its choices."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import ceil
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.errors import BadOption
from dagan_cli.model.attention import ChannelAttention, SpatialAttention
from dagan_cli.model.checkpoint import load_model, save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from tests.support.training import parameters

SMALL: dict[str, Any] = {"blocks": 2, "channels": 8, "growth": 4, "layers": 2, "reduction": 1, "patch": 8}
PLAIN: dict[str, Any] = {"attention": "none", "solver": "euler"}
TINY: dict[str, Any] = {"scale": 2, **SMALL, **PLAIN}
ATTENTIONS = ("none", "channel", "spatial", "spatial-channel", "channel-spatial")
SOLVERS = ("euler", "heun", "midpoint", "rk3", "rk4", "tied-euler")
DUAL: dict[str, Any] = {"attention": "spatial-channel", "solver": "heun"}
DIAL: dict[str, Any] = {"solver": "rk4", "orders": (1, 2, 4)}


def tiny(**choices: Any) -> Generator:
    return Generator(GeneratorConfig(**(TINY | choices)))


def size_of(**choices: Any) -> int:
    with torch.device("meta"):
        return parameters(Generator(GeneratorConfig(**choices)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((4, 4, 32, 64), (807_555, 828_423, 955_267, 976_135)),
        ((6, 4, 32, 64), (1_098_755, 1_130_057, 1_246_467, 1_277_769)),
        ((8, 4, 32, 64), (1_389_955, 1_431_691, 1_537_667, 1_579_403)),
        ((8, 6, 32, 64), (2_381_699, 2_423_435, 2_529_411, 2_571_147)),
        ((20, 6, 32, 64), (5_616_515, 5_720_855, 5_764_227, 5_868_567)),
        ((16, 8, 64, 64), (22_123_395, 22_206_867, 22_271_107, 22_354_579)),
    ],
)
def test_the_parameters_count_what_the_paper_counts(shape, sizes):
    wide: dict[str, Any] = dict(zip(("blocks", "layers", "growth", "channels"), shape, strict=True))
    counted = [size_of(scale=scale, **wide, **kind) for scale in (2, 4) for kind in (PLAIN, DUAL)]
    assert counted == list(sizes)


@pytest.mark.parametrize(("solver", "stages"), [("heun", 2), ("rk3", 3), ("rk4", 4), ("tied-euler", 5)])
def test_separate_weights_give_each_stage_its_own_function(solver, stages):
    own = tiny(solver=solver, stages=5, shared_weights=False)
    shared = tiny(solver=solver, stages=5)
    function = sum(p.numel() for p in tiny().blocks[0].parameters())
    assert parameters(own) - parameters(shared) == 2 * (stages - 1) * function


def plain_rdn(state: dict[str, Tensor], x: Tensor, blocks: int, layers: int) -> Tensor:
    """The residual dense network as its paper has it (x2), in float64 and from the names in the file."""

    def conv(name: str, at: Tensor) -> Tensor:
        weight = state[f"{name}.weight"].double()
        return F.conv2d(at, weight, state[f"{name}.bias"].double(), padding=weight.shape[-1] // 2)

    shallow = conv("sfe1", x.double())
    y, outputs = conv("sfe2", shallow), []
    for b in range(blocks):
        name, grown = f"blocks.{b}.functions.0.0", y
        for i in range(layers):
            grown = torch.cat((grown, conv(f"{name}.layers.{i}", grown).relu()), dim=1)
        y = y + conv(f"{name}.fusion", grown)
        outputs.append(y)
    deep = conv("fusion2", conv("fusion1", torch.cat(outputs, dim=1))) + shallow
    return conv("upsampler.2", F.pixel_shuffle(conv("upsampler.0", deep), 2))


def test_the_skeleton_is_a_residual_dense_network():
    generator, x = tiny(blocks=3), torch.rand(2, 3, 7, 10)
    expected = plain_rdn(generator.state_dict(), x, blocks=3, layers=2)
    torch.testing.assert_close(generator(x).double(), expected, rtol=0, atol=1e-5)


CHOICES: list[dict[str, Any]] = [
    *({"block": block, "attention": attention} for block in ("dense", "residual") for attention in ATTENTIONS),
    *({"attention": "spatial", "pairwise": pairwise, **kind}
      for pairwise in ("gaussian", "embedded")
      for kind in ({"pool": 2}, {"window": 4}, {"window": 6, "pool": 3}, {"temperature": 3.0})),
    *({"solver": solver, "shared_weights": shared, "learned_constants": shared}
      for solver in SOLVERS for shared in (True, False)),
    *({"scale": scale, "upsampler": upsampler, "image_skip": skip}
      for scale in (2, 3, 4, 8) for upsampler in ("steps", "direct") for skip in (True, False)),
    {**DUAL, "identity_start": True},
    {**DUAL, "identity_start": True, "image_skip": True, "block": "residual"},
    {**DUAL, **DIAL, "image_skip": True, "upsampler": "direct", "window": 4, "pool": 2, "pairwise": "embedded"},
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("choices", CHOICES, ids=lambda c: ",".join(f"{k}={v}" for k, v in c.items()))
def test_every_choice_builds_runs_learns_and_survives_its_file(choices, tmp_path):
    generator, x = tiny(**choices), torch.rand(2, 3, 5, 9)
    for module in generator.modules():
        if isinstance(module, ChannelAttention):  # of two opposite units, the ReLU lets one through
            module.squeeze.weight.data[::2] = -module.squeeze.weight.data[1::2]
    out = generator(x)
    assert out.shape == (2, 3, 5 * generator.scale, 9 * generator.scale)
    out.square().sum().backward()
    for name, parameter in generator.named_parameters():
        if not parameter.requires_grad or (".constants." in name and not name.endswith(generator.solver)):
            assert parameter.grad is None, name  # fixed, or of an order that did not run
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        silent = generator.config.identity_start or name.endswith("phi.bias")  # the same for all keys: it cancels
        assert silent or parameter.grad.any(), name
    path = tmp_path / "m.safetensors"
    path.write_bytes(save_model(generator, {}))
    loaded = load_model(path).generator
    assert loaded.config == generator.config
    torch.testing.assert_close(loaded(x), generator.requires_grad_(False)(x), rtol=0, atol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 33), (17, 16)])
def test_any_size_is_padded_to_whole_windows_and_cropped(size):
    generator, x = tiny(attention="spatial", window=16, pool=4), torch.rand(1, 3, *size)
    padded = F.pad(x, (0, -size[1] % 16, 0, -size[0] % 16), "replicate")
    assert padded.shape[-1] % 16 == padded.shape[-2] % 16 == 0
    torch.testing.assert_close(generator(x), generator(padded)[..., : 2 * size[0], : 2 * size[1]], rtol=0, atol=0)


@pytest.mark.parametrize("upsampler", ["steps", "direct"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_the_image_skip_adds_the_nearest_neighbour(scale, upsampler):
    generator, x = tiny(scale=scale, upsampler=upsampler, image_skip=True), torch.rand(1, 3, 4, 6)
    for parameter in generator.upsampler.parameters():
        torch.nn.init.zeros_(parameter)
    nearest = x.repeat_interleave(scale, dim=2).repeat_interleave(scale, dim=3)
    torch.testing.assert_close(generator(x), nearest, rtol=0, atol=0)


@pytest.mark.parametrize("upsampler", ["steps", "direct"])
@pytest.mark.parametrize("block", ["dense", "residual"])
def test_an_identity_start_begins_close_to_the_nearest_neighbour(upsampler, block):
    choices: dict[str, Any] = {**DUAL, "block": block, "upsampler": upsampler, "image_skip": True, "blocks": 6}
    x = torch.rand(1, 3, 8, 8)
    nearest = F.interpolate(x, scale_factor=2)
    away = [(tiny(**choices, identity_start=start)(x) - nearest).abs().max() for start in (True, False)]
    assert away[0] < 0.02
    assert away[1] > 0.05


@pytest.mark.parametrize("block", ["dense", "residual"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_block_of_an_identity_start_passes_its_input_on(block, solver):
    generator, y = (
        tiny(attention="spatial-channel", block=block, solver=solver, identity_start=True),
        torch.rand(1, 8, 6, 6),
    )
    for step in generator.blocks:
        torch.testing.assert_close(step(y, solver), y, rtol=0, atol=0)


def test_each_order_of_the_dial_computes_something_else_and_is_that_solver():
    generator, x = tiny(**DIAL), torch.rand(1, 3, 6, 6)
    assert (generator.order, tiny(**DIAL, default_order=4).order) == (1, 4)  # the fastest, unless the file says more
    outputs = {}
    for order, solver in ((1, "euler"), (2, "heun"), (4, "rk4")):
        generator.order = order
        assert (generator.order, generator.solver) == (order, solver)
        outputs[order] = generator(x)
        generator.order = 4
        torch.testing.assert_close(generator(x, order), outputs[order], rtol=0, atol=0)
        alone = tiny(solver=solver)
        alone.load_state_dict({k: v for k, v in generator.state_dict().items() if k in alone.state_dict()})
        torch.testing.assert_close(alone(x), outputs[order])
    assert not any(torch.allclose(outputs[a], outputs[b], rtol=0, atol=1e-6) for a, b in combinations(outputs, 2))


@pytest.mark.parametrize(("choices", "order"), [(DIAL, 3), (DIAL | {"orders": (2, 4)}, 1), ({"solver": "rk4"}, 4)])
def test_an_order_that_was_not_trained_is_refused(choices, order):
    generator = tiny(**choices)
    before = generator.order
    with pytest.raises(BadOption, match=f"--order {order} does not fit"):
        generator.order = order
    with pytest.raises(BadOption, match=f"--order {order} does not fit"):
        generator(torch.rand(1, 3, 4, 4), order)
    assert generator.order == before


FINITE: list[dict[str, Any]] = [
    {"block": "residual"},
    {"block": "dense", "upsampler": "direct", "image_skip": True},
    {"block": "residual", "solver": "heun", "scale": 3},
    {"block": "residual", "blocks": 1, "solver": "rk4", "scale": 4},
    {"block": "residual", "blocks": 1, "scale": 8},
    {"block": "residual", "blocks": 1, **DIAL},
    {"block": "residual", "blocks": 1, "attention": "spatial", "window": 6, "pool": 2},
    {"block": "residual", "blocks": 1, "attention": "channel", "patch": 4},
    {"blocks": 1, "attention": "channel-spatial", "window": 4, "patch": 4},
    {"block": "residual", "attention": "spatial", "window": 6, "attended": (2,)},
]


def reach(generator: Generator, at: tuple[int, int], side: int = 47) -> tuple[int, int]:
    """How far one changed input pixel changes the output, in input pixels: the (nearest, farthest) of four ways."""
    x = torch.rand(1, 3, side, side).double()
    changed = x.clone()
    changed[..., at[0], at[1]] += 5
    difference = (generator(changed) - generator(x)).abs().amax((0, 1))
    least = 1e-5 if "channel" in generator.config.attention else 0  # sliding sums round differently from there on
    rows, columns = (difference > least).nonzero().div(generator.scale, rounding_mode="floor").T
    ways = (at[0] - rows.min(), rows.max() - at[0], at[1] - columns.min(), columns.max() - at[1])
    return int(min(ways)), int(max(ways))


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("choices", FINITE, ids=repr)
def test_no_pixel_is_seen_from_beyond_the_receptive_field(choices):
    generator = tiny(**choices).double()
    generator.use_window("local")
    convolutions = generator.config.attention == "none"
    if convolutions:
        for parameter in generator.parameters():
            parameter.abs_()  # nothing cancels, no rectifier closes
    for name, parameter in generator.named_parameters():
        if "squeeze" in name or "excite" in name:
            parameter.mul_(20)  # gates that answer to small changes of the means
    for at in ((20, 23), (24, 17)):
        field = generator.receptive_field
        assert field is not None
        nearest, farthest = reach(generator, at)
        assert farthest <= field < 23
        assert nearest >= 3
        if generator.config.attention == "channel":
            assert farthest > field - ceil(1.5 * generator.config.patch)  # the sliding mean is seen as well
        if convolutions and generator.scale < 4:
            assert farthest == field  # not loose either


@pytest.mark.parametrize(
    ("choices", "local"),
    [({"attention": "spatial"}, True), ({"attention": "channel", "window": 4}, False), (DUAL, False), (DUAL, True)],
)
def test_attention_over_everything_has_no_bound(choices, local):
    generator = tiny(**choices)
    generator.use_window("local" if local else "global")
    assert generator.receptive_field is None


def test_turning_the_dial_down_shortens_the_receptive_field():
    generator = tiny(block="residual", **DIAL)
    fields = []
    for order in (1, 2, 4):
        generator.order = order
        fields.append(generator.receptive_field)
    assert fields == [5 + 2 * 2 * n for n in (1, 2, 4)]  # blocks x evaluations x two convolutions, and five more


@torch.inference_mode()
@pytest.mark.parametrize("choices", [{"window": 6, "pool": 3}, {"window": 4}], ids=repr)
def test_a_tile_on_the_grid_gets_the_windows_of_the_whole_picture(choices):
    generator = tiny(blocks=1, block="residual", attention="spatial", **choices)
    grid, field = generator.grid, generator.receptive_field
    assert grid == choices["window"]
    assert field is not None
    x = torch.rand(1, 3, 60, 60)
    whole = generator(x)

    def inside(start: int) -> float:
        """The largest difference of a tile from the whole picture, beyond the rim."""
        tile = generator(x[..., start:, start:])
        kept = slice(2 * field, None)
        return (tile[..., kept, kept] - whole[..., 2 * start :, 2 * start :][..., kept, kept]).abs().max().item()

    assert inside(2 * grid) < 1e-5
    assert inside(2 * grid + 1) > 1e-5


def test_the_grid_is_the_window_or_the_pooling_where_there_is_spatial_attention():
    assert tiny(window=8).grid == 1
    assert tiny(attention="spatial").grid == 1
    assert tiny(attention="spatial", pool=3).grid == 3
    assert tiny(attention="channel-spatial", window=8, pool=2).grid == 8


@pytest.mark.parametrize("attention", ["spatial", "channel", "spatial-channel"])
def test_local_windows_are_one_and_a_half_training_patches_and_change_only_larger_inputs(attention):
    generator = tiny(attention=attention, patch=5)  # windows of 8
    small, large = torch.rand(1, 3, 8, 6), torch.rand(1, 3, 8, 9)
    everywhere = generator(small), generator(large)
    generator.use_window("local")
    torch.testing.assert_close(generator(small), everywhere[0], rtol=0, atol=0)
    assert not torch.allclose(generator(large), everywhere[1], rtol=0, atol=1e-7)
    generator.use_window("global")
    torch.testing.assert_close(generator(large), everywhere[1], rtol=0, atol=0)


def test_a_model_can_say_that_it_runs_in_local_windows():
    large = torch.rand(1, 3, 8, 20)
    generator = tiny(attention="channel", patch=5, default_window="local")
    by_default = generator(large)
    generator.use_window("local")
    assert torch.equal(by_default, generator(large))
    generator.use_window("global")
    assert not torch.allclose(by_default, generator(large), rtol=0, atol=1e-7)
    assert (tiny().window, tiny(default_window="local").window) == ("global", "local")


def test_a_picture_does_not_depend_on_the_others_of_its_batch():
    generator, x = tiny(**DUAL, window=4), torch.rand(3, 3, 8, 8)
    together = generator(x)
    torch.testing.assert_close(together, torch.cat([generator(picture[None]) for picture in x]), rtol=0, atol=1e-6)


def test_temperature_pooling_and_windows_all_matter():
    base = tiny(attention="spatial", pairwise="gaussian")
    with torch.no_grad():
        for parameter in base.sfe2.parameters():
            parameter.mul_(10)  # features far enough apart for the softmax to tell them
    x = torch.rand(1, 3, 8, 8)
    for change in ({"temperature": 5.0}, {"pool": 2}, {"window": 4}):
        other = Generator(replace(base.config, **change))
        other.load_state_dict(base.state_dict())
        assert not torch.allclose(other(x), base(x), rtol=0, atol=1e-6), change


@pytest.mark.parametrize("choices", [PLAIN, DUAL, DUAL | DIAL], ids=["plain", "dual", "dial"])
@pytest.mark.parametrize("pairwise", ["gaussian", "embedded"])
def test_it_trains_under_bf16_autocast_by_the_gradients_of_fp32(choices, pairwise):
    generator, x = tiny(**choices, pairwise=pairwise), torch.rand(2, 3, 8, 8)
    gradients = []
    for half in (False, True):
        generator.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = generator(x)
        y.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in generator.parameters() if p.grad is not None]))
    exact, half = gradients
    assert half.isfinite().all()
    assert F.cosine_similarity(half, exact, dim=0) > 0.999


def test_only_the_attended_blocks_have_attention():
    generator = tiny(block="residual", attention="spatial-channel", attended=(2,))
    attentions = [sum(isinstance(m, SpatialAttention) for m in block.modules()) for block in generator.blocks]
    assert attentions == [0, 1]
    everywhere, named = tiny(block="residual", **DUAL), tiny(block="residual", **DUAL, attended=(1, 2))
    named.load_state_dict(everywhere.state_dict())
    x = torch.rand(1, 3, 9, 12)
    assert torch.equal(named(x), everywhere(x))


def test_each_attended_block_sees_as_far_as_its_window():
    choices: dict[str, Any] = {"block": "residual", "attention": "spatial", "window": 6}
    fields = [tiny(**choices, attended=attended).receptive_field for attended in ((1,), (2,), (1, 2), None)]
    assert fields == [9 + 5, 9 + 5, 9 + 10, 9 + 10]


def test_a_file_from_before_blocks_were_named_has_attention_in_all():
    plain = GeneratorConfig().to_dict()
    del plain["attended"]
    assert GeneratorConfig.from_dict(plain) == GeneratorConfig()
