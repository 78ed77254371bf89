"""YUV4MPEG2 through real pipes, with another FFmpeg at the other end."""

from __future__ import annotations

import io
import os
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from dagan_cli.engine.colour import from_rgb, to_rgb
from dagan_cli.errors import BadInput, CannotWrite, DaganError
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.source import open_video
from dagan_cli.media.y4m.reader import Y4mSource, is_y4m
from dagan_cli.media.y4m.writer import Y4mWriter, create_y4m
from tests.support.clips import UNEVEN, clip, clip_with_times, ffmpeg

STDIN = Path("stdin")
PICTURE = "testsrc=size=50x35:rate=24000/1001"  # odd rows, and a width that 4 does not divide
FORMATS = {  # what FFmpeg writes: pixel format -> chroma, depth, planes
    "yuv420p": ("420", 8, 3),
    "yuv411p": ("411", 8, 3),
    "yuv422p": ("422", 8, 3),
    "yuv444p": ("444", 8, 3),
    "yuva444p": ("444", 8, 4),
    "gray": ("gray", 8, 1),
    **{f"gray{depth}le": ("gray", depth, 1) for depth in (9, 10, 12, 16)},
    **{f"yuv{c}p{depth}le": (c, depth, 3) for c in ("420", "422", "444") for depth in (9, 10, 12, 14, 16)},
}


def run(*arguments: object, stdin: bytes | None = None) -> bytes:
    """What the other FFmpeg writes to its stdout."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *map(str, arguments)]
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout


def made(pix_fmt: str, form: str, filters: str = "null", frames: int = 3, picture: str = PICTURE) -> list[object]:
    """Arguments that make the same pictures, in that pixel format, each time."""
    encoding = ["-f", form, "-strict", "-1", "-pix_fmt", pix_fmt, "-vf", filters]
    return ["-f", "lavfi", "-i", picture, "-frames:v", frames, *encoding, "-"]


@contextmanager
def piped(*arguments: object) -> Iterator[io.BufferedReader]:
    """A pipe that the other FFmpeg writes to."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert isinstance(process.stdout, io.BufferedReader)
        yield process.stdout


def stream(header: str = "W4 H2 F25:1 C420jpeg", frames: int = 1, size: int = 12) -> bytes:
    return f"YUV4MPEG2 {header}\n".encode() + b"".join(b"FRAME\n" + bytes([i]) * size for i in range(1, frames + 1))


def source_of(data: bytes) -> Y4mSource:
    return Y4mSource(io.BytesIO(data), STDIN)


def described(pix_fmt: str, picture: str = PICTURE) -> VideoInfo:
    return source_of(run(*made(pix_fmt, "yuv4mpegpipe", frames=1, picture=picture))).info


def written(info: VideoInfo, count: int = 2, seed: int = 0) -> tuple[bytes, list[np.ndarray], tuple[str, ...]]:
    """The stream of random pictures of the size of `info`, their planes, and what was warned of."""
    out = io.BytesIO()
    numbers = np.random.default_rng(seed)
    planes = []
    with create_y4m(out, info, (info.width, info.height)) as writer:
        layout = writer.layout
        width, height = layout.chroma_size(info.width, info.height)
        shapes = [(info.height, info.width), (height, width), (height, width), (info.height, info.width)]
        shapes = shapes[:1] if layout.chroma == "gray" else shapes[: layout.planes]
        kind = np.uint8 if layout.depth == 8 else np.uint16
        for index in range(count):
            picture = [numbers.integers(0, 2**layout.depth, shape).astype(kind) for shape in shapes]
            writer.write(picture, round(index / info.rate / info.time_base), 1)
            planes += picture
    return out.getvalue(), planes, writer.warnings


# --- reading


