"""Perceptual features: torchvision's layout written out, weights that are read with care, a loss worked out by hand."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from dagan_cli.errors import BadModel, BadOption
from trainer.losses.perceptual import LAYERS, Features, PerceptualLoss, load_features

# torchvision's `features`: numbers are convolutions of that many channels followed by a ReLU, M is a max-pooling
VGG19 = [64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M", 512, 512, 512, 512, "M", 512, 512, 512, 512, "M"]
VGG16 = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
DISTILLED = {"11": (3, 16), "12": (16, 16), "21": (16, 32), "22": (32, 32), "31": (32, 64), "32": (64, 64)}


def vgg_weights(layout: list, upto: int) -> dict[str, Tensor]:
    """Random weights with torchvision's names, of the modules before number `upto`."""
    weights, index, width = {}, 0, 3
    for entry in layout:
        if entry == "M":
            index += 1
        else:
            weights[f"features.{index}.weight"] = torch.randn(entry, width, 3, 3) * (2 / (9 * width)) ** 0.5
            weights[f"features.{index}.bias"] = torch.randn(entry) * 0.1
            index, width = index + 2, entry
        if index >= upto:
            break
    return weights


def vgg_by_hand(layout: list, weights: dict[str, Tensor], x: Tensor, module: int) -> Tensor:
    """The output of module number `module` of torchvision's `features`, in float64."""
    index, x = 0, x.double()
    for entry in layout:
        if entry == "M":
            steps = [lambda x: F.max_pool2d(x, 2, 2)]
        else:
            weight, bias = (weights[f"features.{index}.{kind}"].double() for kind in ("weight", "bias"))
            steps = [lambda x, w=weight, b=bias: F.conv2d(x, w, b, padding=1), lambda x: x.clamp(min=0)]
        for step in steps:
            x = step(x)
            if index == module:
                return x
            index += 1
    raise AssertionError(module)


def distilled_weights() -> dict[str, Tensor]:
    weights = {"conv0.weight": torch.randn(3, 3, 1, 1), "conv0.bias": torch.randn(3)}
    for name, (width, out) in DISTILLED.items():
        weights[f"conv{name}.weight"] = torch.randn(out, width, 3, 3) * (2 / (9 * width)) ** 0.5
        weights[f"conv{name}.bias"] = torch.randn(out)
    return weights | {"conv11_aux.weight": torch.randn(64, 16, 1, 1), "conv11_aux.bias": torch.randn(64)}


def imagenet(x: Tensor) -> Tensor:
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (x - mean) / deviation


@pytest.fixture
def vgg19(tmp_path) -> Path:
    """Only the first two blocks, which is enough for what lies in them."""
    path = tmp_path / "some.safetensors"
    save_file(vgg_weights(VGG19, 10), path)
    return path


def test_layers_have_the_numbers_that_papers_name_them_by():
    vgg19, vgg16 = LAYERS["vgg19"], LAYERS["vgg16"]
    named = {"conv1_2": 2, "conv2_2": 7, "conv3_4": 16, "conv4_4": 25, "conv5_4": 34, "relu5_4": 35}
    assert {name: vgg19.index(name) for name in named} == named
    assert (len(vgg19), len(vgg16)) == (37, 31)
    assert vgg16.index("pool5") == 30
    assert LAYERS["vgg19-distilled"][-2:] == ("conv5_1", "relu5_1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "layout", "taps"),
    [("vgg19", VGG19, {"conv1_2": 2, "relu3_1": 11, "conv5_4": 34}), ("vgg16", VGG16, {"conv4_3": 21, "pool5": 30})],
)
def test_vgg_features_are_torchvisions_modules(net, layout, taps, tmp_path):
    weights = vgg_weights(layout, 37)
    save_file(weights, tmp_path / "vgg.safetensors")
    pictures = torch.rand(1, 3, 32, 32)
    found = load_features(net, taps, tmp_path / "vgg.safetensors")(pictures)
    assert found.keys() == taps.keys()
    for name, module in taps.items():
        expected = vgg_by_hand(layout, weights, imagenet(pictures), module)
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-4, atol=1e-4)


