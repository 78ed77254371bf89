"""Crops, projections and views for two eyes, which files declare beside the frames, judged by another FFmpeg."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from dagan_cli.media.marks import read_marks
from dagan_cli.media.video.mux import foreseen_losses
from dagan_cli.media.video.source import open_video
from tests.support.boxes import EQUIRECTANGULAR, SIDE_BY_SIDE, STSD, aperture, inserted
from tests.support.clips import FAST, clip, described, ffmpeg, passed_through, pictures


def marked(path: Path, *boxes: bytes) -> Path:
    data = clip(path, "-c:v", "libx264", "-an").read_bytes()
    for box in boxes:
        data = inserted(data, box, *STSD)
    path.write_bytes(data)
    return path


def in_matroska(source: Path) -> Path:
    """The same by the elements of Matroska, which the other FFmpeg writes."""
    ffmpeg("-i", source, "-c", "copy", source.with_suffix(".mkv"))
    return source.with_suffix(".mkv")


@pytest.mark.slow
@pytest.mark.parametrize("matroska", [False, True])
@pytest.mark.parametrize(
    ("box", "crop"), [(aperture(80, 48), (8, 8, 8, 8)), (aperture(90, 60, right=2, down=-4), (4, 0, 2, 4))]
)
def test_what_a_file_crops_is_cropped_and_said(tmp_path, cli, matroska, box, crop):
    source = marked(tmp_path / "in.mov", box)
    source = in_matroska(source) if matroska else source
    assert f"Frame Cropping: {crop[0]}/{crop[2]}/{crop[1]}/{crop[3]}" in described(source)
    assert read_marks(source, 0).crop == crop
    left, top, right, bottom = crop
    size = f"{96 - left - right}x{64 - top - bottom}"
    ran = cli("upscale", source, "-n", "nearest", "-s", 1, "-c", "ffv1", "-o", tmp_path / "out.mkv")
    assert f"96x64 is cropped to {size}, as the file declares" in ran.err
    assert pictures(tmp_path / "out.mkv") == pictures(source)  # the other FFmpeg crops as well
    assert f", {size}" in described(tmp_path / "out.mkv")


@pytest.mark.parametrize(
    "box", [aperture(96, 64), aperture(0, 0, right=9), aperture(300, 10), b"\0\0\0\x0cclap\0\0\0\1"]
)
def test_a_crop_of_everything_or_nothing_is_none(tmp_path, box):
    assert read_marks(marked(tmp_path / "in.mov", box), 0).crop is None


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_projection_that_is_lost_is_said(tmp_path, suffix):
    source = marked(tmp_path / "in.mp4", EQUIRECTANGULAR)
    assert "Spherical Mapping: equirectangular" in described(source)
    source = in_matroska(source) if suffix == ".mkv" else source
    assert read_marks(source, 0).projection == "equirectangular"
    warnings = passed_through(source, tmp_path / f"out{suffix}")
    assert warnings == ("the projection (equirectangular) is not kept: players will show the frames flat",)
    with open_video(source) as video:
        assert list(warnings) == foreseen_losses(video.info, tmp_path / f"out{suffix}", FAST)


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "kept"), [(".mkv", True), (".webm", True), (".mp4", False)])
@pytest.mark.parametrize("matroska", [False, True])
def test_views_for_two_eyes_are_kept_where_the_container_can(tmp_path, cli, suffix, kept, matroska):
    source = marked(tmp_path / "in.mp4", SIDE_BY_SIDE)
    assert "side by side" in described(source)
    source = in_matroska(source) if matroska else source
    options = ("-n", "nearest", "-s", 1, "-o", tmp_path / f"out{suffix}")
    assert cli("upscale", source, *options).code == 0
    assert bool(re.search("side by side", described(tmp_path / f"out{suffix}"))) == kept


@pytest.mark.parametrize("seed", range(4))
def test_damage_makes_marks_wrong_at_most(tmp_path, seed):
    noise = random.Random(seed)
    source = marked(tmp_path / "in.mov", aperture(80, 48), EQUIRECTANGULAR, SIDE_BY_SIDE)
    for path in (source, in_matroska(source)):
        whole = path.read_bytes()
        for _ in range(150):
            data = bytearray(whole)
            for _ in range(noise.choice((1, 10, 100))):
                data[noise.randrange(len(data))] = noise.randrange(256)
            path.write_bytes(data[: noise.randrange(1, len(data))] if noise.random() < 0.3 else data)
            marks = read_marks(path, 0)
            assert marks.crop is None or min(marks.crop) >= 0
