"""`dagan verify` on what only the bytes of a file tell: losses are caught, whoever made the output; good ones pass."""

from __future__ import annotations

import random
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from dagan_cli.commands.app import run_command
from dagan_cli.errors import BadInput
from dagan_cli.inspection.checks import Check
from dagan_cli.inspection.kept import joined_clock
from dagan_cli.inspection.raw.hidden import hidden_frames
from dagan_cli.inspection.raw.transport import JoinedClock, stamps
from dagan_cli.inspection.verify import verify
from tests.support.boxes import EQUIRECTANGULAR, SIDE_BY_SIDE, STSD, aperture, inserted
from tests.support.captioned import captioned
from tests.support.clips import clip, ffmpeg, times

pytestmark = pytest.mark.slow

H264 = ("-c:v", "libx264", "-bf", "2", "-preset", "ultrafast", "-c:a", "aac")
NEW_FRAMES = ("-c:v", "libx264", "-qp", "4", "-preset", "ultrafast", "-c:a", "copy")


def upscaled(source: Path, output: Path) -> Path:
    arguments = [source, "-o", output, "-n", "nearest", "-s", 2, "--preset", "ultrafast"]
    assert run_command(["upscale", *map(str, arguments)]) == 0
    return output


def rows(source: Path, output: Path) -> dict[str, Check]:
    return {row.what: row for row in verify(source, output).checks}


def failed(source: Path, output: Path) -> dict[str, str]:
    """What does not come through, and how, by the first words of the rows."""
    return {row.what.split(",")[0]: row.result for row in verify(source, output).failed}


def joined(folder: Path, suffix: str, *second: str) -> Path:
    codec = {".vob": "mpeg2video", ".mpg": "mpeg1video"}.get(suffix)
    options = ("-c:v", codec, "-bf", "2", "-c:a", "mp2") if codec else H264
    parts = [clip(folder / f"{i}{suffix}", *options, *more).read_bytes() for i, more in enumerate(((), second))]
    (folder / f"in{suffix}").write_bytes(b"".join(parts))
    return folder / f"in{suffix}"


@pytest.mark.parametrize(
    ("suffix", "second"),
    [(".ts", ()), (".ts", ("-output_ts_offset", "3600")), (".m2ts", ()), (".vob", ()), (".mpg", ())],
)
def test_a_clock_that_jumps_must_be_joined(tmp_path, suffix, second):
    source = joined(tmp_path, suffix, *second)
    good = upscaled(source, tmp_path / "good.mkv")
    assert failed(source, good) == {}
    assert rows(source, good)["clock of the input"].found == "jumps 1x"
    late = ("-itsoffset", "0.5", "-i", good, "-map", "0:v", "-map", "1:a")
    ffmpeg("-copyts", "-i", good, *late, "-c", "copy", tmp_path / "late.mkv")
    assert "stream 1" in ",".join(failed(source, tmp_path / "late.mkv"))
    second_half = "setpts='if(lt(N,25),PTS,PTS+2/TB)'"
    ffmpeg("-copyts", "-i", good, "-vf", second_half, "-fps_mode", "passthrough", *NEW_FRAMES, tmp_path / "gap.mkv")
    assert "frame times" in failed(source, tmp_path / "gap.mkv")


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_frames_that_players_hide_are_caught(tmp_path, suffix):
    source = clip(tmp_path / "in.ts", *H264, "-output_ts_offset", "95441.3")  # the clock wraps a second later
    good = upscaled(source, tmp_path / f"good{suffix}")
    assert failed(source, good) == {}
    early = ("-output_ts_offset", "-0.5", "-avoid_negative_ts", "disabled")
    ffmpeg("-i", good, "-c", "copy", *early, tmp_path / f"early{suffix}")
    row = rows(source, tmp_path / f"early{suffix}")["frames that players do not show"]
    assert (row.expected, row.result) == ("0", "differs")
    assert 10 <= int(row.found.split(",")[0]) <= 14
    shown = times(tmp_path / f"early{suffix}") if suffix == ".mp4" else []
    assert len(shown) == (25 - int(row.found.split(",")[0]) if shown else 0)


@pytest.mark.parametrize("suffix", [".avi", ".asf"])
def test_decoding_times_taken_for_times_are_caught(tmp_path, suffix):
    source = clip(tmp_path / f"in{suffix}", "-c:v", "libx264", "-bf", "3", "-c:a", "mp3")
    good = upscaled(source, tmp_path / "good.mkv")
    assert failed(source, good) == {}
    uneven = "setpts='PTS+if(mod(N,3),0.04/TB,0)'"
    ffmpeg("-copyts", "-i", good, "-vf", uneven, "-fps_mode", "passthrough", *NEW_FRAMES, tmp_path / "bad.mkv")
    assert "frame times" in failed(source, tmp_path / "bad.mkv")