def test_the_parity_form_does_not_normalise(vgg19):
    pictures = torch.rand(1, 3, 16, 16)
    found = load_features("vgg16", ["relu2_2"], vgg19, normalise=False)(pictures)  # both VGGs begin alike
    expected = vgg_by_hand(VGG16, load_file(vgg19), pictures, 8)
    torch.testing.assert_close(found["relu2_2"].double(), expected, rtol=1e-4, atol=1e-4)


def test_the_distilled_encoder_has_its_own_input_layer_and_mirrors_at_the_edges(tmp_path):
    weights = distilled_weights()
    save_file(weights, tmp_path / "small.safetensors")
    pictures = torch.rand(1, 3, 20, 16)

    def conv(x: Tensor, name: str) -> Tensor:
        weight, bias = (weights[f"conv{name}.{kind}"].double() for kind in ("weight", "bias"))
        return F.conv2d(F.pad(x, [1, 1, 1, 1], mode="reflect"), weight, bias)

    x = torch.einsum("oi,nihw->nohw", weights["conv0.weight"][:, :, 0, 0].double(), pictures.double())
    x = x + weights["conv0.bias"].double().view(1, 3, 1, 1)
    first = conv(x, "11")
    x = F.max_pool2d(conv(first.relu(), "12").relu(), 2)
    x = F.max_pool2d(conv(conv(x, "21").relu(), "22").relu(), 2)
    last = conv(conv(x, "31").relu(), "32").relu()
    found = load_features("vgg19-distilled", ["conv1_1", "relu3_2"], tmp_path / "small.safetensors")(pictures)
    torch.testing.assert_close(found["conv1_1"].double(), first, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["relu3_2"].double(), last, rtol=1e-4, atol=1e-4)


def test_a_layer_before_its_relu_stays_as_it_was(vgg19):
    """A ReLU in place would spoil what was taken before it."""
    found = load_features("vgg19", ["conv1_2", "relu1_2"], vgg19)(torch.rand(1, 3, 8, 8))
    assert found["conv1_2"].min() < 0
    assert torch.equal(found["conv1_2"].relu(), found["relu1_2"])


@pytest.mark.parametrize("half", [False, True])
def test_gradients_reach_the_picture_and_never_the_weights(vgg19, half):
    loss = PerceptualLoss(load_features("vgg19", ["conv2_2"], vgg19), {"conv2_2": 1.0})
    fake, real = torch.rand(2, 3, 16, 16).requires_grad_(), torch.rand(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        value = loss(fake, real)
    value.backward()
    assert value.dtype == torch.float32
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in loss.parameters())
    assert loss(real, real).item() == 0


@pytest.mark.parametrize("distance", ["l1", "mse"])
def test_the_loss_is_the_weighted_sum_of_mean_distances(vgg19, distance):
    features = load_features("vgg19", ["conv1_1", "relu2_1"], vgg19)
    fake, real = torch.rand(2, 2, 3, 16, 16)
    a, b = features(fake), features(real)
    power = 1 if distance == "l1" else 2
    expected = sum(
        weight * ((a[name] - b[name]).double().abs() ** power).mean()
        for name, weight in {"conv1_1": 0.1, "relu2_1": 2.0}.items()
    )
    found = PerceptualLoss(features, {"conv1_1": 0.1, "relu2_1": 2.0}, distance)(fake, real)
    assert found.item() == pytest.approx(float(expected), rel=2e-6)


