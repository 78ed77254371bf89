"""Training pairs are cut from whole pictures as the protocol scales them, and follow from (seed, step) alone."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dagan_cli.errors import NoInput
from dagan_cli.metrics.fidelity import bicubic
from tests.support.irregular import KINDS, at_once, irregular
from trainer.data import samples
from trainer.data.samples import Pictures, load_pictures, sample_batch, validation_pairs
from trainer.presets import preset


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def held(*pixels: np.ndarray) -> Pictures:
    return Pictures([f"{i}.png" for i in range(len(pixels))], list(pixels), [])


def batch_of(pictures: Pictures, **how: Any) -> tuple[Tensor, Tensor]:
    given: dict[str, Any] = {"scale": 2, "patch": 8, "batch": 4, "augment": False, "seed": 0, "step": 0}
    return sample_batch(pictures, **(given | how))


def levels(x: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [0, 1] -> (N, H, W, 3) whole values."""
    values = (x * 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(values - values.round()).max() < 1e-3
    return values.round().astype(np.uint8)


def places(picture: np.ndarray, crop: np.ndarray, grid: int) -> list[tuple[int, int]]:
    """Where the crop lies in the picture, at multiples of the grid."""
    (h, w), (ch, cw) = picture.shape[:2], crop.shape[:2]
    corners = [(y, x) for y in range(0, h - ch + 1, grid) for x in range(0, w - cw + 1, grid)]
    return [(y, x) for y, x in corners if np.array_equal(picture[y : y + ch, x : x + cw], crop)]


def test_a_batch_is_a_function_of_seed_and_step_alone():
    pictures = held(noise(50, 40), noise(48, 60, seed=1))
    first = batch_of(pictures, augment=True, seed=3, step=7)
    np.random.default_rng(0).random(5)
    torch.manual_seed(1)
    batch_of(pictures, augment=True, seed=3, step=8)
    again = batch_of(pictures, augment=True, seed=3, step=7)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in ({"seed": 4, "step": 7}, {"seed": 3, "step": 8}):
        assert not torch.equal(batch_of(pictures, augment=True, **other)[1], first[1])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_shapes_and_ranges_are_those_of_the_network(scale):
    lr, hr = batch_of(held(noise(90, 100)), scale=scale, patch=6, batch=3)
    assert lr.shape == (3, 3, 6, 6)
    assert hr.shape == (3, 3, 6 * scale, 6 * scale)
    assert lr.dtype == hr.dtype == torch.float32
    assert 0 <= hr.min() < 0.1
    assert 0.9 < hr.max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
def test_the_low_resolution_patch_is_cut_from_that_of_the_whole_picture(scale):
    picture = noise(scale * 40, scale * 44 + 1)  # a side that is no multiple of the scale
    cut = torch.from_numpy(picture[:, : scale * 44].copy()).permute(2, 0, 1)[None].double()
    whole = bicubic(cut, 40, 44)[0].permute(1, 2, 0).numpy()
    lr, hr = (levels(x) for x in batch_of(held(picture), scale=scale, batch=24))
    seen, different = set(), 0
    for small, large in zip(lr, hr, strict=True):
        ((y, x),) = places(picture, large, scale)
        expected = whole[y // scale : y // scale + 8, x // scale : x // scale + 8]
        difference = np.abs(small - expected)
        assert difference.max() <= 1  # single precision breaks ties of rounding the other way, now and then
        different += (difference > 0).sum()
        seen.add((y, x))
    assert different <= 0.002 * lr.size
    assert len(seen) > 10


@pytest.mark.slow
def test_augmentation_turns_and_mirrors_every_way_and_keeps_the_pair_aligned():
    picture = noise(40, 40)
    whole = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    small_whole = bicubic(whole, 20, 20)[0].permute(1, 2, 0).numpy()
    lr, hr = (levels(x) for x in batch_of(held(picture), batch=60, augment=True))
    ways = set()
    for small, large in zip(lr, hr, strict=True):
        for turns in range(4):
            for mirrored in (False, True):

                def undo(p: np.ndarray, turns: int = turns, mirrored: bool = mirrored) -> np.ndarray:
                    return np.rot90(p[:, ::-1] if mirrored else p, -turns)

                for y, x in places(picture, undo(large), 2):
                    ways.add((turns, mirrored))
                    expected = small_whole[y // 2 : y // 2 + 8, x // 2 : x // 2 + 8]
                    assert np.abs(undo(small).astype(int) - expected).max() <= 2  # rows and columns round in turn
    assert len(ways) == 8


def test_large_pictures_are_drawn_by_the_root_of_their_area():
    small, large = np.full((40, 40, 3), 50, np.uint8), np.full((120, 120, 3), 200, np.uint8)
    drawn = [batch_of(held(small, large), batch=50, step=s)[1][:, 0, 0, 0] for s in range(8)]
    share = (torch.cat(drawn) > 0.5).float().mean().item()
    assert share == pytest.approx(3 / 4, abs=0.07)  # sides of 1 : 3; by area it would be 9 / 10


def test_of_two_places_the_more_detailed_is_taken():
    picture = np.full((64, 400, 3), 128, np.uint8)
    picture[:, 200:] = noise(64, 200)
    hr = torch.cat([batch_of(held(picture), batch=50, step=s)[1] for s in range(4)])
    flat = (hr.std((1, 2, 3)) < 1e-6).float().mean().item()
    assert 0.1 < flat < 0.36  # a quarter; one place alone would be flat half the time


def test_pictures_are_read_from_folders_below_and_sorted(tmp_path):
    for name in ("b.png", "deep/er/a.jpg", "c.webp", "a.bmp"):
        write(tmp_path / name, noise(20, 24))
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = load_pictures([tmp_path], 16)
    assert pictures.names == ["a.bmp", "b.png", "c.webp", "a.jpg"]
    assert all(p.shape == (20, 24, 3) and p.dtype == np.uint8 for p in pictures.pixels)
    assert load_pictures([tmp_path / "deep", tmp_path / "b.png"], 16).names == ["a.jpg", "b.png"]


def test_grey_alpha_and_palettes_become_rgb(tmp_path):
    grey = noise(20, 20)[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(noise(20, 20)).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(np.dstack((noise(20, 20), grey))).save(tmp_path / "rgba.png")
    pictures = load_pictures([tmp_path], 16)
    assert [p.shape for p in pictures.pixels] == [(20, 20, 3)] * 3
    assert np.array_equal(pictures.pixels[0], grey[..., None].repeat(3, axis=2))


def test_unreadable_small_and_deep_pictures_are_listed_and_the_rest_used(tmp_path, caplog):
    write(tmp_path / "good.png", noise(30, 30))
    write(tmp_path / "small.png", noise(30, 15))
    whole = (tmp_path / "good.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(noise(30, 30)[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    with caplog.at_level(logging.WARNING):
        pictures = load_pictures([tmp_path], 16)
    assert pictures.names == ["good.png"]
    assert [Path(line.split(":")[0]).name for line in pictures.skipped] == [
        *("deep.png", "empty.jpg", "half.png", "small.png", "text.png")
    ]
    assert "smaller than 16 pixels" in pictures.skipped[3]
    assert len(caplog.records) == 5


def test_no_usable_picture_is_no_input(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NoInput, match=r"no usable image|there is no folder") as caught:
            load_pictures([folder], 16)
        assert caught.value.exit_code == 3
    write(tmp_path / "small.png", noise(8, 8))
    with pytest.raises(NoInput, match=r"1 skipped.*small\.png"):
        load_pictures([tmp_path], 16)


def test_the_fingerprint_tells_names_sizes_and_order_apart(tmp_path):
    a, b = noise(20, 30), noise(30, 20)
    prints = {
        Pictures(["a", "b"], [a, b], []).fingerprint,
        Pictures(["b", "a"], [a, b], []).fingerprint,
        Pictures(["a", "b"], [b, a], []).fingerprint,
        Pictures(["a"], [a], []).fingerprint,
    }
    assert len(prints) == 4
    assert Pictures(["a", "b"], [a, b], ["c: damaged"]).fingerprint in prints


def test_validation_pairs_are_the_centres_of_the_pictures_scaled_by_the_protocol():
    pixels = noise(41, 70)
    ((lr, hr),) = validation_pairs(held(pixels), 2, largest=32)
    assert (lr.shape, hr.shape) == ((1, 3, 16, 16), (1, 3, 32, 32))
    expected = pixels[4 : 4 + 32, 19 : 19 + 32]
    assert np.array_equal(hr[0].permute(1, 2, 0).numpy(), expected)
    assert torch.equal(lr.double(), bicubic(hr.double(), 16, 16))
    ((lr, hr),) = validation_pairs(held(pixels), 4)
    assert (lr.shape, hr.shape) == ((1, 3, 10, 17), (1, 3, 40, 68))
    assert np.array_equal(hr[0].permute(1, 2, 0).numpy(), pixels[:40, :68])  # as `dagan eval` and the papers crop


def test_degraded_patches_show_what_clean_ones_do_and_are_drawn_again_each_step(tmp_path):
    from PIL import Image

    small = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(small).resize((160, 160), Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    pictures = load_pictures([tmp_path], 64)
    choices = {"scale": 2, "patch": 16, "batch": 2, "augment": True, "seed": 3}
    lr, hr = sample_batch(pictures, **choices, step=0, degradation="mild")
    again, _ = sample_batch(pictures, **choices, step=0, degradation="mild")
    other, _ = sample_batch(pictures, **choices, step=1, degradation="mild")
    assert torch.equal(lr, again)
    assert not torch.equal(lr, other)
    assert (lr.shape, hr.shape) == ((2, 3, 16, 16), (2, 3, 32, 32))
    shrunk = torch.nn.functional.avg_pool2d(hr, 2)
    assert (lr - shrunk).abs().mean() < 0.5 * (lr - shrunk.flip(0)).abs().mean()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_among_the_images_is_left_out_and_never_waited_for(kind, tmp_path):
    irregular(tmp_path / "a.png", kind)
    write(tmp_path / "b.png", noise(20, 20))
    assert at_once(load_pictures, [tmp_path], 16).names == ["b.png"]
    assert "cannot be read" in at_once(samples._read, tmp_path / "a.png")


def test_a_file_larger_than_any_image_is_left_out(tmp_path):
    write(tmp_path / "a.ppm", noise(20, 20))
    write(tmp_path / "b.ppm", noise(20, 20))
    os.truncate(tmp_path / "a.ppm", samples.LARGEST + 1)  # sparse: it takes no room
    found = load_pictures([tmp_path], 16)
    assert found.names == ["b.ppm"]
    assert "too large" in found.skipped[0]


def test_uniform_sampling_takes_each_picture_once_an_epoch_in_a_new_order():
    pictures = held(*(np.full((40 + i, 60, 3), i, np.uint8) for i in range(7)))

    def images(step: int, **how: int) -> list[int]:
        return levels(batch_of(pictures, sampling="uniform", step=step, **how)[1])[:, 0, 0, 0].tolist()

    drawn = [image for step in range(7) for image in images(step)]
    epochs = [tuple(drawn[i : i + 7]) for i in range(0, 28, 7)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 4
    assert len(set(epochs)) == 4
    assert images(0, seed=1) != drawn[:4]


def test_the_kernel_of_pillow_sees_the_crop_alone_which_starts_anywhere():
    picture = noise(48, 60)
    tops = set()
    for step in range(6):
        lr, hr = (levels(x) for x in batch_of(held(picture), kernel="pil", sampling="uniform", step=step))
        for small, large in zip(lr, hr, strict=True):
            ((top, left),) = places(picture, large, 1)
            tops |= {top % 2, left % 2}
            found = Image.fromarray(large).resize((8, 8), Image.Resampling.BICUBIC)
            assert np.array_equal(small, np.array(found))
    assert tops == {0, 1}


def test_the_paper_s_presets_draw_as_its_baseline_does():
    for name in ("paper-x2", "paper-x4", "srgan-lt-x2"):
        config = preset(name)
        assert (config.sampling, config.kernel, config.augment) == ("uniform", "pil", False)
    assert (preset("edsr-baseline-x2").sampling, preset("psnr-x4").kernel) == ("detailed", "matlab")
