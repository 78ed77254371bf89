"""`--grain`: what the network took of the grain comes back, in images, videos and Python, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dagan_cli import Upscaler
from dagan_cli.errors import BadOption
from dagan_cli.media.made.stored import read_record
from dagan_cli.upscaler import ModelChoice
from tests.support.tiny import clip, ffmpeg, frames_of, left_over, pixels
from tests.upscale.test_resume import killed

GRAINY = "color=gray:size=64x48:rate=25,noise=alls=20:allf=t"
LOSSLESS = ("-c", "ffv1")


@pytest.fixture
def grainy(tmp_path: Path) -> Path:
    """An RGBA image of grain on grey, clear to the left."""
    samples = np.full((48, 64, 4), 128, np.uint8)
    samples[..., :3] += np.random.default_rng(0).normal(0, 12, (48, 64, 1)).astype(np.int8).astype(np.uint8)
    samples[..., 3] = np.linspace(0, 255, 64)
    Image.fromarray(samples).save(tmp_path / "in.png")
    return tmp_path / "in.png"


@pytest.mark.parametrize("grain", [-0.1, 1.1, float("nan")])
def test_a_share_beyond_all_or_nothing_is_refused(grain):
    with pytest.raises(BadOption, match=r"--grain \S+ is out of range") as refused:
        ModelChoice("dagan-x2", grain=grain)
    assert refused.value.hint == "use a number from 0 (none) to 1 (all that was lost)"


@pytest.mark.parametrize("name", ["nearest", "bicubic", "lanczos"])
def test_a_baseline_takes_no_grain_so_the_option_is_refused(cli, grainy, name):
    ran = cli(grainy, "-n", name, "--grain", 0.5)
    assert ran.code == 2
    assert ran.err.splitlines() == [
        f"error: --grain does not apply to {name}, which takes no grain",
        "  try: leave it out",
    ]
    ModelChoice(name, grain=0)


def test_an_image_in_python_gets_the_grain_that_the_same_file_gets(cli, grainy, tiny_model):
    assert cli(grainy, "-n", tiny_model, "-s", 2, "--grain", 0.7).code == 0
    with Image.open(grainy) as image:
        made = Upscaler.load(str(tiny_model), grain=0.7)(image)
        plain = Upscaler.load(str(tiny_model))(image)
    assert np.array_equal(pixels(grainy.with_name("in_x2.png")), np.asarray(made))
    difference = np.asarray(made).astype(int) - np.asarray(plain)
    assert difference[..., 0].std() > 1
    assert not difference[..., 3].any()  # alpha


def test_no_grain_is_the_result_without_the_option(cli, grainy, tiny_model):
    for name, options in (("plain.png", ()), ("none.png", ("--grain", 0))):
        assert cli(grainy, "-n", tiny_model, "-s", 2, *options, "-o", grainy.with_name(name)).code == 0
    plain, none = (grainy.with_name(name).read_bytes() for name in ("plain.png", "none.png"))
    assert plain == none


def test_what_made_it_names_the_grain(cli, grainy, tiny_model):
    ask = (grainy, "-n", tiny_model, "-s", 2, "--json")
    ran = cli(*ask, "--grain", 0.7)
    report, target = json.loads(ran.out), grainy.with_name("in_x2.png")
    assert report["model"]["grain"] == 0.7
    assert report["items"][0]["model"].endswith("with --grain 0.7")
    assert (read_record(target) or {})["--grain"] == "0.7"
    with Image.open(target) as image:
        assert ", grain 0.7" in str(image.info)
    assert json.loads(cli(*ask, "--grain", 0.7).out)["items"][0]["status"] == "skipped"
    reason = json.loads(cli(*ask).out)["items"][0]["reason"]
    assert reason.endswith("but was made with --grain 0.7, now without")


@pytest.mark.slow
def test_repeated_frames_have_the_same_grain_with_or_without_reuse_and_others_have_other_grain(
    cli, tmp_path, tiny_model
):
    source = clip(tmp_path / "in.mkv", *("-c:v", "ffv1", "-an"), source=f"{GRAINY},fps=50")  # each frame twice
    ask = (source, "-n", tiny_model, "-s", 2, "--grain", 0.5, *LOSSLESS)
    assert cli(*ask, "-o", tmp_path / "reused.mkv").code == 0
    assert cli(*ask, "-o", tmp_path / "computed.mkv", "--no-reuse").code == 0
    hashes = [name for _, name in frames_of(tmp_path / "reused.mkv")]
    assert hashes == [name for _, name in frames_of(tmp_path / "computed.mkv")]
    assert hashes[::2] == hashes[1::2]
    assert len(set(hashes)) == len(hashes) // 2


@pytest.mark.slow
def test_a_video_without_the_option_differs_by_grain_in_luma_alone(cli, tmp_path, tiny_model):
    source = clip(tmp_path / "in.mkv", *("-c:v", "ffv1", "-pix_fmt", "yuv444p", "-an"), source=GRAINY)
    planes = []
    for name, options in (("plain", ()), ("grain", ("--grain", 1))):
        target = tmp_path / f"{name}.mkv"
        assert cli(source, "-n", tiny_model, "-s", 2, *options, *LOSSLESS, "-o", target).code == 0
        ffmpeg("-i", target, "-f", "rawvideo", "-pix_fmt", "yuv444p", tmp_path / name)
        planes.append(np.fromfile(tmp_path / name, np.uint8).reshape(-1, 3, 96, 128).astype(int))
    difference = planes[1] - planes[0]
    assert difference[:, 0].std() > 1
    assert abs(difference[:, 1:]).max() <= 1  # rounding


@pytest.mark.slow
def test_a_video_killed_and_resumed_has_the_grain_of_one_that_was_not(cli, tmp_path, tiny_model):
    source = clip(tmp_path / "in.mkv", *("-c:v", "ffv1", "-an"), source=GRAINY, seconds=3)
    ask = (source, "-n", tiny_model, "-s", 2, "--runtime", "torch", "--grain", 0.7, *LOSSLESS)
    assert killed(0.3, *ask, "-o", tmp_path / "out.mkv")
    other = cli(*ask, "--grain", 0.6, "-o", tmp_path / "out.mkv")
    assert other.code == 2
    assert "was started with --grain 0.7, now 0.6" in other.err
    ran = cli(*ask, "-o", tmp_path / "out.mkv", "--json")
    assert json.loads(ran.out)["items"][0]["resumed"] > 0
    assert cli(*ask, "-o", tmp_path / "whole.mkv").code == 0
    assert frames_of(tmp_path / "out.mkv") == frames_of(tmp_path / "whole.mkv")
    assert left_over(tmp_path) == []
