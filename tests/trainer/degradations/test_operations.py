"""Each single damage does what it says, keeps brightness and place, and does nothing at zero strength."""

from __future__ import annotations

from math import cos, pi, sin

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.metrics.fidelity import bicubic_weights
from tests.support.drawn import drawn
from trainer.degradations.blur import LARGEST, Blur, blurred, kernel
from trainer.degradations.noise import Noise, noisy
from trainer.degradations.resize import Kernel, resized, weights

BLURS = [
    Blur(kind="gaussian", sigma=(1.3, 1.3)),
    Blur(kind="gaussian", sigma=(3.0, 0.4), angle=0.6),
    Blur(kind="gaussian", sigma=(6.0, 6.0)),  # wider than the largest kernel
    Blur(kind="generalised", sigma=(2.0, 1.0), angle=2.0, shape=0.5),
    Blur(kind="generalised", sigma=(2.0, 1.0), angle=2.0, shape=4.0),
    Blur(kind="plateau", sigma=(1.0, 1.5), angle=1.0, shape=1.5),
    Blur(kind="sinc", cutoff=1.2),
    Blur(kind="sinc", cutoff=pi),
    Blur(kind="motion", length=7.0, angle=0.5),
    Blur(kind="motion", length=0.4, angle=2.5),
    Blur(kind="motion", length=50.0, angle=pi / 2),
]
NOTHING = [Blur(kind=kind) for kind in ("gaussian", "generalised", "plateau", "motion")]
NOTHING += [Blur(kind="sinc", cutoff=10.0), Blur(kind="gaussian", sigma=(0.05, 0.05))]
RATIOS = [(96, 24), (96, 48), (100, 71), (60, 41), (48, 48), (40, 57), (40, 80)]
KERNELS: tuple[Kernel, ...] = ("area", "bilinear", "bicubic")


def named(blur: Blur) -> str:
    return f"{blur.kind}-{blur.sigma}-{blur.shape}-{blur.length}-{blur.cutoff:.1f}"


def covariance(k: Tensor) -> np.ndarray:
    """Of a kernel taken as a distribution over (x, y)."""
    radius = k.shape[0] // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.cov(np.stack([x.ravel(), y.ravel()]), aweights=k.numpy().ravel(), ddof=0)


def turned(along: float, across: float, angle: float) -> np.ndarray:
    """The covariance of variances along and across a direction."""
    turn = np.array([[cos(angle), -sin(angle)], [sin(angle), cos(angle)]])
    return turn @ np.diag([along, across]) @ turn.T


def centre_of_mass(x: Tensor) -> np.ndarray:
    """(y, x) of a picture (1, 1, h, w) as parts of its height and width."""
    h, w = x.shape[-2:]
    p = x[0, 0].double().numpy()
    return (
        np.array([(p.sum(1) * (np.arange(h) + 0.5)).sum() / h, (p.sum(0) * (np.arange(w) + 0.5)).sum() / w]) / p.sum()
    )


@pytest.mark.parametrize("blur", BLURS, ids=named)
def test_a_kernel_sums_to_one_and_is_the_same_from_either_side(blur):
    k = kernel(blur)
    side = k.shape[0]
    assert k.shape == (side, side)
    assert side % 2 == 1
    assert side <= 2 * LARGEST + 1
    assert k.sum().item() == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(k, k.flip(0, 1), atol=1e-15, rtol=0)


@pytest.mark.parametrize("blur", NOTHING, ids=named)
def test_at_zero_strength_a_kernel_is_the_identity(blur):
    picture = drawn(0, 32)[None]
    torch.testing.assert_close(blurred(picture, blur), picture, atol=1e-6, rtol=0)


def test_a_gaussian_has_its_deviations_along_its_axes():
    measured = covariance(kernel(Blur(kind="gaussian", sigma=(2.5, 1.2), angle=0.6)))
    np.testing.assert_allclose(measured, turned(2.5**2, 1.2**2, 0.6), rtol=0.03)
    flat = covariance(kernel(Blur(kind="generalised", sigma=(2.5, 2.5), shape=4.0)))
    peaked = covariance(kernel(Blur(kind="generalised", sigma=(1.0, 1.0), shape=0.5)))
    assert flat[0, 0] < 2.5**2 < 10 * peaked[0, 0]


def test_motion_smears_by_its_length_in_its_direction():
    length = 9.0
    measured = covariance(kernel(Blur(kind="motion", length=length, angle=0.5)))
    line = turned(length**2 / 12, 0, 0.5)  # of a uniform distribution
    assert np.abs(measured - line).max() < 0.5  # sharing a point among pixels widens it by at most 1/4 on each axis


@pytest.mark.slow
def test_a_sinc_passes_what_is_below_its_cutoff_and_stops_what_is_above():
    response = torch.fft.rfft2(kernel(Blur(kind="sinc", cutoff=pi / 2)), s=(128, 128)).abs()
    assert response[0, :26].min() > 0.8  # 0 to 0.4 pi
    assert response[0, 39:].max() < 0.2  # from 0.6 pi
    assert response[26, 26:].max() < 0.4  # the cutoff is a circle


@pytest.mark.parametrize("blur", [BLURS[1], BLURS[2]], ids=named)
def test_blurring_is_convolution_over_mirrored_edges(blur):
    picture = drawn(1, 24)
    k = kernel(blur).numpy()
    radius = k.shape[0] // 2
    padded = np.pad(picture.double().numpy(), ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, k.shape, axis=(1, 2))
    expected = np.einsum("cyxij,ij->cyx", windows, k)
    np.testing.assert_allclose(blurred(picture[None], blur)[0].numpy(), expected, atol=5e-6)


