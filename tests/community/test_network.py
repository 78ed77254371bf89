"""Networks of other programs: spandrel's own results, whole and in tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from dagan_cli.community.library import import_spandrel, is_installed
from dagan_cli.community.network import Community, Sides, load_community, mirrored
from dagan_cli.engine.engine import Engine
from dagan_cli.engine.measuring.reach import TOLERANCE
from dagan_cli.engine.options import EngineOptions
from dagan_cli.errors import BadModel, BadOption
from dagan_cli.upscaler import ModelChoice, Upscaler
from tests.support.community_networks import SMALL, small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason="needs spandrel, the extra `community`"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid"),  # where spandrel alone loads the network
]
CPU = EngineOptions(device="cpu", precision="fp32")
GLOBAL = "OmniSR"  # it pools over all it is given
CUT = [name for name in SMALL if name not in ("RealCUGAN", "SCUNet")]  # these two take long


def saved(folder: Path, name: str, **wrapped: Any) -> Path:
    path = folder / "net.pth"
    torch.save(wrapped or small(name), path)
    return path


def reference(name: str, image: Tensor) -> Tensor:
    """The call of spandrel, which its users make: (1, C, H, W), padded as the network needs, clamped."""
    return import_spandrel().ModelLoader().load_from_state_dict(small(name))(image.clone())


@pytest.mark.parametrize("name", SMALL)
def test_an_image_in_one_tile_is_what_spandrel_makes_of_it(name, tmp_path):
    network, _ = load_community(saved(tmp_path, name))
    image = torch.rand(1, network.channels, 45, 58)
    colour = image.expand(1, 3, 45, 58)
    found = Engine(network, CPU)(colour).clamp(0, 1)
    expected = reference(name, image)
    assert expected.std() > 0.01
    torch.testing.assert_close(found[:, : network.channels], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CUT)
def test_tiles_agree_with_the_whole_where_the_network_does_not_see_all_of_it(name, tmp_path):
    network, _ = load_community(saved(tmp_path, name))
    image = F.interpolate(torch.rand(1, 3, 10, 28), size=(70, 200), mode="bicubic").clamp(0, 1)
    tiled, whole = (Engine(network, EngineOptions(device="cpu", tile=tile)) for tile in (128, "off"))
    assert tiled.plan(70, 200).count > 1
    assert whole.plan(70, 200).count == 1
    difference = (tiled(image) - whole(image)).abs().max()
    assert (tiled._planner._demand.receptive_field is None) == (name == GLOBAL)
    assert difference < (0.1 if name == GLOBAL else 2 * TOLERANCE)


def test_a_large_image_is_one_tile_if_it_fits_and_is_cut_if_it_does_not(tmp_path):
    network, _ = load_community(saved(tmp_path, "Compact"))
    roomy, tight = (Engine(network, EngineOptions(device="cpu", memory=size)) for size in (8 << 30, 64 << 20))
    assert roomy.plan(600, 900).count == 1
    assert tight.plan(600, 900).count > 1


def test_what_it_needs_is_measured_once_and_remembered_under_its_file(tmp_path, monkeypatch):
    from dagan_cli.engine import planner
    from dagan_cli.engine.measuring import meter

    measured: list[str] = []
    cost, reach = meter.measure, planner.measure_reach
    monkeypatch.setattr(meter, "measure", lambda *args: measured.append("cost") or cost(*args))
    monkeypatch.setattr(planner, "measure_reach", lambda *args, **how: measured.append("reach") or reach(*args, **how))
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path / "cache"))
    path = saved(tmp_path, "Compact")
    tight = EngineOptions(device="cpu", precision="fp32", memory=64 << 20)
    first, second = (Engine(load_community(path)[0], tight) for _ in range(2))
    assert first.plan(600, 900) == second.plan(600, 900)
    assert measured == ["cost", "reach"]
    assert second.measuring < first.measuring  # what a forecast counts
    torch.save({name: 2 * value for name, value in small("Compact").items()}, path)
    Engine(load_community(path)[0], tight).plan(600, 900)
    assert measured == ["cost", "reach"] * 2


@pytest.mark.parametrize("side", [1, 3, 15])
@pytest.mark.parametrize("name", ["SwinIR", "SAFMN", "RealCUGAN", "ESRGAN, unshuffled"])
def test_an_image_smaller_than_the_network_needs_is_extended_and_cut_again(name, side, tmp_path):
    network, _ = load_community(saved(tmp_path, name))
    image = torch.rand(1, 3, side, 20)
    found = Engine(network, CPU)(image)
    assert found.shape == (1, 3, side * network.scale, 20 * network.scale)


def test_a_network_for_grey_images_restores_each_colour_by_itself(tmp_path):
    network, _ = load_community(saved(tmp_path, "DnCNN, grey"))
    image = torch.rand(2, 3, 20, 30)
    expected = torch.cat([reference("DnCNN, grey", image[i : i + 1, c : c + 1]) for i in range(2) for c in range(3)])
    torch.testing.assert_close(network(image).clamp(0, 1), expected.reshape(2, 3, 20, 30), atol=1e-6, rtol=0)


def test_a_network_for_rgba_gets_an_opaque_image(tmp_path):
    spandrel = import_spandrel()
    from spandrel.architectures.ESRGAN import ESRGAN

    weights = ESRGAN(in_nc=4, out_nc=4, num_filters=8, num_blocks=1).state_dict()
    network, _ = load_community(saved(tmp_path, "", **weights))
    image = torch.rand(1, 3, 20, 30)
    opaque = torch.cat([image, torch.ones(1, 1, 20, 30)], 1)
    expected = spandrel.ModelLoader().load_from_state_dict(weights)(opaque)[:, :3]
    torch.testing.assert_close(network(image).clamp(0, 1), expected)


@pytest.mark.parametrize("wrapper", ["params_ema", "params", "state_dict", "model"])
def test_state_dicts_are_found_in_what_training_programs_wrap_around_them(wrapper, tmp_path):
    weights = {f"module.{name}": value for name, value in small("Compact").items()}
    network, _ = load_community(saved(tmp_path, "", **{wrapper: weights, "iter": 5}))
    assert network.architecture == "RealESRGAN Compact"


def test_half_precision_weights_in_safetensors_are_read_too(tmp_path):
    halved = {name: value.half() for name, value in small("Compact").items()}
    save_file(halved, tmp_path / "net.safetensors")
    network, _ = load_community(tmp_path / "net.safetensors")
    image = torch.rand(1, 3, 20, 30)
    assert next(network.parameters()).dtype == torch.float32
    torch.testing.assert_close(network(image).clamp(0, 1), reference("Compact", image), atol=2e-3, rtol=0)


def test_a_precision_that_the_network_does_not_support_is_refused_and_never_chosen(tmp_path, monkeypatch):
    network, _ = load_community(saved(tmp_path, "SwinIR"))
    with pytest.raises(BadOption, match="does not support --precision fp16"):
        Engine(network, EngineOptions(device="cpu", precision="fp16"))
    monkeypatch.setattr("dagan_cli.engine.precision._best_dtype", lambda _: (torch.float16, "fp16: fast"))
    assert Engine(network, EngineOptions(device="cpu")).choice.dtype == torch.float32
    assert Engine(load_community(saved(tmp_path, "Compact"))[0], CPU).choice.dtype == torch.float32


@pytest.mark.parametrize("choice", [{"order": 1}, {"detail": 0.5}, {"window": "local"}])
def test_settings_of_dagan_s_own_networks_do_not_apply(choice, tmp_path):
    path = saved(tmp_path, "Compact")
    with pytest.raises(BadOption, match=f"--{next(iter(choice))} does not apply to net.pth"):
        Upscaler.of(ModelChoice(str(path), **choice))


def test_the_signature_of_results_names_the_architecture_and_the_file(tmp_path):
    path = saved(tmp_path, "Compact")
    upscaler = Upscaler.load(str(path), device="cpu", precision="fp32")
    assert upscaler.sha256 is not None
    expected = f": net.pth, RealESRGAN Compact, sha256 {upscaler.sha256[:16]}, x2, float32"
    assert upscaler.signature.endswith(expected)


def described(**changes: Any) -> Any:
    """A descriptor of spandrel for a tiny network, with other properties."""
    found = import_spandrel().ModelLoader().load_from_state_dict(small("Compact"))
    for name, value in changes.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_purpose": "FaceSR"}, "cut-out faces"),
        ({"output_channels": 1}, "takes 3 channels and returns 1"),
        ({"input_channels": 6, "output_channels": 6}, "takes 6 channels and returns 6"),
    ],
)
def test_what_is_not_one_image_in_and_one_image_out_is_refused(changes, words, tmp_path, monkeypatch):
    found = described(**changes)
    monkeypatch.setattr(import_spandrel().ModelLoader, "load_from_state_dict", lambda *_: found)
    with pytest.raises(BadModel, match=words):
        load_community(saved(tmp_path, "Compact"))


def test_a_network_whose_result_has_another_size_than_declared_is_refused_when_it_runs():
    network = Community(described(scale=3))
    with pytest.raises(BadModel, match="turned 8x8 px into"):
        network(torch.rand(1, 3, 8, 8))


def test_the_sides_that_a_network_needs():
    assert Sides(minimum=16, multiple=8).of(5, 33) == (16, 40)
    assert Sides(multiple=8, square=True).of(5, 33) == (40, 40)
    assert Sides().of(5, 33) == (5, 33)


def test_images_are_extended_by_reflection_and_then_by_repetition():
    row = torch.tensor([[[[1.0, 2, 3]]]])
    assert mirrored(row, 1, 7).flatten().tolist() == [1, 2, 3, 2, 1, 1, 1]
    assert mirrored(row, 2, 3).flatten().tolist() == [1, 2, 3, 1, 2, 3]


MIXED = ("SwinIR", "ATD")  # their attention computes a mask in fp32, whatever the type of the weights


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_network_that_says_bf16_computes_in_it(name, tmp_path):
    network, _ = load_community(saved(tmp_path, name))
    image = torch.rand(1, 3, 45, 58)
    expected = network(image)
    assert (torch.bfloat16 in network.dtypes) == (name not in MIXED)
    if name in MIXED:
        with pytest.raises(RuntimeError, match="type"):
            network.to(torch.bfloat16)(image.bfloat16())
    else:
        found = network.to(torch.bfloat16)(image.bfloat16()).float()
        assert (found - expected).abs().max() < 0.1 * max(1.0, expected.abs().max())


@pytest.mark.parametrize("name", MIXED)
def test_one_that_mixes_types_runs_in_fp32_on_a_cpu_where_bf16_is_fast(name, tmp_path, monkeypatch):
    monkeypatch.setattr("dagan_cli.engine.precision.cpu_has_fast_bf16", lambda: True)
    network, _ = load_community(saved(tmp_path, name))
    engine = Engine(network, EngineOptions(device="cpu"))
    image = torch.rand(1, network.channels, 45, 58).expand(1, 3, 45, 58)
    assert engine.choice.dtype == torch.float32
    torch.testing.assert_close(engine(image).clamp(0, 1), reference(name, image), atol=1e-6, rtol=0)
    with pytest.raises(BadOption, match="does not support --precision bf16"):
        Engine(network, EngineOptions(device="cpu", precision="bf16"))