def test_autocast_changes_features_only_by_rounding(vgg19):
    features, pictures = load_features("vgg19", ["conv2_2"], vgg19), torch.rand(1, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = features(pictures.to(torch.bfloat16))["conv2_2"]
    exact = features(pictures)["conv2_2"]
    assert (found.float() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("legacy", [False, True])
def test_torchvisions_pth_is_read_too_in_either_format(vgg19, tmp_path, legacy):
    path = tmp_path / "vgg19.pth"
    state = load_file(vgg19) | {"classifier.0.weight": torch.zeros(4, 4)}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    pictures = torch.rand(1, 3, 8, 8)
    expected = load_features("vgg19", ["conv2_2"], vgg19)(pictures)
    torch.testing.assert_close(load_features("vgg19", ["conv2_2"], path)(pictures), expected)


def test_without_a_path_torchvisions_cached_file_is_used_and_named(vgg19, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = Path(torch.hub.get_dir(), "checkpoints")
    assert folder.is_relative_to(tmp_path)
    with pytest.raises(BadModel, match="vgg19") as caught:
        load_features("vgg19", ["conv1_1"])
    assert "--vgg-weights" in caught.value.hint
    folder.mkdir(parents=True)
    torch.save(load_file(vgg19), folder / "vgg19_bn-c79401a0.pth")  # another network
    with pytest.raises(BadModel, match="vgg19"):
        load_features("vgg19", ["conv1_1"])
    torch.save(load_file(vgg19), folder / "vgg19-dcbb9e9d.pth")
    features = load_features("vgg19", ["conv1_1"])
    assert features.source.startswith("vgg19, vgg19-dcbb9e9d.pth, sha256 ")
    with pytest.raises(BadModel, match="vgg16"):
        load_features("vgg16", ["conv1_1"])


def test_random_weights_say_that_they_are():
    assert Features("vgg16", ["conv1_1"]).source == "vgg16, random"


@pytest.mark.parametrize(("layer", "near"), [("conv5_5", "conv5_"), ("relu54", "relu5_4"), ("conv6_1", "_1")])
def test_an_unknown_layer_is_refused_with_the_nearest_name(layer, near):
    with pytest.raises(BadOption, match=layer) as caught:
        Features("vgg19", [layer])
    assert near in caught.value.hint


def test_features_without_a_layer_are_refused():
    with pytest.raises(BadOption):
        Features("vgg19", [])


class _Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_file_that_is_no_weights_is_refused_and_runs_no_code(vgg19, tmp_path):
    mark, whole = tmp_path / "ran", vgg19.read_bytes()
    torch.save({"features.0.weight": _Bomb(mark)}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Bomb(mark), protocol=2))
    (tmp_path / "text.pth").write_text("no pickle")
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    torch.save({"features.0.weight": "text"}, tmp_path / "values.pth")
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "folder.pth").mkdir()
    with (tmp_path / "huge.safetensors").open("wb") as file:
        os.truncate(file.fileno(), 2**31)  # takes no room on the disk
    for path in sorted({*tmp_path.glob("*.*"), tmp_path / "missing.pth", tmp_path / "missing.safetensors"} - {vgg19}):
        with pytest.raises(BadModel, match=path.name) as caught:
            load_features("vgg19", ["conv1_1"], path)
        assert "--vgg-weights" in caught.value.hint
        assert "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"features.2.bias": None}, "has no features.2.bias"),
        ({"features.2.bias": torch.zeros(65)}, "features.2.bias is (65,), not (64,)"),
        ({"features.0.weight": torch.full((64, 3, 3, 3), float("nan"))}, "not finite"),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3, dtype=torch.int32)}, "not finite numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(vgg19, tmp_path, changes, what):
    state = {name: tensor for name, tensor in (load_file(vgg19) | changes).items() if tensor is not None}
    save_file(state, tmp_path / "bad.safetensors")
    with pytest.raises(BadModel) as caught:
        load_features("vgg19", ["conv1_2"], tmp_path / "bad.safetensors")
    assert what in str(caught.value)


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("net", "file", "layers"),
    [
        ("vgg16", "vgg16_blocks12_lpips_lins", ["relu1_1", "relu1_2", "relu2_1", "relu2_2"]),
        ("vgg19-distilled", "vgg19_distilled16x_enc5", [f"relu{i}_1" for i in range(1, 6)]),
    ],
)
def test_real_features_move_away_as_a_picture_is_blurred(corpus, net, file, layers):
    import numpy as np
    from PIL import Image, ImageFilter

    features = load_features(net, layers, corpus / "weights" / f"{file}.safetensors")
    picture = Image.open(corpus / "benchmarks/Set5/baby.png").convert("RGB").crop((128, 128, 384, 384))
    blurred = [picture, *(picture.filter(ImageFilter.GaussianBlur(radius)) for radius in (1, 2, 4))]
    pictures = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) / 255 for p in blurred])
    for name, found in features(pictures).items():
        distances = [(x - found[0]).abs().mean().item() for x in found[1:]]
        assert 0 < distances[0] < distances[1] < distances[2], name
        assert 0.1 < (found[0] == 0).float().mean() < 0.8, name  # as sparse as trained nets are on natural pictures
