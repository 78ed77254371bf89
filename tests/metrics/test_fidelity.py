"""The measuring rules against independent ones: the kernel's definition, scikit-image, published values."""

from __future__ import annotations

from math import floor, log10
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dagan_cli.metrics.fidelity import bicubic, bicubic_weights, crop_to_multiple, luma, psnr_rgb, psnr_y, ssim, ssim_y


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """(1, 3, H, W) whole values in [0, 255]."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (1, 3, height, width))).double()


def kernel(x: float) -> float:
    """Keys' cubic with a = -1/2."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def slow_weights(length: int, out: int) -> np.ndarray:
    """Weight by weight: the kernel stretched by the reduction, centred on each output pixel, edges mirrored."""
    weights, stretch = np.zeros((out, length)), max(1.0, length / out)
    for i in range(out):
        centre = (i + 0.5) * length / out - 0.5  # of output pixel i, in input pixels from 0
        for j in range(floor(centre - 2 * stretch), floor(centre + 2 * stretch) + 2):
            inside = j
            while not 0 <= inside < length:  # ... c b a | a b c | c b a ...
                inside = -1 - inside if inside < 0 else 2 * length - 1 - inside
            weights[i, inside] += kernel((centre - j) / stretch)
        weights[i] /= weights[i].sum()
    return weights


@pytest.mark.parametrize(
    ("length", "out"), [(24, 12), (24, 8), (24, 6), (32, 4), (12, 24), (7, 28), (5, 5), (3, 1), (2, 1), (1, 4), (10, 7)]
)
def test_the_weights_are_those_of_the_definition(length, out):
    assert np.abs(bicubic_weights(length, out).numpy() - slow_weights(length, out)).max() < 1e-12


def test_the_weights_sum_to_one_and_are_the_same_read_from_both_ends():
    weights = bicubic_weights(40, 10)
    torch.testing.assert_close(weights.sum(1), torch.ones(10, dtype=torch.float64))
    torch.testing.assert_close(weights, weights.flip(0, 1))


def test_a_picture_is_mirrored_at_its_edges():
    x = picture(16, 16)
    mirrored = torch.cat((x.flip(3), x, x.flip(3)), dim=3)
    mirrored = torch.cat((mirrored.flip(2), mirrored, mirrored.flip(2)), dim=2)
    assert torch.equal(bicubic(x, 8, 8), bicubic(mirrored, 24, 24)[..., 8:16, 8:16])


def test_columns_are_resized_and_rounded_before_rows():
    x = picture(12, 9)
    down = np.floor(slow_weights(12, 4) @ x.numpy() + 0.5).clip(0, 255)
    both = np.floor(down @ slow_weights(9, 3).T + 0.5).clip(0, 255)
    assert np.array_equal(bicubic(x, 4, 3).numpy(), both)
    unrounded = np.floor(slow_weights(12, 4) @ x.numpy() @ slow_weights(9, 3).T + 0.5)
    assert not np.array_equal(both, unrounded)


def test_a_flat_picture_stays_flat_and_a_resize_to_the_same_size_changes_nothing():
    assert (bicubic(torch.full((1, 3, 12, 12), 77.0), 6, 3) == 77).all()
    x = picture(9, 6)
    assert torch.equal(bicubic(x, 9, 6), x)


def test_luma_is_studio_range_and_not_rounded():
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]])
    y = luma(colours.double().T.reshape(1, 3, 1, 6))
    expected = [16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966, 16 + (654.81 + 2571.06 + 748.98) / 255]
    assert y.shape == (1, 1, 1, 6)
    assert y.flatten().tolist() == pytest.approx(expected)


def test_psnr_is_that_of_the_hand():
    hr = picture(20, 20).clamp(max=250)
    off_by_two = 2 * (65.481 + 128.553 + 24.966) / 255
    assert psnr_y(hr + 2, hr, 2) == pytest.approx(20 * log10(255 / off_by_two))
    one_pixel = hr.clone()
    one_pixel[0, 1, 10, 10] += 5
    assert psnr_y(one_pixel, hr, 2) == pytest.approx(10 * log10(255**2 * 256 / (5 * 128.553 / 255) ** 2))
    assert psnr_y(hr, hr, 2) == float("inf")