@pytest.mark.slow
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_every_colour_space_that_ffmpeg_writes_is_read_from_a_pipe(pix_fmt):
    expected = run(*made(pix_fmt, "rawvideo"))
    with piped(*made(pix_fmt, "yuv4mpegpipe")) as pipe:
        source = Y4mSource(pipe, STDIN)
        frames = list(source.frames())
    info = source.info
    assert (info.layout.chroma, info.layout.depth, info.layout.planes) == FORMATS[pix_fmt]
    assert (info.width, info.height, info.pix_fmt, info.codec) == (50, 35, pix_fmt, "rawvideo")
    assert {plane.dtype for frame in frames for plane in frame.planes} == {
        np.dtype(np.uint8 if info.layout.depth == 8 else np.uint16)
    }
    assert b"".join(plane.tobytes() for frame in frames for plane in frame.planes) == expected
    assert [frame.pts for frame in frames] == [0, 1, 2]
    assert {(frame.time_base, frame.duration) for frame in frames} == {(Fraction(1001, 24000), 1)}
    assert (source.decoded, source.shortfall, source.warnings) == (3, None, ())


def test_a_stream_is_described_as_the_same_file_is(tmp_path):
    """The reader of files, which is FFmpeg's, finds the same but for what it reads off the length of the file."""
    (tmp_path / "a.y4m").write_bytes(data := run(*made("yuv422p", "yuv4mpegpipe", "setsar=4/3")))
    with open_video(tmp_path / "a.y4m") as video:
        known = replace(video.info, path=STDIN, frames=None, duration=None)
        assert source_of(data).info == known
        for ours, theirs in zip(source_of(data).frames(), video.frames(), strict=True):
            assert (ours.pts, ours.duration, ours.time_base) == (theirs.pts, theirs.duration, theirs.time_base)
            assert all((a == b).all() for a, b in zip(ours.planes, theirs.planes, strict=True))


@pytest.mark.parametrize(("place", "siting"), [("left", "left"), ("center", "center"), ("topleft", "topleft")])
def test_where_colour_samples_lie_is_read(place, siting):
    data = run(*made("yuv420p", "yuv4mpegpipe", f"format=yuv420p,setparams=chroma_location={place}", frames=1))
    assert source_of(data).info.layout.siting == siting


@pytest.mark.parametrize(("name", "full"), [("yuvj420p", True), ("yuv420p", False), ("gray", True)])
def test_the_range_of_the_numbers_is_read(name, full):
    layout = described(name).layout
    assert layout.full_range is full
    assert layout.tags.range == (2 if full else 1)


@pytest.mark.parametrize(("size", "tags"), [("16x64", (6, 1, 1)), ("16x576", (5, 5, 1)), ("16x720", (1, 1, 1))])
def test_colour_is_guessed_by_the_height_as_players_do(size, tags):
    found = described("yuv420p", f"testsrc2=size={size}").layout.tags
    assert (found.matrix, found.primaries, found.transfer) == tags


@pytest.mark.parametrize(("tags", "matrix"), [("W4 H2", "420"), ("W4 H2 XYSCSS=444", "444"), ("W4 H2 C422", "422")])
def test_old_and_missing_names_of_colour_spaces_are_understood(tags, matrix):
    assert source_of(stream(tags, size=24)).info.layout.chroma == matrix


def test_what_the_header_does_not_say_is_not_made_up():
    source = source_of(stream("W4 H2 F0:0 A0:0"))
    assert source.info.sample_aspect_ratio is None
    assert (source.info.frames, source.info.duration, source.info.interlaced) == (None, None, False)
    assert source.info.rate == 25
    assert "25" in source.warnings[0]


@pytest.mark.parametrize("order", "tbm")
def test_interlaced_pictures_are_told_of(order):
    source = source_of(stream(f"W4 H2 I{order} F25:1"))
    assert source.info.interlaced
    assert "bwdif" in source.warnings[0]


def test_parameters_of_frames_and_unknown_tags_are_passed_over():
    data = stream("Xcomment=a W4 H2 Zodd", frames=2).replace(b"FRAME\n", b"FRAME Ipp Xa=b\n")
    assert [frame.planes[0][0, 0] for frame in source_of(data).frames()] == [1, 2]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"start": 0.08}, [2, 3, 4]),
        ({"end": 0.08}, [0, 1]),
        ({"start": 0.04, "end": 0.16}, [1, 2, 3]),
        ({"limit": 2}, [0, 1]),
        ({"start": 0.05, "limit": 2}, [2, 3]),
        ({"start": 9.0}, []),
    ],
)
def test_a_part_is_cut_out_by_time_and_number(part, expected):
    frames = list(source_of(stream(frames=5)).frames(**part))
    assert [frame.pts for frame in frames] == expected
    assert [frame.planes[0][0, 0] for frame in frames] == [pts + 1 for pts in expected]