@pytest.mark.parametrize("matroska", [False, True])
@pytest.mark.parametrize(
    ("box", "what"), [(aperture(80, 48), "cropping"), (EQUIRECTANGULAR, "projection"), (SIDE_BY_SIDE, "stereo mode")]
)
def test_marks_that_are_lost_are_caught(tmp_path, matroska, box, what):
    source = tmp_path / "in.mov"
    source.write_bytes(inserted(clip(source, "-c:v", "libx264", "-an").read_bytes(), box, *STSD))
    if matroska:
        ffmpeg("-i", source, "-c", "copy", tmp_path / "in.mkv")
        source = tmp_path / "in.mkv"
    bare = tmp_path / "bare.mkv"
    ffmpeg("-i", clip(tmp_path / "plain.mov", "-c:v", "libx264", "-an"), "-vf", "scale=iw*2:-1", *NEW_FRAMES, bare)
    assert failed(source, bare)[what] == "lost"
    good = failed(source, upscaled(source, tmp_path / "out.mkv"))
    assert good == ({"projection": "lost"} if what == "projection" else {})


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mp4"), ("mpeg2video", ".ts")])
def test_captions_that_are_lost_or_changed_are_caught(tmp_path, codec, suffix):
    what = "closed captions inside the frames"
    source = captioned(tmp_path / f"in{suffix}", codec, "HELLO WORLD!", "-bf", "2")
    good = upscaled(source, tmp_path / "good.mp4")
    assert failed(source, good) == {}
    assert rows(source, good)[what].found == "14 pairs"
    other = upscaled(captioned(tmp_path / f"other{suffix}", codec, "HELLO WORD!!", "-bf", "2"), tmp_path / "else.mp4")
    assert failed(source, other) == {what: "differs"}
    ffmpeg("-i", good, "-c", "copy", "-bsf:v", "filter_units=remove_types=6", tmp_path / "lost.mp4")
    assert failed(source, tmp_path / "lost.mp4") == {what: "lost"}
    ffmpeg("-i", good, "-c:v", "ffv1", tmp_path / "ffv1.mkv")
    assert rows(source, tmp_path / "ffv1.mkv")[what].result == "note"


def test_pixels_of_another_shape_that_are_squeezed_are_caught(tmp_path):
    parts = []
    for number, shape in enumerate(("16/15", "64/45")):
        later = ("-output_ts_offset", str(number))
        parts.append(clip(tmp_path / f"{number}.ts", *H264, "-vf", f"setsar={shape}", "-an", *later).read_bytes())
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join(parts))
    assert failed(source, upscaled(source, tmp_path / "good.mkv")) == {}
    ffmpeg(
        "-copyts",
        "-i",
        source,
        "-vf",
        "scale=192:128,setsar=16/15",
        "-fps_mode",
        "passthrough",
        *NEW_FRAMES,
        tmp_path / "bad.mkv",
    )
    assert "pictures" in failed(source, tmp_path / "bad.mkv")


@pytest.mark.parametrize("form", ["BMP", "PNG", "JPEG"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_covers_are_expected_where_they_are_written(tmp_path, form, suffix):
    image = tmp_path / f"cover.{form.lower()}"
    Image.new("RGB", (16, 16), "red").save(image, form)
    plain, source = clip(tmp_path / "plain.mp4"), tmp_path / "in.mp4"
    cover = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic")
    ffmpeg("-i", plain, "-i", image, *cover, source)
    assert failed(source, upscaled(source, tmp_path / f"out{suffix}")) == {}


def test_headers_of_streams_are_read_as_another_program_reads_them(tmp_path):
    for suffix, codec in ((".ts", "libx264"), (".m2ts", "libx264"), (".vob", "mpeg2video"), (".mpg", "mpeg1video")):
        source = clip(tmp_path / f"in{suffix}", "-c:v", codec, "-bf", "2", "-c:a", "mp2")
        with av.open(str(source)) as container:
            number = container.streams.video[0].id & (0xFF if suffix in (".vob", ".mpg") else 0x1FFF)
            found = {packet.pts for packet in container.demux(video=0) if packet.size}
        with source.open("rb") as file:
            own = {pts for _, stream, pts, _ in stamps(file) if stream == number}
        assert own <= found
        assert len(own) >= len(found) // 2  # program streams need not repeat the time of every frame
        assert JoinedClock(source, number, Fraction(0)).jumps == 0


@pytest.mark.parametrize("suffix", [".ts", ".vob", ".mkv", ".mp4"])
def test_damage_is_read_to_its_end(tmp_path, suffix):
    noise = random.Random(suffix)
    options = ("-c:v", "mpeg2video", "-c:a", "mp2") if suffix == ".vob" else H264
    source = clip(tmp_path / f"in{suffix}", *options)
    whole = source.read_bytes()
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(noise.choice((1, 100, 1000))):
            data[noise.randrange(len(data))] = noise.randrange(256)
        at = noise.randrange(len(data))
        source.write_bytes(data[:at] + data[at + noise.randrange(300) :])
        JoinedClock(source, 0x100, Fraction(0))
        with suppress(BadInput, IndexError):  # nothing can be opened, or no stream is left
            joined_clock(source, 0)
        hidden_frames(source, 0)
