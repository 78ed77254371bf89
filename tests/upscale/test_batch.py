"""Inputs through a network into outputs: nothing lost, nothing invented, and the file says what made it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli import Upscaler
from dagan_cli.errors import BadModel, BadOption
from dagan_cli.upscaler import Loaded
from tests.support.fakes import Overflowing
from tests.support.tiny import clip, ffmpeg, frames_of, left_over, noise, picture, pixels, sound_of

THROUGH = ("-n", "nearest", "-s", "1")
UNEVEN = "settb=1/1000,setpts='40*N+13*mod(N,3)+200*gte(N,6)'"


# --- pictures


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_nearest_by_1_is_an_exact_pass_through(cli, tmp_path, mode):
    source = picture(tmp_path / "in.png", (37, 300), mode)
    assert cli(source, *THROUGH).code == 0
    with Image.open(tmp_path / "in_x1.png") as result:
        assert result.mode == mode
    assert (pixels(tmp_path / "in_x1.png") == pixels(source)).all()  # colour under alpha 0 too


def test_16_bit_grey_passes_through_exactly(cli, tmp_path):
    source = picture(tmp_path / "in.png", (300, 40), "I;16")
    assert cli(source, *THROUGH).code == 0
    result = pixels(tmp_path / "in_x1.png")
    assert result.dtype == np.uint16
    assert (result == pixels(source)).all()


@pytest.mark.slow
@pytest.mark.parametrize("pix_fmt", ["rgb48be", "rgba64be"])
def test_16_bit_colour_passes_through_exactly(cli, tmp_path, pix_fmt):
    source, target = tmp_path / "in.png", tmp_path / "in_x1.png"
    lifted = "testsrc2=size=40x30,format=rgba64be,lutrgb=r='val*0.83+77':g='val*0.71':b='maxval-val*0.9':a='val*0.63'"
    ffmpeg("-f", "lavfi", "-i", lifted, "-frames:v", "1", "-pix_fmt", pix_fmt, source)
    assert cli(source, *THROUGH).code == 0
    raw = [ffmpeg("-i", path, "-f", "framemd5", "-pix_fmt", pix_fmt, "-") for path in (source, target)]
    assert raw[0] == raw[1]
    assert target.read_bytes()[24] == 16  # bits a sample, in the header of a PNG


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_network_keeps_the_kind_and_depth_of_a_picture(cli, tmp_path, tiny_model, mode):
    source = picture(tmp_path / "in.png", (20, 12), mode)
    assert cli(source, "-n", tiny_model, "-s", 2).code == 0
    with Image.open(tmp_path / "in_x2.png") as result:
        assert (result.mode, result.size) == (mode, (40, 24))
        values = np.asarray(result)
    assert len(np.unique(values)) > 100  # not black
    if mode == "I;16":
        assert (values % 257 != 0).any()  # more than 8 bits of them


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "size"), [("1.5", (32, 20)), ("3", (63, 39)), ("0.5", (11, 7)), ("5", (105, 65))])
def test_factors_that_are_not_the_networks_own_give_exact_sizes(cli, tmp_path, tiny_model, scale, size):
    source = picture(tmp_path / "in.png", (21, 13))
    ran = cli(source, "-n", tiny_model, "-s", scale, "-o", tmp_path / "out.png", "--json")
    assert Image.open(tmp_path / "out.png").size == size
    assert json.loads(ran.out)["items"][0]["out_size"] == list(size)


@pytest.mark.slow
@pytest.mark.parametrize(("size", "result"), [("100p", (150, 100)), ("100x200", (100, 67)), ("7x7", (7, 5))])
def test_a_size_is_fitted_into_with_the_aspect_kept(cli, tmp_path, size, result):
    source = picture(tmp_path / "in.png", (30, 20))
    assert cli(source, "-n", "bicubic", "--size", size, "-o", tmp_path / "out.png").code == 0
    assert Image.open(tmp_path / "out.png").size == result


def test_a_disc_on_transparent_black_gets_no_dark_rim(cli, tmp_path):
    y, x = np.mgrid[0:32, 0:32]
    samples = np.zeros((32, 32, 4), np.uint8)
    samples[(y - 15.5) ** 2 + (x - 15.5) ** 2 < 100] = (255, 0, 0, 255)
    Image.fromarray(samples).save(tmp_path / "in.png")
    assert cli(tmp_path / "in.png", "-n", "lanczos", "-s", 3).code == 0
    result = pixels(tmp_path / "in_x3.png")
    rim = (result[..., 3] > 0) & (result[..., 3] < 255)
    assert rim.sum() > 100
    assert result[rim][:, 0].min() >= 250
    assert result[rim][:, 1:3].max() <= 5


def test_a_palette_with_a_transparent_colour_becomes_what_it_shows(cli, tmp_path):
    image = Image.fromarray(noise(8, 9) % 4, "P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.save(tmp_path / "in.png", transparency=2)
    assert cli(tmp_path / "in.png", *THROUGH).code == 0
    with Image.open(tmp_path / "in.png") as before:
        assert (pixels(tmp_path / "in_x1.png") == np.asarray(before.convert("RGBA"))).all()


def test_an_animation_keeps_its_frames_and_their_times(cli, tmp_path):
    durations = [50, 120, 200]
    frames = [Image.fromarray(noise(10, 12, seed=seed) // 32 * 32).convert("RGB") for seed in range(3)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=durations, loop=3)
    ran = cli(tmp_path / "in.gif", "-n", "nearest", "-s", 2, "--json")
    with Image.open(tmp_path / "in_x2.gif") as result, Image.open(tmp_path / "in.gif") as before:
        assert (result.n_frames, result.size, result.info["loop"]) == (3, (24, 20), before.info["loop"])  # type: ignore[attr-defined]
        for index, duration in enumerate(durations):
            result.seek(index)
            before.seek(index)
            assert result.info["duration"] == duration
            expected = np.asarray(before.convert("RGB")).repeat(2, 0).repeat(2, 1)
            assert np.abs(np.asarray(result.convert("RGB")).astype(int) - expected).max() <= 8
    assert json.loads(ran.out)["totals"]["frames"] == 3


@pytest.mark.slow
def test_tiles_leave_no_seams_in_a_file(cli, tmp_path, tiny_model):
    source = picture(tmp_path / "in.png", (150, 60))
    for tile in ("off", "48"):
        chosen = ("-n", tiny_model, "-s", 2, "--fp32", "--order", 1, "-t", tile, "-o", tmp_path / f"{tile}.png")
        assert cli(source, *chosen).code == 0
    off, tiled = (pixels(tmp_path / f"{tile}.png").astype(int) for tile in ("off", "48"))
    assert np.abs(off - tiled).mean() < 2


@pytest.mark.slow
def test_the_same_command_gives_the_same_bytes(cli, tmp_path, tiny_model):
    source = picture(tmp_path / "in.png", (20, 20))
    for name in ("a.png", "b.png"):
        assert cli(source, "-n", tiny_model, "-s", 2, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.slow
def test_the_order_and_the_ensemble_reach_the_network(cli, tmp_path, tiny_model):
    source = picture(tmp_path / "in.png", (20, 20))
    results = []
    for flags in ([], ["--order", "2"], ["--order", "4"], ["-x"]):
        assert cli(source, "-n", tiny_model, "-s", 2, "-y", *flags).code == 0
        results.append(pixels(tmp_path / "in_x2.png").astype(int))
    assert all((a != b).any() for a, b in pairwise(results))


def test_a_network_that_overflows_in_half_precision_is_told_of_and_gives_no_black(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("dagan_cli.upscaler.load_network", lambda *_: Loaded(Overflowing(), "fragile", "0" * 64))
    source = picture(tmp_path / "in.png", (20, 20))
    ran = cli(source, "-n", "fragile", "-s", 2, "--json", "--device", "cpu", "--precision", "fp16")
    (item,) = json.loads(ran.out)["items"]
    assert ran.code == 0
    assert any("recomputed in float32" in warning for warning in item["warnings"])
    assert "warning: in.png: a tile was not finite" in ran.err
    assert np.abs(pixels(tmp_path / "in_x2.png")[::2, ::2].astype(int) - pixels(source)).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif"])
def test_a_picture_says_what_made_it(cli, tmp_path, tiny_model, suffix):
    source = picture(tmp_path / "in.png")
    assert cli(source, "-n", tiny_model, "-s", 2, "-o", tmp_path / f"out{suffix}", "--fp32").code == 0
    with Image.open(tmp_path / f"out{suffix}") as result:
        told = result.info.get("Software") or result.getexif().get(305) or result.info["comment"].decode()
    assert told.startswith("dagan 0.1.0: tiny-x2.safetensors, sha256 ")
    assert "x2, float32, order 1" in told


def test_the_software_a_source_names_is_not_replaced(cli, tmp_path):
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Software", "a painter")
    Image.fromarray(noise(4, 4, 3)).save(tmp_path / "in.png", pnginfo=text)
    assert cli(tmp_path / "in.png", *THROUGH).code == 0
    with Image.open(tmp_path / "in_x1.png") as result:
        assert result.info["Software"] == "a painter"
        assert result.info["Processing software"].startswith("dagan ")


# --- work not done twice


def screen_recording(path: Path) -> Path:
    """A still page; a cursor wanders through a corner of it for half of the time, then nothing moves."""
    page = "testsrc=size=128x96:rate=25,trim=end_frame=1,loop=14:1,setpts=N/25/TB,format=yuv444p[page]"
    cursor = "color=white:size=4x6:rate=25[cursor]"
    both = "[page][cursor]overlay=x='4+2*n':y=6:format=yuv444:enable='lt(n,8)'"
    lossless = ("-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p", "-c:a", "aac")
    return clip(path, *lossless, seconds=0.6, source=f"{page};{cursor};{both}")


@pytest.mark.slow
def test_a_screen_recording_costs_what_moves_in_it(cli, tmp_path, tiny_model, monkeypatch):
    from dagan_cli.engine.engine import Engine
    from dagan_cli.engine.options import Runtime

    source, computed, apply = screen_recording(tmp_path / "in.mp4"), [0], Engine._apply

    def counted(self: Engine, x: torch.Tensor, runtime: Runtime) -> torch.Tensor:
        computed[0] += len(x)
        return apply(self, x, runtime)

    monkeypatch.setattr(Engine, "_apply", counted)
    tiles, shares, results = [], [], []
    for flag in ("--no-reuse", "--reuse"):
        computed[0] = 0
        target = tmp_path / f"out{flag}.mkv"
        ran = cli(source, "-n", tiny_model, "-s", 2, "-c", "ffv1", "-t", 64, "--json", flag, "-o", target)
        assert ran.code == 0, ran.err
        tiles.append(computed[0])
        shares.append(json.loads(ran.out)["items"][0]["reused"])
        results.append(frames_of(target))
    assert results[0] == results[1]
    assert len(results[0]) == 15
    assert tiles[0] % 15 == 0
    per_frame = tiles[0] // 15
    assert per_frame > 4
    assert tiles[1] <= per_frame + 2 * 8  # all of the first frame, then the tile or two that the cursor is in
    assert shares == [None, pytest.approx(1 - tiles[1] / tiles[0], abs=1e-4)]


# --- videos


@pytest.mark.slow
@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv420p", "yuv422p10le"])
def test_a_lossless_clip_passes_through_exactly(cli, tmp_path, pix_fmt):
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, "-c:a", "pcm_s16le")
    assert cli(source, *THROUGH, "-c", "ffv1").code == 0
    assert frames_of(tmp_path / "in_x1.mkv") == frames_of(source)
    assert sound_of(tmp_path / "in_x1.mkv") == sound_of(source)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_uneven_times_and_the_sound_are_kept(cli, tmp_path, suffix):
    even, source = clip(tmp_path / "even.mkv"), tmp_path / f"in{suffix}"
    uneven = ("-vf", UNEVEN, "-fps_mode", "passthrough", "-enc_time_base", "1/1000", "-c:v", "libx264", "-bf", "0")
    ffmpeg("-i", even, *uneven, "-c:a", "copy", source)
    times = [time for time, _ in frames_of(source)]
    assert len({b - a for a, b in pairwise(times)}) > 2
    ran = cli(source, "-n", "nearest", "-s", 2, "--preset", "ultrafast", "--json")
    target = tmp_path / f"in_x2{suffix}"
    assert [time for time, _ in frames_of(target)] == times
    assert sound_of(target) == sound_of(source)
    (item,) = json.loads(ran.out)["items"]
    assert (item["frames"], item["in_size"], item["out_size"]) == (10, [48, 32], [96, 64])


@pytest.mark.slow
def test_colours_outside_of_rgb_go_around_the_network(cli, tmp_path, monkeypatch):
    class Same(torch.nn.Module):
        """An identity that must not see what no picture has."""

        scale, receptive_field = 1, 0

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert 0 <= x.min() <= x.max() <= 1
            return x * self.weight

    monkeypatch.setattr("dagan_cli.upscaler.load_network", lambda *_: Loaded(Same(), "same", "0" * 64))
    source = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv444p", "-an")
    assert cli(source, "-n", "same", "-s", 1, "-c", "ffv1", "--device", "cpu", "--precision", "fp32").code == 0
    assert frames_of(tmp_path / "in_x1.mkv") == frames_of(source)


@pytest.mark.slow
def test_a_network_enlarges_a_clip_and_the_clip_says_so(cli, tmp_path, tiny_model):
    source = clip(tmp_path / "in.mp4", seconds=0.2)
    assert cli(source, "-n", tiny_model, "-s", 2, "--preset", "ultrafast").code == 0
    assert len(frames_of(tmp_path / "in_x2.mp4")) == 5
    assert "comment=dagan 0.1.0: tiny-x2.safetensors" in ffmpeg("-i", tmp_path / "in_x2.mp4", "-f", "ffmetadata", "-")


@pytest.mark.slow
def test_the_comment_of_a_source_is_kept(cli, tmp_path):
    options = ("-c:v", "libx264", "-preset", "ultrafast", "-an", "-metadata", "comment=from the sea")
    assert cli(clip(tmp_path / "in.mkv", *options), *THROUGH).code == 0
    facts = ffmpeg("-i", tmp_path / "in_x1.mkv", "-f", "ffmetadata", "-").lower()
    assert facts.count("comment=") == 1
    assert "comment=from the sea" in facts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "frames", "name"),
    [
        (["--frames", "3"], 3, "in_x1_frames-3.mkv"),
        (["--start", "0.2"], 5, "in_x1_from-0.2.mkv"),
        (["--end", "0:00.2"], 5, "in_x1_to-0.2.mkv"),
        (["--start", "0.1", "--end", "0.3", "--frames", "3"], 3, "in_x1_from-0.1_to-0.3_frames-3.mkv"),
        (["--audio", "none"], 10, "in_x1.mkv"),
    ],
)
def test_a_part_of_a_clip_is_what_was_asked_for_and_its_name_says_which(cli, tmp_path, flags, frames, name):
    source = clip(tmp_path / "in.mkv")
    ran = cli(source, *THROUGH, "--preset", "ultrafast", *flags, "--json")
    assert json.loads(ran.out)["totals"]["frames"] == frames == len(frames_of(tmp_path / name))
    described = ffmpeg("-i", tmp_path / name, "-map", "0", "-c", "copy", "-f", "streamhash", "-")
    assert (",a," in described) == (flags != ["--audio", "none"])


@pytest.mark.slow
def test_a_video_fitted_into_a_box_has_even_sides(cli, tmp_path):
    assert cli(clip(tmp_path / "in.mkv"), "-n", "bicubic", "--size", "75x75", "--preset", "ultrafast").code == 0
    assert "74x50" in ffmpeg_says(tmp_path / "in_75x75.mkv")


def ffmpeg_says(path: Path) -> str:
    import subprocess

    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.slow
def test_pictures_and_videos_go_through_one_run(cli, tmp_path, tiny_model):
    picture(tmp_path / "in/a.png")
    clip(tmp_path / "in/b.mkv", seconds=0.1)
    ran = cli(tmp_path / "in", "-n", tiny_model, "-s", 2, "-o", tmp_path / "out", "--json")
    assert [item["status"] for item in json.loads(ran.out)["items"]] == ["done", "done"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a_x2.png", "b_x2.mkv"}
    assert left_over(tmp_path) == []


# --- the Python door


def test_the_python_door_takes_frames_and_names(tiny_model):
    upscaler = Upscaler.load(str(tiny_model), device="cpu", precision="fp32", order=2)
    assert (upscaler.scale, upscaler.order, upscaler.is_baseline) == (2, 2, False)
    assert upscaler(torch.rand(2, 3, 9, 7)).shape == (2, 3, 18, 14)
    bicubic = Upscaler.load("bicubic")
    assert (bicubic.order, bicubic.is_baseline, bicubic.sha256) == (None, True, None)
    assert bicubic.upscale_to(torch.rand(1, 3, 4, 4), 2.5).shape == (1, 3, 10, 10)


def test_the_python_door_refuses_what_makes_no_sense(tiny_model):
    with pytest.raises(BadOption):
        Upscaler.load("nearest", order=1)
    with pytest.raises(BadOption):
        Upscaler.load(str(tiny_model), order=3)
    with pytest.raises(BadModel):
        Upscaler.load("no-such-model")


# --- real files


@pytest.mark.corpus
@pytest.mark.parametrize("folder", ["odd-images", "video"])
def test_real_files_are_done_or_fail_for_a_reason_of_their_own(cli, tmp_path, corpus, folder):
    ran = cli(corpus / folder, *THROUGH, "-o", tmp_path / "out", "--preset", "ultrafast", "--frames", 3, "--json")
    items = json.loads(ran.out)["items"]
    failed = [item for item in items if item["status"] == "failed"]
    assert ran.code in (0, 1)
    assert len(failed) < len(items) / 4
    assert all("bug" not in item["reason"] for item in failed)
    assert all(Path(item["output"]).stat().st_size for item in items if item["status"] == "done")
    assert left_over(tmp_path) == []