def test_a_frame_is_there_as_soon_as_its_last_byte_is():
    """Nothing waits for what follows: with a camera at the other end it may be long in coming."""
    out, into = os.pipe()
    data = stream(frames=2)
    with os.fdopen(out, "rb") as pipe, os.fdopen(into, "wb", buffering=0) as end:
        end.write(data[: len(data) - 18])
        frames = Y4mSource(pipe, STDIN).frames()
        assert next(frames).pts == 0
        end.write(data[len(data) - 18 :])
        assert next(frames).pts == 1


def test_a_stream_that_comes_in_crumbs_is_put_together():
    out, into = os.pipe()
    data = stream(frames=3)

    def crumble() -> None:
        with os.fdopen(into, "wb", buffering=0) as end:
            for byte in data:
                end.write(bytes([byte]))

    thread = threading.Thread(target=crumble)
    thread.start()
    with os.fdopen(out, "rb", buffering=0) as pipe:
        assert len(list(Y4mSource(pipe, STDIN).frames())) == 3  # type: ignore[arg-type]
    thread.join()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_stream():
    """Two thousand frames of 0.8 MB through a process that may have 400 MB more than it started with."""
    program = (
        "import resource, sys, numpy; from pathlib import Path; from dagan_cli.media.y4m.reader import Y4mSource\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)\n"
        "print(sum(1 for frame in Y4mSource(sys.stdin.buffer, Path('stdin')).frames()))"
    )
    frame = b"FRAME\n" + bytes(960 * 540 * 3 // 2)
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"YUV4MPEG2 W960 H540 F25:1\n")
        for _ in range(2000):
            process.stdin.write(frame)
        process.stdin.close()
        assert process.stdout.read().split() == [b"2000"]
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


# --- damage


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is not YUV4MPEG2"),
        (b"\x89PNG\r\n", "is not YUV4MPEG2"),
        (b"YUV4MPEG2", "is not YUV4MPEG2"),
        (b"YUV4MPEG2 W4 H2", "is incomplete"),
        (b"YUV4MPEG2 W4 H2 X" + b"a" * 100_000, "is incomplete"),
        (stream("F25:1"), "size"),
        (stream("W4"), "size"),
        (stream("W0 H2"), "size"),
        (stream("W-4 H2"), "size"),
        (stream("Wfour H2"), "size"),
        (stream("W99999999999999999999 H2"), "size"),
        (stream("W60000 H60000"), "limit is 268 million"),
        (stream("W4 H2 F25"), "ratio"),
        (stream("W4 H2 F-25:1"), "ratio"),
        (stream("W4 H2 F9999999999:1"), "ratio"),
        (stream("W4 H2 Aa:b"), "ratio"),
        (stream("W4 H2 C410"), "unknown pixel format"),
        (stream("W4 H2 C420p11"), "unknown pixel format"),
        (stream("W4 H2 Iz"), "interlacing"),
        (stream(frames=0), "holds none"),
        (stream(frames=0) + b"FRA", "truncated"),
        (stream(frames=0) + b"GARBAGE\n" + bytes(12), "no frame"),
        (stream(size=11), "in the middle of frame 1"),
    ],
)
def test_what_cannot_be_read_is_refused_with_advice(data, what):
    with pytest.raises(BadInput, match=what) as caught:
        source_of(data)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("tail", "frames", "what"),
    [
        (b"FRAME\n" + bytes(5), 2, "in the middle of frame 3"),
        (b"FRA", 2, "truncated after frame 2"),
        (b"FRAME", 2, "truncated after frame 2"),
        (b"FRAMES\n" + bytes(12), 2, "follows frame 2"),
        (bytes(500), 2, "follows frame 2"),
    ],
)
def test_frames_before_the_damage_are_kept_and_the_rest_is_missed(tail, frames, what):
    source = source_of(stream(frames=frames) + tail)
    assert len(list(source.frames())) == source.decoded == frames
    assert source.shortfall is not None
    assert what in source.shortfall


