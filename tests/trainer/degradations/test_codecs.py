"""Codecs damage a sample as files and films are damaged: really compressed, in place, and the same every time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dagan_cli.errors import DaganError
from tests.support.drawn import drawn, psnr
from trainer.degradations import FIXED, degrade_fixed, fixed
from trainer.degradations.chroma import Siting, from_planes, to_planes
from trainer.degradations.recipe import draw_recipe
from trainer.degradations.still import Still, through_still
from trainer.degradations.strengths import CODECS, RANGES, Encoder
from trainer.degradations.video import Clip, moved, present_encoders, through_video

ENCODERS: tuple[Encoder, ...] = get_args(Encoder)
PAN = tuple((k - 3, 2 * (k - 3)) for k in range(7))
FAST = {"libx264": "veryfast", "libx265": "veryfast"}


def clip(encoder: Encoder, quality: int = 6, **how) -> Clip:
    if encoder not in present_encoders():
        pytest.skip(f"this FFmpeg lacks {encoder}")
    quality = quality if encoder.startswith("mpeg") else 20 + quality
    return Clip(**({"encoder": encoder, "quality": quality, "preset": FAST.get(encoder, ""), "moves": PAN} | how))


def grainy(picture: Tensor, deviation: float = 3.0) -> Tensor:
    grain = np.random.default_rng(0).standard_normal(picture.shape, dtype=np.float32)
    return (picture + torch.from_numpy(grain) * (deviation / 255)).clamp(0, 1)


def scene(clip: Clip, side: int = 64) -> tuple[Tensor, Tensor]:
    """A picture (3, side, side), and the frames of a clip of it, (frames, 3, side, side)."""
    picture = drawn(5, side)
    return picture, grainy(moved(picture[None], clip.moves))


def on_luma(x: Tensor) -> Tensor:
    """(3, h, w) -> (1, h, w): colours are at half the resolution, so they differ whatever the quality."""
    return (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)


@pytest.mark.parametrize(
    ("rgb", "matrix", "codes"),
    [
        ((1, 1, 1), "bt601", (235, 128, 128)),
        ((0, 0, 0), "bt709", (16, 128, 128)),
        ((1, 0, 0), "bt601", (81, 90, 240)),
        ((0, 0, 1), "bt601", (41, 240, 110)),
        ((0, 1, 0), "bt601", (145, 54, 34)),
        ((1, 0, 0), "bt709", (63, 102, 240)),
        ((0, 1, 0), "bt709", (173, 42, 26)),
        ((0, 0, 1), "bt709", (32, 240, 118)),
    ],
)
def test_colours_have_their_published_codes_and_come_back(rgb, matrix, codes):
    flat = torch.tensor(rgb, dtype=torch.float32)[None, :, None, None].expand(1, 3, 4, 8)
    planes = to_planes(flat, matrix, "left")
    assert planes.shape == (1, 6, 8)
    assert torch.all(planes[0, :4] == codes[0])
    assert torch.all(planes[0, 4] == codes[1])  # two rows of (h / 2, w / 2) in one of w
    assert torch.all(planes[0, 5] == codes[2])
    torch.testing.assert_close(from_planes(planes, matrix, "left"), flat, atol=2.5 / 255, rtol=0)


@pytest.mark.parametrize("siting", get_args(Siting))
def test_colour_comes_back_to_its_place_and_not_to_another(siting):
    """A ramp of colour at constant luma, which linear filters keep."""
    ramp = torch.linspace(-0.4, 0.4, 32)
    lines = {"across": ramp[None].expand(32, 32), "down": ramp[:, None].expand(32, 32)}
    for axis, line in lines.items():
        rgb = torch.stack([0.5 + line, 0.5 - line * 0.299 / 0.587, torch.full((32, 32), 0.5)])[None]
        planes = to_planes(rgb, "bt601", siting)
        inner = (..., slice(4, -4), slice(4, -4))
        offset = {
            other: (from_planes(planes, "bt601", other) - rgb)[inner][:, 0].mean().item() for other in get_args(Siting)
        }
        step = ramp[1].item() - ramp[0].item()
        assert abs(offset[siting]) < 0.15 * step
        for other in get_args(Siting):  # half a pixel where the other puts the sample elsewhere along this axis
            there, here = ((place == "topleft" if axis == "down" else place != "center") for place in (other, siting))
            assert offset[other] == pytest.approx((here - there) * -0.5 * step, abs=0.15 * step)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_a_still_is_what_pillow_saves(codec):
    picture = drawn(6, 40)
    file = BytesIO()
    Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy()).save(file, codec, quality=50)
    saved = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1) / 255
    assert torch.equal(through_still(picture, Still(codec=codec, quality=50)), saved)
    scores = [psnr(through_still(picture, Still(codec=codec, quality=q, grid=(3, 9))), picture) for q in (30, 60, 95)]
    assert scores == sorted(scores)


def test_chroma_of_a_jpeg_is_halved_or_not():
    stripes = torch.tensor([1.0, 0.0, 0.0])[:, None, None] * (torch.arange(32) % 2) + 0 * drawn(0, 32)
    whole = through_still(stripes, Still(codec="jpeg", quality=95, chroma="444"))
    assert psnr(whole, stripes) > 25 > psnr(through_still(stripes, Still(codec="jpeg", quality=95)), stripes)


def test_the_blocks_of_a_codec_lie_where_the_grid_says():
    shading = torch.linspace(0.2, 0.8, 64)[None, None].expand(3, 64, 64)
    for x in (0, 3, 13):
        saved = through_still(shading, Still(codec="jpeg", quality=1, chroma="444", grid=(5, x)))
        jumps = saved.diff(dim=2).abs().mean((0, 1))  # between columns i and i + 1
        at = (torch.arange(63) + 1 + x) % 8
        assert jumps[at == 0].mean() > 3 * jumps[at != 0].mean()


def test_a_clip_sees_the_picture_from_where_it_moves_to():
    picture = drawn(7, 24)[None]
    frames = moved(picture, ((0, 0), (2, -3)))
    assert torch.equal(frames[0], picture[0])
    assert torch.equal(frames[1][:, :-2, 3:], picture[0][:, 2:, :-3])
    assert torch.equal(frames[1][:, -1, 3:], picture[0][:, -1, :-3])  # beyond its edges they are repeated


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("b_frames", [0, 1, 2])
def test_the_frame_of_a_clip_is_an_inter_frame_that_refers_to_others(encoder, b_frames):
    how = clip(encoder, b_frames=b_frames)
    _, frames = scene(how)
    picture, kind = through_video(frames, how)
    assert kind in ("P", "B")
    assert picture.shape == frames.shape[1:]
    alone, alone_kind = through_video(frames[how.taken : how.taken + 1], replace(how, moves=((0, 0),), b_frames=0))
    assert alone_kind == "I"
    assert not torch.equal(picture, alone)
    others = frames.clone()
    others[: how.taken] = 1 - others[: how.taken]  # the past, as a negative
    assert not torch.equal(through_video(others, how)[0], picture)


def test_both_kinds_of_inter_frames_are_made():
    kinds = [through_video(scene(how)[1], how)[1] for how in (clip("libx264", b_frames=b) for b in (0, 3))]
    assert kinds == ["P", "B"]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("b_frames", [0, 2])
def test_the_frame_of_a_clip_is_the_one_that_did_not_move(encoder, b_frames):
    how = clip(encoder, 2, b_frames=b_frames, grid=(5, 11))
    how = replace(how, moves=tuple((k - how.taken, 2 * (k - how.taken)) for k in range(7)))
    picture, frames = scene(how)
    coded, _ = through_video(frames, how)
    inner = (..., slice(8, -8), slice(8, -8))
    score = {
        (y, x): psnr(on_luma(coded.roll((y, x), (1, 2)))[inner], on_luma(picture)[inner])
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    }
    assert max(score, key=score.__getitem__) == (0, 0)
    assert score[0, 0] > 30
    assert score[0, 0] > 4 + max(value for place, value in score.items() if place != (0, 0))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_lower_quality_is_further_from_the_picture(encoder):
    scores = []
    for quality in (2, 8, 14):
        how = clip(encoder, quality)
        _, frames = scene(how)
        scores.append(psnr(on_luma(through_video(frames, how)[0]), on_luma(frames[how.taken])))
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1] + 3


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_clip_gives_the_same_bits_every_time_and_beside_others(encoder):
    ways = [
        clip(encoder, 8, b_frames=b, grid=(g, 15 - g), blocks=k) for b, g, k in ((0, 0, 16), (2, 9, 32), (1, 3, 16))
    ]
    jobs = [(scene(how, side)[1], how) for how, side in zip(ways, (49, 64, 90), strict=True)] * 4

    def coded(job: tuple[Tensor, Clip]) -> bytes:
        return through_video(*job)[0].numpy().tobytes()

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(coded, jobs))
    assert together == [coded(job) for job in jobs[:3]] * 4


def test_the_wrong_matrix_turns_colours_and_leaves_greys():
    how = clip("mpeg4", 2, moves=((0, 0),) * 3)
    green = torch.tensor([0.2, 0.7, 0.3])[:, None, None].expand(3, 32, 32)
    grey = torch.full((3, 32, 32), 0.5)
    right, wrong = how, replace(how, shown_as="bt709")
    assert psnr(through_video(green.expand(3, -1, -1, -1), right)[0], green) > 40
    assert psnr(through_video(green.expand(3, -1, -1, -1), wrong)[0], green) < 35
    assert psnr(through_video(grey.expand(3, -1, -1, -1), wrong)[0], grey) > 45


@pytest.mark.slow
def test_where_an_encoder_is_missing_another_one_stands_in_and_the_log_says_so():
    def drawn_with(encoders: frozenset[Encoder]) -> list[dict]:
        return [draw_recipe(np.random.default_rng(i), RANGES["medium"], 2, encoders).log() for i in range(300)]

    whole, poor, none = drawn_with(frozenset(ENCODERS)), drawn_with(frozenset({"mpeg4"})), drawn_with(frozenset())
    assert all(log["missing"] is None for log in whole)
    for log, full in zip(poor, whole, strict=True):
        wanted = (full["codec"] or {}).get("encoder")
        if wanted in (None, "mpeg4"):
            assert log == full
        else:
            assert (log["codec"]["encoder"], log["missing"]) == ("mpeg4", wanted)
    assert all("encoder" not in (log["codec"] or {}) for log in none)
    assert {log["missing"] for log in none} == {None, *ENCODERS}


@pytest.mark.slow
def test_codecs_are_drawn_as_often_as_they_are_meant_to_be():
    recipes = [draw_recipe(np.random.default_rng(i), RANGES["strong"], 4, frozenset(ENCODERS)) for i in range(1500)]
    names = [
        "none" if r.codec is None else r.codec.codec if isinstance(r.codec, Still) else r.codec.encoder for r in recipes
    ]
    for name, odds in CODECS.items():
        assert names.count(name) / len(names) == pytest.approx(odds, abs=0.035)
    clips = [r.codec for r in recipes if isinstance(r.codec, Clip)]
    assert {len(c.moves) for c in clips} == {5, 6, 7}
    assert all(c.moves[c.taken] == (0, 0) for c in clips)
    assert 0.01 < sum(c.matrix != c.shown_as for c in clips) / len(clips) < 0.1
    assert {c.siting for c in clips} == set(get_args(Siting))


@pytest.mark.parametrize("kind", FIXED)
@pytest.mark.parametrize("size", [(64, 64), (45, 53)])
def test_the_two_fixed_ways_never_change_and_keep_the_size(kind, size):
    picture = drawn(8, 64)[None, :, : size[0], : size[1]]
    torch.manual_seed(1)
    first = degrade_fixed(picture, kind)
    torch.manual_seed(2)
    assert torch.equal(degrade_fixed(picture, kind), first)
    assert first.shape == picture.shape
    assert torch.equal(first.mul(255).round().div(255), first)
    assert 18 < psnr(first, picture) < 35


def test_the_fixed_video_is_an_inter_frame_of_x264_at_crf_28():
    assert (fixed.VIDEO_CLIP.encoder, fixed.VIDEO_CLIP.quality) == ("libx264", 28)
    assert Still(codec="jpeg", quality=60) == fixed.WEB_JPEG
    frames = moved(drawn(8, 64)[None], fixed.VIDEO_CLIP.moves)
    assert through_video(frames, fixed.VIDEO_CLIP)[1] in ("P", "B")


def test_the_fixed_video_is_refused_where_its_encoder_is_missing(monkeypatch):
    monkeypatch.setattr(fixed, "present_encoders", lambda: frozenset({"mpeg4"}))
    with pytest.raises(DaganError, match="libx264") as caught:
        degrade_fixed(drawn(8, 32)[None], "video")
    assert "pip install" in caught.value.hint
    degrade_fixed(drawn(8, 32)[None], "web")


@pytest.mark.slow
def test_a_degraded_folder_is_what_eval_starts_from(tmp_path, capsys):
    from dagan_cli.commands.app import run_command
    from dagan_cli.metrics.fidelity import bicubic

    (tmp_path / "hr").mkdir()
    pixels = (drawn(70, 90)[:, :70] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "hr" / "a.webp", lossless=True)
    folders = [str(tmp_path / "hr"), "-o", str(tmp_path / "web")]
    assert run_command(["train", "degrade", *folders, "--kind", "web", "-s", "4"]) == 0
    low = bicubic(torch.from_numpy(pixels[:68, :88].copy()).permute(2, 0, 1)[None].double(), 17, 22) / 255
    expected = degrade_fixed(low.float(), "web")[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "web" / "a.png")), expected)
    flags = ["--inputs", str(tmp_path / "web"), "-n", "bicubic", "-s", "4"]
    assert run_command(["eval", str(tmp_path / "hr"), *flags]) == 0
    assert run_command(["train", "degrade", *folders, "--kind", "fax"]) == 2
    assert "use one of web, video" in capsys.readouterr().err


@pytest.mark.slow
def test_images_of_one_name_in_several_folders_stay_apart(tmp_path, capsys):
    from dagan_cli.commands.app import run_command

    for seed, name in enumerate(("x/a.png", "y/a.png", "y/z/b.c.png")):
        (tmp_path / "hr" / name).parent.mkdir(parents=True, exist_ok=True)
        image = (drawn(seed, 48) * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(image).save(tmp_path / "hr" / name)
    folders = [str(tmp_path / "hr"), "-o", str(tmp_path / "low")]
    assert run_command(["train", "degrade", *folders, "--kind", "web", "-s", "2"]) == 0
    results = {path.relative_to(tmp_path / "low").as_posix() for path in (tmp_path / "low").rglob("*.png")}
    assert results == {"x/a.png", "y/a.png", "y/z/b.c.png"}
    capsys.readouterr()

    def scores(part: str) -> list[float]:
        low = ["--inputs", str(tmp_path / "low" / part), "-n", "bicubic", "-s", "2", "--json"]
        assert run_command(["eval", str(tmp_path / "hr" / part), *low]) == 0
        rows = json.loads(capsys.readouterr().out)["scores"]
        return [row["psnr"] for row in rows if row["name"] != "mean"]

    assert scores("") == [*scores("x"), *scores("y")]
    Image.open(tmp_path / "hr/x/a.png").save(tmp_path / "hr/x/a.bmp")
    assert run_command(["train", "degrade", *folders, "--kind", "web", "-s", "2"]) == 2
    assert "several images" in capsys.readouterr().err


@pytest.mark.slow
def test_the_old_name_of_degrade_is_understood_with_a_warning(tmp_path, capsys):
    from dagan_cli.commands.app import run_command

    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(np.full((48, 48, 3), 90, np.uint8)).save(images / "a.png")
    for name in ("degrade", "spoil"):
        target = tmp_path / name
        assert run_command(["train", name, str(images), "-o", str(target), "--kind", "web"]) == 0
    assert "dagan train degrade" in capsys.readouterr().err
    assert (tmp_path / "spoil" / "a.png").read_bytes() == (tmp_path / "degrade" / "a.png").read_bytes()
