"""LPIPS: its definition written out in float64, its properties, and published weights on a well-known picture."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from dagan_cli.errors import BadModel
from dagan_cli.metrics.fidelity import bicubic
from dagan_cli.metrics.lpips import Lpips

NETS: tuple[Literal["alex", "squeeze"], ...] = ("alex", "squeeze")
ALEX = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
FIRES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
FIRES |= {9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
HEADS = {"alex": (64, 192, 384, 256, 256), "squeeze": (64, 128, 256, 384, 384, 512, 512)}


def random_weights(net: str) -> dict[str, Tensor]:
    """Named and shaped as in the published files."""
    shapes: dict[str, tuple[int, ...]] = {}
    if net == "alex":
        shapes = {f"features.{i}": shape for i, shape in ALEX.items()}
    else:
        shapes["features.0"] = (64, 3, 3, 3)
        for i, (width, squeezed, expanded) in FIRES.items():
            shapes[f"features.{i}.squeeze"] = (squeezed, width, 1, 1)
            shapes[f"features.{i}.expand1x1"] = (expanded, squeezed, 1, 1)
            shapes[f"features.{i}.expand3x3"] = (expanded, squeezed, 3, 3)
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5
        weights[f"{name}.bias"] = torch.randn(shape[0]) * 0.1
    return weights | {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1) for i, n in enumerate(HEADS[net])}


@pytest.fixture(scope="module", params=NETS)
def file(request, tmp_path_factory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("lpips") / f"{request.param}.safetensors"
    save_file(random_weights(request.param), path)
    return path


def by_hand(path: Path, a: Tensor, b: Tensor) -> np.ndarray:
    """Slices, unit length, squared difference, heads, mean, sum: as the paper's figure has it, in float64."""
    weights = {name: tensor.double() for name, tensor in load_file(path).items()}
    net = path.stem.removeprefix("lpips_")
    taps = [(alex if net == "alex" else squeeze)(weights, x.double()) for x in (a, b)]
    total = np.zeros(len(a))
    for i, (x, y) in enumerate(zip(*taps, strict=True)):
        x, y = (f.numpy() / (np.sqrt((f.numpy() ** 2).sum(1, keepdims=True)) + 1e-10) for f in (x, y))
        head = weights[f"lin{i}.model.1.weight"].numpy().reshape(-1)
        total += np.einsum("c,nchw->nhw", head, (x - y) ** 2).mean((1, 2))
    return total