def test_a_stream_that_cannot_be_read_from_is_refused():
    out, into = os.pipe()
    os.close(out)
    with os.fdopen(into, "rb") as end, pytest.raises(BadInput, match="cannot be read: bad file descriptor"):
        Y4mSource(end, STDIN)


def test_a_huge_size_takes_no_memory_before_the_pixels_come():
    with pytest.raises(BadInput, match="in the middle of frame 1"):
        source_of(stream("W16000 H16000 C444p16"))


def test_broken_headers_are_refused_and_never_a_bug():
    random.seed(0)
    headers = [b"YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420jpeg XYSCSS=420JPEG XCOLORRANGE=LIMITED\nFRAME Ip\n" + bytes(12)]
    headers += [
        run(*made(name, "yuv4mpegpipe", frames=1, picture="testsrc2=size=6x4")) for name in ("gray12le", "yuva444p")
    ]
    refused = 0
    for turn in range(300):
        data = bytearray(headers[turn % len(headers)])
        for _ in range(random.randint(1, 4)):
            place = random.randrange(min(100, len(data) + 1))
            match random.randrange(4):
                case 0:
                    data[place : place + 1] = bytes([random.randrange(256)])
                case 1:
                    del data[place : place + random.randint(1, 8)]
                case 2:
                    data[place:place] = random.choice([b" ", b"\n", b":", b"9", b"W", b"C", b"\xff", b"0" * 30, b"p16"])
                case 3:
                    del data[place:]
        try:
            for frame in source_of(bytes(data)).frames():
                assert frame.planes
        except DaganError as error:
            refused += bool(str(error) and error.hint)
    assert 100 < refused < 300


def test_what_is_y4m_is_told_by_its_first_bytes():
    assert is_y4m(stream()[:10])
    assert not is_y4m(b"YUV4MPEG3 ")
    assert not is_y4m(b"\x89PNG\r\n\x1a\n\0\0")
    assert not is_y4m(b"")


# --- writing


@pytest.mark.slow
@pytest.mark.parametrize("pix_fmt", [*FORMATS, "yuvj420p", "yuvj444p"])
def test_what_is_written_is_read_by_the_other_ffmpeg(pix_fmt):
    """Planes, size, rate, pixel shape and range."""
    info = replace(described(pix_fmt), sample_aspect_ratio=Fraction(64, 45))
    data, planes, warnings = written(info)
    assert warnings == ()
    stored = pix_fmt.replace("yuvj", "yuv")
    assert run("-i", "-", "-f", "rawvideo", "-pix_fmt", stored, "-", stdin=data) == b"".join(
        p.tobytes() for p in planes
    )
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", "-"]
    seen = subprocess.run(command, input=data, stderr=subprocess.PIPE, check=False).stderr.decode()
    assert "50x35, SAR 64:45" in seen
    assert "23.98 fps" in seen
    assert ("(pc" in seen) == info.layout.full_range


@pytest.mark.slow
def test_what_is_written_is_read_back_as_it_was():
    for pix_fmt in FORMATS:
        info = described(pix_fmt)
        data, planes, _ = written(info)
        again = source_of(data)
        assert again.info == info
        assert [p.tobytes() for frame in again.frames() for p in frame.planes] == [p.tobytes() for p in planes]


@pytest.mark.parametrize("place", ["left", "center", "topleft"])
def test_where_colour_samples_lie_is_written(place):
    info = described("yuv420p")
    info = replace(info, layout=replace(info.layout, siting=place))
    data, _, warnings = written(info)
    assert warnings == ()
    assert source_of(data).info.layout.siting == place


