"""Baselines enlarge videos plane by plane on a CPU, where a whole factor allows it; all else goes through RGB."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dagan_cli.engine.planewise import plane_resizer
from dagan_cli.media.video.source import open_video
from dagan_cli.upscale import video
from dagan_cli.upscaler import Upscaler
from tests.support.tiny import clip

pytestmark = pytest.mark.slow


@pytest.fixture
def converted(monkeypatch) -> list[int]:
    """The frames of each group that went through RGB."""
    seen: list[int] = []
    convert = video.to_rgb

    def counted(frames, *arguments, **keywords):
        seen.append(len(frames))
        return convert(frames, *arguments, **keywords)

    monkeypatch.setattr(video, "to_rgb", counted)
    return seen


@pytest.mark.parametrize("kernel", ["nearest", "bicubic", "lanczos"])
def test_a_whole_factor_needs_no_rgb_and_every_frame_is_there(cli, tmp_path, converted, kernel):
    source, target = clip(tmp_path / "in.mkv", "-c:v", "libx264", "-pix_fmt", "yuv420p"), tmp_path / "out.mkv"
    assert cli(source, "-n", kernel, "-s", 2, "-c", "ffv1", "--device", "cpu", "-o", target).code == 0
    assert converted == []
    with open_video(source) as before, open_video(target) as after:
        form, size = before.info.layout, (after.info.width, after.info.height)
        resize = plane_resizer(form, (before.info.height, before.info.width), after.info.layout, size, kernel)
        assert resize is not None
        pairs = list(zip(before.frames(), after.frames(), strict=True))
        assert len(pairs) == 10
        for old, new in pairs:
            for one, other in zip(resize(old.planes), new.planes, strict=True):
                assert np.array_equal(one, other)


@pytest.mark.parametrize("flags", [("-s", 1), ("-s", 1.5), ("-s", 2, "-n", "dagan-x2-psnr")])
def test_all_else_goes_through_rgb(cli, tmp_path, converted, flags):
    source = clip(tmp_path / "in.mkv", "-c:v", "libx264")
    ran = cli(source, "-n", "bicubic", *flags, "--frames", 3, "-o", tmp_path / "out.mkv")
    assert ran.code == 0
    assert converted  # equal frames are converted once


def test_an_estimate_for_a_network_includes_the_conversions(cli, tmp_path, converted):
    source = clip(tmp_path / "in.mkv", "-c:v", "libx264")
    assert cli(source, "-n", "bicubic", "-s", 2, "--dry-run").code == 0
    assert converted == []
    assert cli(source, "-n", "dagan-x2-psnr", "-s", 2, "--dry-run").code == 0
    assert converted


def test_frames_of_a_changed_size_go_through_rgb_and_the_others_do_not(cli, tmp_path, converted):
    first, second = (tmp_path / f"{name}.ts" for name in "ab")
    clip(first, "-c:v", "libx264", "-an")
    clip(second, "-c:v", "libx264", "-an", "-vf", "scale=80:56")
    both = tmp_path / "in.ts"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    ran = cli(both, "-n", "bicubic", "-s", 2, "-o", tmp_path / "out.mkv", "--json")
    assert ran.code == 0
    (item,) = json.loads(ran.out)["items"]
    assert item["frames"] == 20
    assert 0 < sum(converted) <= 10


def test_no_memory_is_measured_for_a_baseline():
    upscaler = Upscaler.load("bicubic", device="cpu")
    assert upscaler.engine.frames_at_once(2000, 3000) == 1
    assert upscaler.engine.measuring == 0
