"""The Python API takes tensors, arrays and images of Pillow, and returns what it was given, enlarged."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from PIL import Image

import dagan_cli
from dagan_cli.errors import BadInput
from dagan_cli.model.checkpoint import save_model
from dagan_cli.model.generator import Generator
from dagan_cli.upscaler import Upscaler
from tests.conftest import TINY
from tests.support.tiny import noise


@pytest.fixture(scope="module")
def nearest() -> Upscaler:
    return Upscaler.load("nearest")


@pytest.fixture(scope="module")
def bicubic() -> Upscaler:
    return Upscaler.load("bicubic")


def doubled(pixels: np.ndarray) -> np.ndarray:
    """(H, W, ...) -> (2H, 2W, ...), each pixel four times."""
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


# --- tensors


def test_a_tensor_of_one_image_gives_one_image(nearest):
    frame = torch.rand(3, 5, 4)
    assert (nearest.upscale_to(frame, 2.0) == nearest.upscale_to(frame[None], 2.0)[0]).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_floats_keep_their_type_and_bytes_become_floats(nearest, dtype):
    assert nearest(torch.ones(3, 2, 2, dtype=dtype)).dtype == dtype
    assert (nearest(torch.full((3, 2, 2), 51, dtype=torch.uint8)) == 0.2).all()


@pytest.mark.filterwarnings("error")
def test_a_tensor_that_is_being_trained_is_taken_by_its_values(bicubic):
    frame = torch.rand(3, 5, 4, requires_grad=True)
    for big in (bicubic(frame), bicubic.upscale_to(frame, 2.0)):
        assert not big.requires_grad
    assert (bicubic(frame) == frame).all()


def test_no_images_give_no_images_of_the_right_size(bicubic):
    assert bicubic.upscale_to(torch.zeros(0, 3, 5, 4), 2.0).shape == (0, 3, 10, 8)


# --- arrays


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8"])
def test_an_array_gives_an_array_of_its_type(nearest, dtype, channels):
    pixels = noise(5, 4, channels, dtype="u1") if dtype[0] == "f" else noise(5, 4, channels, dtype=dtype)
    pixels = (pixels / 255).astype(dtype) if dtype[0] == "f" else pixels
    big = nearest.upscale_to(pixels, 2.0)
    assert isinstance(big, np.ndarray)
    assert (big.dtype, big.shape) == (pixels.dtype, (10, 8, channels))
    np.testing.assert_allclose(big, doubled(pixels), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_result_is_in_0_to_1_and_can_be_enlarged_again(bicubic, dtype):
    """An edge overshoots, where a tensor stays as the network made it."""
    edge = np.zeros((6, 8, 3), dtype)
    edge[:, 4:] = 1
    big = bicubic.upscale_to(edge, 2.0)
    assert (big.min(), big.max(), big.dtype) == (0, 1, edge.dtype)
    assert bicubic.upscale_to(big, 2.0).shape == (24, 32, 3)
    image = bicubic.upscale_to(Image.fromarray(edge[..., 0].astype("f4")), 2.0)
    assert image.getextrema() == (0, 1)
    assert bicubic.upscale_to(torch.from_numpy(edge).permute(2, 0, 1).contiguous(), 2.0).max() > 1


def test_an_array_without_an_axis_of_channels_is_grey(nearest):
    grey = noise(5, 4, 1)[..., 0]
    assert (nearest.upscale_to(grey, 2.0) == doubled(grey)).all()


def test_an_array_may_be_a_view_with_reversed_channels(nearest):
    pixels = noise(5, 4, 3)
    assert (nearest(pixels[..., ::-1]) == pixels[..., ::-1]).all()


# --- images of Pillow


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "F"])
def test_an_image_keeps_its_mode_and_its_samples(nearest, mode):
    samples = noise(5, 4, len(Image.new(mode, (1, 1)).getbands()), dtype="u2" if mode == "I;16" else "u1")
    samples = (samples / 255).astype(np.float32) if mode == "F" else samples
    image = Image.fromarray(samples.squeeze())
    big = nearest.upscale_to(image, 2.0)
    assert (big.mode, big.size) == (mode, (8, 10))
    assert (np.asarray(big) == doubled(np.asarray(image))).all()


@pytest.mark.parametrize(("mode", "becomes"), [("1", "L"), ("P", "RGB"), ("CMYK", "RGB"), ("YCbCr", "RGB")])
def test_a_mode_without_steps_between_its_values_becomes_one_with(bicubic, mode, becomes):
    image = Image.fromarray(noise(6, 6, 3)).convert(mode)
    big = bicubic(image)
    assert big.mode == becomes
    assert (np.asarray(big) == np.asarray(image.convert(becomes))).all()


def test_a_transparent_colour_of_a_palette_becomes_alpha(nearest):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.info |= {"transparency": 1, "dpi": (72, 72)}
    big = nearest.upscale_to(image, 2.0)
    assert big.mode == "RGBA"
    assert (np.asarray(big)[..., 3] == doubled(np.array([[255, 0], [0, 255]]))).all()
    assert big.info == {"dpi": (72, 72)}


def test_alpha_goes_through_the_network_as_for_files(tiny_model, cli, tmp_path):
    samples = noise(12, 10, 4)
    Image.fromarray(samples).save(tmp_path / "a.png")
    big = Upscaler.load(str(tiny_model), device="cpu", precision="fp32")(Image.open(tmp_path / "a.png"))
    ran = cli(tmp_path / "a.png", "-n", tiny_model, "-s", 2, "--device", "cpu", "--fp32")
    assert ran.code == 0
    assert (np.asarray(big) == np.asarray(Image.open(tmp_path / "a_x2.png"))).all()


# --- what is refused


@pytest.mark.parametrize(
    "image",
    [
        torch.full((3, 2, 2), 255.0),
        torch.full((1, 3, 2, 2), -0.1),
        np.full((2, 2, 3), 255.0),
        Image.new("F", (2, 2), 200.0),
    ],
    ids=["tensor", "below", "array", "image"],
)
def test_floats_beyond_0_to_1_are_refused_with_what_to_do(bicubic, image):
    for work in (bicubic, lambda x: bicubic.upscale_to(x, 2.0)):
        with pytest.raises(BadInput, match=r"must be in \[0, 1\]") as caught:
            work(image)
        assert "divide by 255" in caught.value.hint
        assert caught.value.hint in caught.value.__notes__[0]  # a traceback shows it


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_floats_that_are_not_finite_are_refused(bicubic, value):
    frames = torch.zeros(2, 3, 2, 2)
    frames[1, 2, 1, 1] = value
    for image in (frames, frames[1].permute(1, 2, 0).numpy()):
        with pytest.raises(BadInput, match="not finite"):
            bicubic(image)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.zeros(4, 4, 3), r"shape \(4, 4, 3\) is not \(3, H, W\)"),
        (torch.zeros(3, 4), "shape"),
        (torch.zeros(1, 3, 0, 4), "shape"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "int64"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\) is not \(H, W, 3\)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "shape"),
        (np.zeros((0, 8, 3), np.uint8), "shape"),
        (np.zeros((8, 8, 3), np.int64), "<i8"),
        (np.zeros((8, 8, 3), ">u2"), ">u2"),
        (Image.new("I", (2, 2)), "mode I: 32-bit"),
        ("photo.jpg", "type str"),
    ],
)
def test_anything_else_is_refused_by_its_shape_or_type(bicubic, image, said):
    with pytest.raises(BadInput, match=said):
        bicubic(image)


# --- documentation and defaults


@pytest.mark.slow
@pytest.mark.parametrize("owner", [dagan_cli, Upscaler], ids=["package", "class"])
def test_the_examples_of_the_docstrings_are_true(owner):
    (test,) = doctest.DocTestFinder(recurse=False).find(owner, "examples")
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert result.attempted >= 3
    assert result.failed == 0


def test_a_trained_model_runs_at_the_order_of_the_packaged_ones(tmp_path):
    """Both are validated and chosen at the lowest order, which is the fastest."""
    trained = tmp_path / "best.safetensors"
    trained.write_bytes(save_model(Generator(TINY), {}))
    assert TINY.default_order is None
    assert Upscaler.load(str(trained)).order == Upscaler.load("dagan-x2-psnr").order == 1
    assert Upscaler.load(str(trained), order=4).order == 4