@pytest.mark.parametrize(
    ("pix_fmt", "held"),
    [
        ("yuv440p", ("444", 8, False)),
        ("yuv410p", ("420", 8, False)),
        ("yuva420p", ("444", 8, True)),
        ("ya8", ("444", 8, True)),
        ("bgr0", ("444", 8, False)),
        ("bgra", ("444", 8, True)),
        ("gbrp10le", ("444", 10, False)),
        ("gray14le", ("gray", 16, False)),
        ("yuva444p10le", ("444", 10, False)),
    ],
)
def test_what_y4m_cannot_hold_becomes_the_nearest_that_it_can(tmp_path, pix_fmt, held):
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=48x32",
        "-frames:v",
        "1",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        pix_fmt,
        tmp_path / "a.mkv",
    )
    with open_video(tmp_path / "a.mkv") as video:
        data, _, warnings = written(video.info)
    layout = source_of(data).info.layout
    assert (layout.chroma, layout.depth, layout.alpha) == held
    assert any("transparency" in warning for warning in warnings) == (video.info.layout.alpha and not held[2])


def test_rgb_comes_out_in_the_colours_that_readers_will_guess(tmp_path):
    """At 720 lines BT.709, below BT.601: the other FFmpeg, which guesses nothing, is told so."""
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=48x32",
        "-frames:v",
        "1",
        "-c:v",
        "ffv1",
        "-pix_fmt",
        "gbrp",
        tmp_path / "a.mkv",
    )
    with open_video(tmp_path / "a.mkv") as video:
        frame = next(video.frames())
        for height, matrix in ((32, "bt601"), (720, "bt709")):
            out = io.BytesIO()
            writer = Y4mWriter(out, video.info, (48, height))
            assert (writer.layout.matrix, writer.warnings) == (matrix, ())
            if height == 32:
                rgb = to_rgb([torch.from_numpy(np.array(plane)) for plane in frame.planes], video.info.layout)
                writer.write([plane.numpy() for plane in from_rgb(rgb, writer.layout)], 0, 1)
                back = run(
                    "-i",
                    "-",
                    "-vf",
                    "zscale=matrixin=470bg:matrix=gbr,format=gbrp",
                    "-f",
                    "rawvideo",
                    "-",
                    stdin=out.getvalue(),
                )
                green, blue, red = np.frombuffer(back, np.uint8).reshape(3, 32, 48).astype(int)
                for ours, theirs in zip(frame.planes, (red, green, blue), strict=True):
                    assert abs(ours.astype(int) - theirs).max() <= 2


def test_what_is_lost_is_named(tmp_path):
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=48x32",
        "-f",
        "lavfi",
        "-i",
        "sine",
        "-t",
        "0.2",
        plain := tmp_path / "a.mp4",
    )
    ffmpeg("-display_rotation", "90", "-i", plain, "-c", "copy", tmp_path / "turned.mp4")
    with open_video(tmp_path / "turned.mp4") as video:
        warnings = Y4mWriter(io.BytesIO(), video.info, (48, 32)).warnings
    assert len(warnings) == 2
    assert "audio" in warnings[0]
    assert "rotation" in warnings[1]


def test_colours_that_a_reader_would_guess_wrong_can_be_told_to_it(tmp_path):
    """The options in the warning, given to the other FFmpeg, bring back the tags of the source."""
    tags = "setparams=range=tv:colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084"
    source = clip(tmp_path / "in.mkv", "-an", "-vf", f"format=yuv420p10le,{tags}", "-c:v", "ffv1", seconds=0.1)
    with open_video(source) as video:
        data, _, warnings = written(video.info)
    assert len(warnings) == 1
    said = warnings[0].partition(" with ffmpeg: ")[2]
    assert said == "-colorspace 9 -color_primaries 9 -color_trc 16 -chroma_sample_location topleft"
    options = said.split()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "info", *options, "-i", "-", "-vf", "showinfo", "-f", "null", "-"]
    seen = subprocess.run(command, input=data, stderr=subprocess.PIPE, check=True).stderr.decode()
    assert "color_space:bt2020nc color_primaries:bt2020 color_trc:smpte2084" in seen
    assert "topleft" in seen


def test_a_small_picture_made_large_needs_its_matrix_told():
    info = described("yuv420p")
    assert Y4mWriter(io.BytesIO(), info, (100, 70)).warnings == ()
    (warning,) = Y4mWriter(io.BytesIO(), info, (1000, 720)).warnings
    assert "-colorspace 6" in warning


