"""The shape of pixels is in Matroska files whose codec does not store it, and nothing else of the file changes."""

from __future__ import annotations

import io
import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import pytest

from dagan_cli.media import display_size
from dagan_cli.media.boxes import ebml
from dagan_cli.media.display_size import write_pixel_shape
from dagan_cli.media.video.recipe import Encoding
from tests.support.clips import WEBM, clip, passed_through
from tests.support.tiny import ffmpeg, frames_of, sound_of

STRICT = ("-v", "warning", "-err_detect", "crccheck+explode")


def seen(path: Path) -> tuple[str, str]:
    """Sample and display aspect ratio as the other FFmpeg sees them, which also checks all checksums."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", path]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    return next(iter(re.findall(r"SAR (\d+:\d+) DAR (\d+:\d+)", text)), ("", ""))


def complaints(path: Path, *options: str) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *STRICT, *options, "-i", path, "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "encoding"),
    [(".mkv", Encoding(codec="ffv1")), (".mkv", Encoding(codec="prores_ks")), (".webm", WEBM)],
    ids=["ffv1", "prores", "vp9"],
)
def test_pixels_that_are_not_square_stay_so_whatever_the_codec(tmp_path, suffix, encoding):
    source = clip(tmp_path / "in.mkv", "-vf", "setsar=16/15", "-c:v", "libx264", "-c:a", "libopus", "-ar", "48000")
    warnings = passed_through(source, tmp_path / f"out{suffix}", encoding, scale=2)
    assert warnings == () or suffix == ".mkv"
    assert seen(tmp_path / f"out{suffix}") == ("16:15", "8:5")
    for options in ((), ("-ss", "0.5")):
        assert complaints(tmp_path / f"out{suffix}", *options) == ""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_all_else_of_the_file_is_as_it_was(tmp_path, suffix):
    codecs = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
    path = clip(tmp_path / f"in{suffix}", *codecs, "-metadata", "title=Mine", "-ar", "48000")
    before = path.read_bytes()
    frames, sound = frames_of(path), sound_of(path)
    with path.open("r+b") as file:
        assert write_pixel_shape(file, 0, Fraction(64, 45))
    assert path.stat().st_size == len(before)
    at = before.index(b"\x1f\x43\xb6\x75")  # the first cluster, and all that is behind it
    assert path.read_bytes()[at:] == before[at:]
    assert (frames_of(path), sound_of(path)) == (frames, sound)
    assert complaints(path) == ""
    with av.open(path) as read:
        assert read.metadata["title"] == "Mine"
        assert read.streams.video[0].sample_aspect_ratio == Fraction(64, 45)


@pytest.mark.slow
def test_the_second_of_two_videos_gets_its_own_shape(tmp_path):
    path = tmp_path / "two.mkv"
    picture = ("-f", "lavfi", "-i", "testsrc2=s=32x24:r=25")
    ffmpeg(*picture, *picture, "-map", "0", "-map", "1", "-c:v", "ffv1", "-t", "0.2", path)
    with path.open("r+b") as file:
        assert write_pixel_shape(file, 1, Fraction(4, 3))
    with av.open(path) as read:
        shapes = [stream.sample_aspect_ratio for stream in read.streams.video]
    assert [shape or 1 for shape in shapes] == [1, Fraction(4, 3)]


@pytest.mark.slow
def test_a_file_without_room_or_of_another_kind_stays_as_it_is(tmp_path):
    path = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an")
    data = path.read_bytes()
    segment = ebml.segment(io.BytesIO(data))
    assert segment is not None
    seek_head = next(ebml.elements(io.BytesIO(data), *segment[1:]))
    assert data[seek_head[2]] == 0xEC  # padding
    without_padding = data[: seek_head[2]] + b"\xbf" + data[seek_head[2] + 1 :]
    for other in (without_padding, data[:300], b"", b"RIFF" + bytes(100), clip(tmp_path / "a.mp4").read_bytes()):
        file = io.BytesIO(other)
        assert not write_pixel_shape(file, 0, Fraction(4, 3))
        assert file.getvalue() == other


@pytest.mark.parametrize("size", [(1440, 1152), (427, 241), (16, 16), (1, 1)])
@pytest.mark.parametrize("shape", [Fraction(16, 15), Fraction(64, 45), Fraction(4, 3), Fraction(177, 160)])
def test_the_display_size_has_the_shape(size: tuple[int, int], shape):
    wide, high = display_size._display_size(*size, shape)
    assert abs(Fraction(wide * size[1], high * size[0]) - shape) <= shape / 4000
    assert wide == size[0] or high % size[1] == 0
