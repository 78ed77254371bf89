import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.engine.resample import Resize, resample, scaled_size
from dagan_cli.errors import BadOption

SIZES = [(53, 37), (106, 74), (91, 61), (20, 15), (53, 80), (10, 74), (1, 1), (300, 2)]


def oracle(x: np.ndarray, size: tuple[int, int], kernel: str) -> np.ndarray:
    """The plain slow way, in float64: every output pixel as a weighted mean over every input pixel."""
    curves = {
        "bicubic": (2, lambda t: np.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)),
        "lanczos": (3, lambda t: np.sinc(t) * np.sinc(t / 3)),
    }
    support, curve = curves[kernel]

    def matrix(n_in: int, n_out: int) -> np.ndarray:
        ratio = n_in / n_out
        place = (np.arange(n_out)[:, None] + 0.5) * ratio - 0.5
        t = np.abs(np.arange(n_in)[None] - place) / max(1, ratio)
        m = np.where(t < support, curve(t), 0)
        return m / m.sum(axis=1, keepdims=True)

    return matrix(x.shape[0], size[1]) @ x.astype(np.float64) @ matrix(x.shape[1], size[0]).T


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
@pytest.mark.parametrize("size", SIZES)
def test_resampling_equals_the_plain_slow_way_and_pillow(size, kernel):
    x = torch.rand(1, 1, 37, 53)
    got = resample(x, size, kernel)[0, 0].numpy()
    np.testing.assert_allclose(got, oracle(x[0, 0].numpy(), size, kernel), atol=2e-6)
    pillow = Image.fromarray(x[0, 0].numpy()).resize(size, Image.Resampling[kernel.upper()])
    np.testing.assert_allclose(got, np.asarray(pillow), atol=2e-6)


def test_pictures_wider_and_higher_than_a_block_are_resampled_without_a_seam():
    x = torch.rand(2, 3, 150, 310)
    for size in ((401, 333), (155, 75)):
        got = resample(x, size, "lanczos")
        np.testing.assert_allclose(got[1, 2].numpy(), oracle(x[1, 2].numpy(), size, "lanczos"), atol=2e-6)


@pytest.mark.parametrize("kernel", ["nearest", "bicubic", "lanczos"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_same_size_is_the_same_picture(kernel, dtype):
    x = torch.rand(1, 3, 9, 14).to(dtype)
    assert torch.equal(resample(x, (14, 9), kernel), x)


@pytest.mark.parametrize("kernel", ["nearest", "bicubic", "lanczos"])
def test_a_flat_picture_stays_flat(kernel):
    x = torch.full((1, 3, 7, 5), 0.3)
    torch.testing.assert_close(resample(x, (13, 6), kernel), torch.full((1, 3, 6, 13), 0.3), atol=1e-6, rtol=0)


def test_one_side_can_keep_its_length_across_blocks():
    x = torch.rand(1, 1, 300, 40)
    np.testing.assert_allclose(resample(x, (80, 300))[0, 0], oracle(x[0, 0].numpy(), (80, 300), "bicubic"), atol=2e-6)


def test_nearest_repeats_pixels_exactly():
    x = torch.rand(1, 3, 5, 4)
    assert torch.equal(resample(x, (12, 15), "nearest"), x.repeat_interleave(3, 2).repeat_interleave(3, 3))


def test_the_result_can_be_written_to_a_given_tensor():
    x, out = torch.rand(1, 3, 20, 20), torch.zeros(1, 3, 31, 33)
    assert resample(x, (33, 31), out=out) is out
    assert torch.equal(out, resample(x, (33, 31)))


@pytest.mark.parametrize("kernel", ["nearest", "bicubic", "lanczos"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_baseline_stands_in_for_a_network(kernel, scale):
    network = Resize(kernel, scale)
    x = torch.rand(2, 3, 11, 6)
    assert network.scale == scale
    assert torch.equal(network(x), resample(x, (6 * scale, 11 * scale), kernel))


@pytest.mark.parametrize(
    ("target", "size"),
    [
        (1, (7, 5)),
        (2.5, (18, 13)),
        (0.5, (4, 3)),
        (0.01, (1, 1)),
        ((30, 20), (30, 20)),
        (1.0, (7, 5)),
        (np.float32(2), (14, 10)),
        ([np.int64(9), 8], (9, 8)),
    ],
)
def test_the_final_size_follows_from_a_factor_or_is_given(target, size):
    assert scaled_size(7, 5, target) == size


@pytest.mark.parametrize(
    "target", [0, -1, float("nan"), float("inf"), (0, 5), (5, -1), (60,), (1, 2, 3), (60.5, 40), (True, 4), True, "4k"]
)
def test_a_target_that_makes_no_picture_is_refused(target):
    with pytest.raises(BadOption):
        scaled_size(7, 5, target)


def test_an_unknown_baseline_is_refused():
    with pytest.raises(BadOption, match="bilinear"):
        Resize("bilinear", 2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadOption):
        Resize("nearest", 0)