def test_uneven_times_are_warned_of_and_even_ones_are_not(tmp_path):
    for times, is_even in (
        (UNEVEN, False),
        ([0, 40, 80, 120, 160, 200], True),
        ([0, 40, 80, 400, 440, 480], False),
    ):
        with open_video(clip_with_times(tmp_path / "in.mkv", times)) as video:
            writer = Y4mWriter(io.BytesIO(), video.info, (96, 64))
            for frame in video.frames():
                writer.write(frame.planes, frame.pts, frame.duration)
        assert any("times" in warning for warning in writer.warnings) is not is_even, times


def test_a_cut_that_begins_later_is_even_too():
    info = described("yuv420p")
    writer = Y4mWriter(io.BytesIO(), info, (50, 35))
    planes = [np.zeros((35, 50), np.uint8), np.zeros((18, 25), np.uint8), np.zeros((18, 25), np.uint8)]
    for index in range(100, 110):
        writer.write(planes, index, 1)
    assert writer.warnings == ()


def test_nothing_is_written_before_the_first_frame_and_no_frame_is_an_error():
    out = io.BytesIO()
    with pytest.raises(CannotWrite, match="would be empty"), create_y4m(out, described("yuv420p"), (50, 35)):
        pass
    assert out.getvalue() == b""


def test_planes_of_another_size_are_refused():
    writer = Y4mWriter(io.BytesIO(), described("gray"), (50, 35))
    with pytest.raises(ValueError, match="planes of"):
        writer.write([np.zeros((35, 49), np.uint8)], 0, 1)


def test_the_header_stays_within_what_ffmpeg_reads():
    """96 bytes, whatever the numbers."""
    info = replace(
        described("yuv420p"), rate=Fraction(2**31 - 1, 2**31 - 3), sample_aspect_ratio=Fraction(32767, 32768)
    )
    out = io.BytesIO()
    info = replace(info, layout=replace(info.layout, siting="left"), width=16000, height=16000)
    writer = Y4mWriter(out, info, (16000, 2))
    colour = np.zeros((1, 8000), np.uint8)
    writer.write([np.zeros((2, 16000), np.uint8), colour, colour], 0, 1)
    assert len(out.getvalue().partition(b"\n")[0]) < 96


@pytest.mark.parametrize("buffering", [0, -1])
def test_a_reader_that_leaves_is_an_error_with_advice(buffering):
    out, into = os.pipe()
    os.close(out)
    end = os.fdopen(into, "wb", buffering)
    info = described("gray")
    with pytest.raises(CannotWrite, match="cannot write stdout: broken pipe") as caught:
        Y4mWriter(end, info, (50, 35)).write([np.zeros((35, 50), np.uint8)], 0, 1)
    assert caught.value.hint
    with pytest.raises(BrokenPipeError) if buffering else open(os.devnull):
        end.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_ends_the_batch():
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(CannotWrite, match="no space") as caught:
        Y4mWriter(full, described("gray"), (50, 35)).write([np.zeros((35, 50), np.uint8)], 0, 1)
    assert caught.value.ends_the_batch


def test_a_whole_pipeline_of_three_programs_changes_no_number(tmp_path):
    """ffmpeg | reader, writer | ffmpeg, with a frame much larger than a pipe holds."""
    picture = "testsrc2=size=640x360:rate=25"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", "-", "-f", "rawvideo", "-"]
    with (
        open(tmp_path / "raw", "w+b") as raw,
        piped(*made("yuv420p", "yuv4mpegpipe", frames=8, picture=picture)) as pipe,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=raw, bufsize=0) as player,
    ):
        source = Y4mSource(pipe, STDIN)
        with player.stdin as end, create_y4m(cast(BinaryIO, end), source.info, (640, 360)) as writer:  # type: ignore
            for frame in writer.missing(source.frames()):
                writer.write(frame.planes, frame.pts, frame.duration)
    assert (writer.frames, source.shortfall, writer.warnings) == (8, None, ())
    assert (tmp_path / "raw").read_bytes() == run(*made("yuv420p", "rawvideo", frames=8, picture=picture))