def test_the_border_is_left_out_on_every_side_and_nothing_more():
    hr = picture(30, 40)
    for border in (0, 2, 4):
        for y, x in ((border - 1, 20), (30 - border, 20), (15, border - 1), (15, 40 - border)):
            if border:
                outside = hr.clone()
                outside[..., y, x] = 255 - outside[..., y, x]
                assert psnr_y(outside, hr, border) == float("inf")
                assert ssim_y(outside, hr, border) == pytest.approx(1)
        for y, x in ((border, 20), (29 - border, 20), (15, border), (15, 39 - border)):
            inside = hr.clone()
            inside[..., y, x] = 255 - inside[..., y, x]
            assert psnr_y(inside, hr, border) < 60
            assert ssim_y(inside, hr, border) < 1 - 1e-9


def test_ssim_equals_a_loop_over_windows():
    a, b = picture(15, 17), picture(15, 17, seed=1) * 0.2 + picture(15, 17) * 0.8
    ya, yb = (luma(x).numpy()[0, 0][1:-1, 1:-1] for x in (a, b))
    g = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(g, g) / g.sum() ** 2
    scores = []
    for i in range(13 - 10):
        for j in range(15 - 10):
            p, q = ya[i : i + 11, j : j + 11], yb[i : i + 11, j : j + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            both = (window * (p - mp) * (q - mq)).sum()
            c1, c2 = 6.5025, 58.5225
            scores.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert ssim_y(a, b, 1) == pytest.approx(np.mean(scores), abs=1e-12)


def test_ssim_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    a, b = picture(40, 50), (picture(40, 50) * 0.9 + picture(40, 50, seed=1) * 0.1).round()
    ya, yb = (luma(x).numpy()[0, 0][2:-2, 2:-2] for x in (a, b))
    theirs = metrics.structural_similarity(
        ya, yb, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim_y(a, b, 2) == pytest.approx(theirs, abs=1e-9)


def test_sides_are_cut_at_the_bottom_and_right_to_multiples_of_the_scale():
    x = picture(11, 14)
    assert torch.equal(crop_to_multiple(x, 4), x[..., :8, :12])
    assert torch.equal(crop_to_multiple(x, 1), x)


def read(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].double()


@pytest.mark.parametrize(("scale", "psnr", "ssim"), [(2, 33.67, 0.9299), (4, 28.43, 0.8104)])
def test_bicubic_reaches_its_published_scores_on_set5(scale, psnr, ssim, corpus):
    scores = []
    for path in sorted((corpus / "benchmarks" / "Set5").glob("*.png")):
        hr = crop_to_multiple(read(path), scale)
        h, w = hr.shape[-2:]
        sr = bicubic(bicubic(hr, h // scale, w // scale), h, w)
        scores.append((psnr_y(sr, hr, scale), ssim_y(sr, hr, scale)))
    assert len(scores) == 5
    assert np.mean(scores, axis=0) == pytest.approx([psnr, ssim], abs=0.005)


def gaussian_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM written out window by window, in float64 (Wang et al., 2004)."""
    taps = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    weights = np.outer(taps, taps) / taps.sum() ** 2
    x, y = (np.lib.stride_tricks.sliding_window_view(each.astype(np.float64), (11, 11)) for each in (a, b))

    def means(windows: np.ndarray) -> np.ndarray:
        return (windows * weights).sum((2, 3))

    mx, my = means(x), means(y)
    vx, vy = (means((windows - m[..., None, None]) ** 2) for windows, m in ((x, mx), (y, my)))
    cov = means((x - mx[..., None, None]) * (y - my[..., None, None]))
    c1, c2 = 6.5025, 58.5225
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("level", [20, 128, 230])
def test_ssim_is_what_its_definition_gives_also_for_bright_and_flat_planes(kind, tolerance, level):
    a = level + 3 * torch.randn(40, 52, dtype=torch.float64)
    b = a + torch.randn_like(a)
    found = ssim(*(each.to(kind)[None, None] for each in (a, b)))
    assert found == pytest.approx(gaussian_ssim(a.numpy(), b.numpy()), abs=tolerance)


def test_ssim_is_the_same_in_bands_of_any_height(monkeypatch):
    a, b = (picture(40, 30, seed)[:, :1] for seed in (0, 1))
    whole = ssim(a, b)
    for samples in (1, 70, 20 * 29):
        monkeypatch.setattr("dagan_cli.metrics.fidelity._BAND", samples)
        assert ssim(a, b) == pytest.approx(whole, abs=1e-12)


def test_psnr_over_rgb_is_that_of_all_samples_together_within_the_border():
    a, b = (picture(20, 30, seed) for seed in (0, 1))
    inner = (a - b).numpy()[..., 4:-4, 4:-4]
    assert psnr_rgb(a, b, 4) == pytest.approx(10 * np.log10(255**2 / (inner**2).mean()), abs=1e-9)
    assert psnr_rgb(a, a, 0) == float("inf")
