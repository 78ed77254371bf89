"""Scores of images: against another FFmpeg, between kinds of samples, and what sizes are compared."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from dagan_cli.comparison.stills import common_size, compare_stills, on_255, read_still
from dagan_cli.errors import BadInput
from dagan_cli.metrics.fidelity import bicubic, crop_to_multiple
from dagan_cli.metrics.lpips import Lpips
from tests.support.tiny import noise, picture


def scores(a: Path, b: Path, border: int = 0, judge: Lpips | None = None):
    return compare_stills(read_still(a), read_still(b), border, judge)


def saved(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, samples, photometric="rgb" if samples.ndim == 3 else "minisblack")
    else:
        Image.fromarray(samples).save(path)
    return path


def measured(name: str, a: Path, b: Path, form: str) -> str:
    """What FFmpeg's filter of that name says about two images in that pixel format."""
    graph = f"[0:v]format={form}[a];[1:v]format={form}[b];[a][b]{name}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", b, "-i", a, "-lavfi", graph, "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stderr


def photograph(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """A smooth picture with edges: uint8 (H, W, 3)."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def degraded(samples: np.ndarray, sigma: float = 5, seed: int = 1) -> np.ndarray:
    noisy = samples + np.random.default_rng(seed).normal(0, sigma, samples.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def test_psnr_over_rgb_is_that_of_another_ffmpeg(tmp_path):
    a = saved(tmp_path / "a.png", photograph())
    b = saved(tmp_path / "b.png", degraded(photograph()))
    (average,) = re.findall(r"PSNR .*average:([\d.]+)", measured("psnr", a, b, "gbrp"))
    assert scores(a, b)[0]["psnr_rgb"] == pytest.approx(float(average), abs=0.01)


def test_ssim_is_near_that_of_another_ffmpeg(tmp_path):
    """FFmpeg's SSIM is that of x264: means of 8x8 blocks at steps of 4, unweighted, on rounded luma. On this picture
    both agree to a few hundredths; a wrong constant or range is further off."""
    a = saved(tmp_path / "a.png", photograph())
    b = saved(tmp_path / "b.png", degraded(photograph()))
    (y,) = re.findall(r"SSIM Y:([\d.]+)", measured("ssim", a, b, "yuv444p"))
    assert scores(a, b)[0]["ssim_y"] == pytest.approx(float(y), abs=0.05)


def test_equal_images_are_equal_in_every_measure(tmp_path):
    a = picture(tmp_path / "a.png", (40, 30))
    found, size, notes = scores(a, a)
    assert found == {"psnr_y": float("inf"), "ssim_y": 1, "psnr_rgb": float("inf")}
    assert size == (40, 30)
    assert notes == ()


def test_16_bit_and_float_samples_are_compared_exactly_with_8_bit_ones(tmp_path):
    samples = photograph()
    plain = saved(tmp_path / "a.png", samples)
    deep = saved(tmp_path / "deep.tif", samples.astype(np.uint16) * 257)
    real = saved(tmp_path / "real.tif", samples.astype(np.float32) / 255)
    found, _, notes = scores(plain, deep)
    assert found["psnr_rgb"] == float("inf")
    assert "16-bit" in notes[0]
    found, _, notes = scores(plain, real)
    assert found["psnr_rgb"] is not None
    assert found["psnr_rgb"] > 130  # float32 has 24 bits
    assert "float" in notes[0]


def test_16_bit_samples_are_not_rounded():
    deep = np.array([0, 1, 128, 257, 65535], np.uint16)
    assert on_255(deep).tolist() == [0, 1 / 257, 128 / 257, 1, 255]


def test_grey_is_compared_as_the_colour_that_it_is_shown_in(tmp_path):
    samples = photograph()[..., 0]
    grey = saved(tmp_path / "grey.png", samples)
    colour = saved(tmp_path / "colour.png", samples[..., None].repeat(3, 2))
    assert scores(grey, colour)[0]["psnr_rgb"] == float("inf")
    assert scores(colour, grey)[0]["psnr_rgb"] == float("inf")


def test_colour_that_nobody_sees_does_not_count_and_other_opacity_is_said(tmp_path):
    samples = np.dstack([photograph(), np.full((96, 128), 255, np.uint8)])
    samples[:40, :40, 3] = 0
    other = samples.copy()
    other[:40, :40, :3] = 77
    a, b = saved(tmp_path / "a.png", samples), saved(tmp_path / "b.png", other)
    found, _, notes = scores(a, b)
    assert found["psnr_rgb"] == float("inf")
    assert "transparent" in notes[0]
    opaque = saved(tmp_path / "c.png", samples[..., :3])
    _, _, notes = scores(a, opaque)
    assert f"{255 * 1600 / (96 * 128):.2f} of 255" in notes[0]


def test_a_reference_that_is_no_number_somewhere_is_not_compared_there(tmp_path):
    samples = photograph().astype(np.float32) / 255
    broken = samples.copy()
    broken[3, 5, 0], broken[7, 9, 1] = np.nan, np.inf
    found, _, notes = scores(saved(tmp_path / "a.tif", broken), saved(tmp_path / "b.tif", samples))
    assert found["psnr_rgb"] == float("inf")
    assert any("2 in all" in note for note in notes)
    with pytest.raises(BadInput, match="no pixel"):
        scores(saved(tmp_path / "c.tif", np.full_like(samples, np.nan)), saved(tmp_path / "b.tif", samples))


@pytest.mark.parametrize(("value", "shown"), [(np.nan, 0), (np.inf, 255), (-np.inf, 0)])
def test_a_result_that_is_no_number_is_wrong_by_what_is_shown_of_it(value, shown, tmp_path):
    samples = np.full((32, 40, 3), 0.2, np.float32)
    broken = np.full_like(samples, value)
    found, _, notes = scores(saved(tmp_path / "a.tif", samples), saved(tmp_path / "b.tif", broken))
    assert found["psnr_rgb"] == pytest.approx(20 * np.log10(255 / abs(shown - 51)), abs=1e-4)
    assert any("1,280 in all" in note for note in notes)


@pytest.mark.parametrize("result", [(100, 75), (100, 74), (99, 75), (100, 72), (98, 70)])
def test_a_result_may_lack_what_no_multiple_of_a_scale_has(result):
    names = Path("a.png"), Path("b.png")
    assert common_size((100, 75), result, names) == result


@pytest.mark.parametrize("result", [(50, 37), (101, 75), (100, 73), (75, 100), (200, 150), (0, 0)])
def test_any_other_size_is_an_error_that_states_both(result):
    with pytest.raises(BadInput, match=r"{}x{}.* 100x75".format(*result)):
        common_size((100, 75), result, (Path("a.png"), Path("b.png")))


def test_a_cropped_result_is_compared_with_the_top_left_part(tmp_path):
    samples = photograph(75, 101)
    a, b = saved(tmp_path / "a.png", samples), saved(tmp_path / "b.png", samples[:72, :100])
    found, size, notes = scores(a, b)
    assert (size, found["psnr_y"]) == ((100, 72), float("inf"))
    assert "100x72" in notes[0]


def test_a_border_is_left_out_and_must_leave_something(tmp_path):
    samples = photograph()
    other = samples.copy()
    other[0] = 255 - other[0]
    a, b = saved(tmp_path / "a.png", samples), saved(tmp_path / "b.png", other)
    assert scores(a, b)[0]["psnr_y"] != float("inf")
    assert scores(a, b, border=1)[0]["psnr_y"] == float("inf")
    with pytest.raises(BadInput, match="border of 48"):
        scores(a, b, border=48)


def test_an_image_that_is_too_small_for_a_measure_lacks_only_that_one(tmp_path):
    a, b = picture(tmp_path / "a.png", (10, 10)), picture(tmp_path / "b.png", (10, 10), seed=1)
    found, _, notes = scores(a, b, judge=Lpips("alex"))
    assert found.keys() == {"psnr_y", "psnr_rgb"}
    assert [note.split()[0] for note in notes] == ["SSIM", "LPIPS"]


def test_the_first_of_several_frames_is_compared(tmp_path):
    frames = [Image.fromarray(noise(20, 20, 3, seed=seed)) for seed in (0, 1)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    still = saved(tmp_path / "b.png", noise(20, 20, 3))
    found, _, notes = scores(still, tmp_path / "a.webp")
    assert found["psnr_rgb"] == float("inf")
    assert "first of 2" in notes[0]


@pytest.mark.corpus
def test_lpips_of_baby_is_what_its_weights_are_known_to_give(corpus, tmp_path):
    """The values that are stated next to the weights: bicubic x2 0.137, bicubic x4 0.303, Gaussian blur of 3 0.419."""
    reference = next(corpus.rglob("Set5/baby.png"))
    judge = Lpips.load(next(corpus.rglob("lpips_alex.safetensors")))
    original = torch.from_numpy(np.array(Image.open(reference).convert("RGB"))).permute(2, 0, 1)[None].double()
    found = []
    for scale in (2, 4):
        hr = crop_to_multiple(original, scale)
        h, w = hr.shape[-2:]
        big = bicubic(bicubic(hr, h // scale, w // scale), h, w)
        samples = big[0].permute(1, 2, 0).numpy().round().astype(np.uint8)
        found.append(scores(reference, saved(tmp_path / f"{scale}.png", samples), judge=judge)[0]["lpips"])
    from PIL import ImageFilter

    blurred = Image.open(reference).convert("RGB").filter(ImageFilter.GaussianBlur(3))
    blurred.save(tmp_path / "blurred.png")
    found.append(scores(reference, tmp_path / "blurred.png", judge=judge)[0]["lpips"])
    assert found == pytest.approx([0.137, 0.303, 0.419], abs=0.005)


@pytest.mark.corpus
def test_every_odd_image_is_compared_with_itself_or_refused_in_words(corpus):
    files = sorted(next(corpus.rglob("odd-images")).iterdir())
    assert len(files) > 50
    equal = 0
    for file in files:
        try:
            found, _, _ = scores(file, file)
        except BadInput:
            continue
        assert found["psnr_rgb"] == float("inf"), file
        equal += 1
    assert equal > 40


@pytest.mark.slow
def test_images_of_8_bit_are_converted_by_bands_of_rows():
    """In a process of its own, whose peak is that of the comparison: less than the two images as they are stored."""
    code = """
import resource
import numpy as np
from pathlib import Path
from dagan_cli.comparison.stills import Still, compare_stills
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
still = lambda side: Still(Path("a"), np.zeros((side, side, 3), np.uint8) + 7, None, None, ())
compare_stills(still(500), still(500), 0, None)
a, b = still(4000), still(4000)
before = peak()
compare_stills(a, b, 0, None)
print((peak() - before) / (2 * a.colour.nbytes))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 1