def scaled(x: Tensor) -> Tensor:
    """From [0, 1] by ImageNet's mean and deviation, which is what LPIPS's shift and scale of [-1, 1] amount to."""
    mean, deviation = (
        torch.tensor(v).double().view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (x - mean) / deviation


def alex(w: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    def conv(x: Tensor, i: int, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, w[f"features.{i}.weight"], w[f"features.{i}.bias"], stride, padding).clamp(min=0)

    f1 = conv(scaled(x), 0, 4, 2)
    f2 = conv(F.max_pool2d(f1, 3, 2), 3, 1, 2)
    f3 = conv(F.max_pool2d(f2, 3, 2), 6, 1, 1)
    f4 = conv(f3, 8, 1, 1)
    return [f1, f2, f3, f4, conv(f4, 10, 1, 1)]


def squeeze(w: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    def conv(x: Tensor, name: str, padding: int = 0, stride: int = 1) -> Tensor:
        return F.conv2d(x, w[f"features.{name}.weight"], w[f"features.{name}.bias"], stride, padding).clamp(min=0)

    def fire(x: Tensor, i: int) -> Tensor:
        x = conv(x, f"{i}.squeeze")
        return torch.cat([conv(x, f"{i}.expand1x1"), conv(x, f"{i}.expand3x3", 1)], 1)

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    f1 = conv(scaled(x), "0", stride=2)
    f2 = fire(fire(pool(f1), 3), 4)
    f3 = fire(fire(pool(f2), 6), 7)
    f4 = fire(pool(f3), 9)
    f5 = fire(f4, 10)
    f6 = fire(f5, 11)
    return [f1, f2, f3, f4, f5, f6, fire(f6, 12)]


@pytest.mark.parametrize("size", [(48, 64), (61, 47)])
def test_it_is_the_papers_definition(file, size):
    a, b = torch.rand(2, 2, 3, *size)
    found = Lpips.load(file)(a, b)
    assert found.shape == (2,)
    np.testing.assert_allclose(found.numpy(), by_hand(file, a, b), rtol=1e-4)


def test_the_network_is_told_by_the_file(file):
    assert Lpips.load(file).net == file.stem


def test_it_is_a_distance_of_each_pair_by_itself(file):
    lpips = Lpips.load(file)
    a, b = torch.rand(2, 2, 3, 40, 40)
    assert (lpips(a, a) == 0).all()
    assert (lpips(a, b) > 0).all()
    torch.testing.assert_close(lpips(a, b), lpips(b, a))
    torch.testing.assert_close(lpips(a, b), torch.cat([lpips(a[:1], b[:1]), lpips(a[1:], b[1:])]))


def test_autocast_and_half_precision_pictures_change_nothing(file):
    lpips = Lpips.load(file)
    a, b = torch.rand(2, 1, 3, 40, 40).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = lpips(a, b)
    assert found.dtype == torch.float32
    assert torch.equal(found, lpips(a.float(), b.float()))


@pytest.mark.slow
def test_gradients_reach_the_picture_and_are_finite_where_features_are_all_zero(file):
    lpips = Lpips.load(file)
    first = lpips.features[0]
    assert isinstance(first, torch.nn.Conv2d)
    assert first.bias is not None
    first.bias.fill_(-1e3)  # now nothing passes the first ReLU
    a, b = torch.rand(1, 3, 40, 40).requires_grad_(), torch.rand(1, 3, 40, 40)
    lpips(a, b).sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()
    first.bias.zero_()
    lpips(a, b).sum().backward()
    assert a.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in lpips.parameters())


@pytest.mark.parametrize("net", NETS)
def test_the_smallest_picture_is_the_documented_one(net):
    pictures = torch.rand(1, 3, 31, 31)
    assert Lpips(net)(pictures, pictures).item() == 0


def test_a_file_of_another_kind_is_refused(file, tmp_path):
    state = load_file(file)
    save_file({"conv0.weight": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    save_file({k: v for k, v in state.items() if not k.startswith("lin")}, tmp_path / "headless.safetensors")
    save_file({k: v for k, v in state.items() if k != "lin3.model.1.weight"}, tmp_path / "three.safetensors")
    save_file(state | {"features.0.bias": torch.zeros(63)}, tmp_path / "shape.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    for path in (*sorted(tmp_path.iterdir()), tmp_path / "missing.safetensors"):
        with pytest.raises(BadModel, match=path.name) as caught:
            Lpips.load(path)
        assert "lpips_alex.safetensors" in caught.value.hint


@pytest.mark.corpus
@pytest.mark.parametrize(("net", "expected"), [("alex", (0.137, 0.303, 0.419)), ("squeeze", (0.076, 0.210, 0.352))])
def test_real_weights_give_the_known_distances_on_set5_baby(corpus, net, expected):
    """The weights reproduce the authors' own example values; these are the same files' on a picture at hand."""
    from PIL import Image, ImageFilter

    file = corpus / "weights" / f"lpips_{net}.safetensors"
    lpips = Lpips.load(file)
    picture = Image.open(corpus / "benchmarks/Set5/baby.png").convert("RGB")

    def tensor(picture: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float()

    real = tensor(picture)
    h, w = real.shape[-2:]
    fakes = [bicubic(bicubic(real.double(), h // s, w // s), h, w).float() for s in (2, 4)]
    fakes.append(tensor(picture.filter(ImageFilter.GaussianBlur(3))))
    found = [lpips(fake / 255, real / 255).item() for fake in fakes]
    assert found == pytest.approx(expected, abs=0.002)
    assert found == sorted(found)
    np.testing.assert_allclose(found[:1], by_hand(file, fakes[0] / 255, real / 255), rtol=1e-4)