@pytest.mark.parametrize(("length", "out"), RATIOS)
@pytest.mark.parametrize("name", KERNELS)
def test_resizing_keeps_brightness_and_every_place(name, length, out):
    matrix = weights(length, out, name)
    torch.testing.assert_close(matrix.sum(1), torch.ones(out, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(matrix, matrix.flip(0, 1), atol=1e-12, rtol=0)  # the mirrored picture, mirrored
    ramp = matrix @ torch.arange(length, dtype=torch.float64)
    centres = (np.arange(out) + 0.5) * length / out - 0.5  # of MATLAB's imresize
    inner = slice(out // 6, out - out // 6)
    wrong = ramp.numpy()[inner] - centres[inner]
    assert abs(wrong.mean()) < 1e-9
    at_most = {"bicubic": 0.03, "bilinear": 0.05, "area": 0.1 if length >= out else 0.5}[name]  # taps are whole pixels
    assert np.abs(wrong).max() < at_most


@pytest.mark.parametrize(("length", "out"), RATIOS)
@pytest.mark.parametrize("name", KERNELS)
def test_resizing_keeps_the_centre_of_mass(name, length, out):
    y, x = torch.meshgrid(*[torch.arange(length, dtype=torch.float64)] * 2, indexing="ij")
    spot = torch.exp(-((y - 0.42 * length) ** 2 + (x - 0.57 * length) ** 2) / (2 * 4**2))[None, None]
    moved = (centre_of_mass(resized(spot, out, out, name)) - centre_of_mass(spot)) * out  # output pixels
    assert np.abs(moved).max() < 0.01


def test_resizing_is_what_others_do():
    picture = drawn(2, 60)[None].double()
    halves = picture.unflatten(2, (20, 3)).unflatten(4, (20, 3)).mean((3, 5))
    torch.testing.assert_close(resized(picture, 20, 20, "area"), halves)
    kept = {"mode": "bilinear", "align_corners": False}
    larger, smaller = F.interpolate(picture, (77, 90), **kept), F.interpolate(picture, (41, 25), antialias=True, **kept)
    torch.testing.assert_close(resized(picture, 77, 90, "bilinear"), larger)
    inner = slice(4, -4)  # beyond its edges the other way takes the rest of the kernel only
    mine = resized(picture, 41, 25, "bilinear")
    torch.testing.assert_close(mine[..., inner, inner], smaller[..., inner, inner])
    expected = bicubic_weights(60, 25) @ picture @ bicubic_weights(60, 41).T
    torch.testing.assert_close(resized(picture, 25, 41, "bicubic"), expected)
    for name in KERNELS:
        assert torch.equal(resized(picture, 60, 60, name), picture)


def test_gaussian_noise_has_its_deviation_in_each_channel_or_the_same_in_all():
    grey = torch.full((2, 3, 150, 150), 0.5)
    coloured = noisy(grey, Noise(kind="gaussian", deviation=8.0), np.random.default_rng(0)) - 0.5
    assert coloured.std().item() * 255 == pytest.approx(8, rel=0.01)
    assert abs(coloured.mean().item()) * 255 < 0.1
    correlation = np.corrcoef(coloured.transpose(0, 1).reshape(3, -1).numpy())
    assert np.abs(correlation - np.eye(3)).max() < 0.03
    assert abs(np.corrcoef(coloured[0].ravel(), coloured[1].ravel())[0, 1]) < 0.03  # frames differ
    one = noisy(grey, Noise(kind="gaussian", deviation=8.0, grey=True), np.random.default_rng(0)) - 0.5
    assert one.std().item() * 255 == pytest.approx(8, rel=0.02)
    torch.testing.assert_close(one[:, :1].expand(-1, 3, -1, -1), one)


@pytest.mark.parametrize("value", [0.1, 0.5, 1.0])
def test_poisson_noise_has_the_moments_of_counting_photons(value):
    deviation = 20.0
    photons = (255 / deviation) ** 2  # that white has
    counted = np.random.default_rng(1).poisson(value * photons, 400_000) / photons - value
    made = noisy(
        torch.full((1, 3, 300, 450), value), Noise(kind="poisson", deviation=deviation), np.random.default_rng(0)
    )
    made = made.double().numpy().ravel() - value
    assert made.std() == pytest.approx(deviation / 255 * value**0.5, rel=0.02)
    assert made.std() == pytest.approx(counted.std(), rel=0.02)
    assert abs(made.mean()) * 255 < 0.15
    skewness, of_counts = ((n**3).mean() / n.std() ** 3 for n in (made, counted))
    assert skewness == pytest.approx(of_counts, abs=0.03)


def test_grey_poisson_noise_follows_the_brightness():
    picture = torch.tensor([0.2, 0.4, 0.9])[None, :, None, None].expand(1, 3, 200, 200)
    made = noisy(picture, Noise(kind="poisson", deviation=10.0, grey=True), np.random.default_rng(0)) - picture
    torch.testing.assert_close(made[:, :1].expand(-1, 3, -1, -1), made, atol=1e-6, rtol=0)
    assert made.std().item() * 255 == pytest.approx(10 * 0.5**0.5, rel=0.02)


@pytest.mark.parametrize("kind", ["gaussian", "poisson"])
def test_noise_without_deviation_is_none(kind):
    picture = drawn(3, 16)[None]
    assert torch.equal(noisy(picture, Noise(kind=kind, deviation=0.0), np.random.default_rng(0)), picture)
