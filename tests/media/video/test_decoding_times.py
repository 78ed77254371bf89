"""Formats that store decoding times only: with B-frames, each frame is still shown when it should be."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from dagan_cli.media.video.source import open_video
from tests.support.clips import clip, passed_through, payload, times

STEP = Fraction(1, 25)
B_FRAMES = ("-bf", "3", "-preset", "ultrafast", "-x264-params", "b-pyramid=normal:b-adapt=0", "-c:a", "mp3")


def in_vfw_mode(source: Path, target: Path) -> Path:
    """Rewrite a Matroska file of FFmpeg's to the compatibility mode for AVI: codec by its fourcc, decoding times.

    The header keeps its length: the codec's ID and its data are exchanged for others in the same place.
    """
    with av.open(str(source)) as before, av.open(str(target), "w") as out:
        copy = out.add_stream_from_template(before.streams.video[0], opaque=True)
        for number, packet in enumerate(packet for packet in before.demux(video=0) if packet.size):
            packet.pts = packet.dts = number * 40  # as an AVI file counts
            packet.stream = copy
            out.mux(packet)
    data = target.read_bytes()
    named = b"\x86\x8f" + b"V_MPEG4/ISO/ASP"
    private = data.index(b"\x63\xa2", data.index(named))
    size = data[private + 2] & 0x7F
    assert data[private + 2] & 0x80
    assert size >= 40
    header = b"\x28\0\0\0" + (96).to_bytes(4, "little") + (64).to_bytes(4, "little") + b"\1\0\x18\0XVID"
    header = header.ljust(40, b"\0").ljust(size, b"\0")
    data = data[: private + 3] + header + data[private + 3 + size :]
    target.write_bytes(data.replace(named, b"\x86\x8f" + b"V_MS/VFW/FOURCC"))
    return target


def xvid_in_matroska(folder: Path) -> Path:
    plain = clip(folder / "plain.mkv", "-c:v", "mpeg4", "-bf", "2", "-an")
    return in_vfw_mode(plain, folder / "in.mkv")


def h264_in_avi(folder: Path) -> Path:
    return clip(folder / "in.avi", "-c:v", "libx264", *B_FRAMES)


def mpeg4_in_avi(folder: Path) -> Path:
    return clip(folder / "in.avi", "-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3")


def h264_in_asf(folder: Path) -> Path:
    return clip(folder / "in.asf", "-c:v", "libx264", *B_FRAMES)


def packed(folder: Path) -> Path:
    """B-frames in one packet with the frame before them, then an empty frame, as XviD and DivX pack them."""
    plain = clip(folder / "plain.avi", "-c:v", "mpeg4", "-bf", "1", "-b_strategy", "0", "-an")
    with av.open(str(plain)) as before, av.open(str(folder / "packed.avi"), "w") as out:
        copy = out.add_stream_from_template(before.streams.video[0], opaque=True)
        data = [bytes(packet) for packet in before.demux(video=0) if packet.size]
        units: list[bytes] = []
        for frame in data:
            kind = frame[frame.index(b"\0\0\1\xb6") + 4] >> 6  # 0 I, 1 P, 2 B
            if kind == 2:
                units[-1] += frame
                units.append(b"\0\0\1\xb6\x50\0\0\0")  # a frame that is not coded
            else:
                units.append(frame)
        at = units[0].index(b"\0\0\1\xb6")
        units[0] = units[0][:at] + b"\0\0\1\xb2DivX503b1393p" + units[0][at:]
        for number, unit in enumerate(units):
            packet = av.Packet(unit)
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = STEP, copy
            out.mux(packet)
    return folder / "packed.avi"


@pytest.mark.slow
@pytest.mark.parametrize("made", [xvid_in_matroska, h264_in_avi, mpeg4_in_avi, h264_in_asf])
def test_frames_of_decoding_times_are_shown_in_even_steps(tmp_path, made):
    source = made(tmp_path)
    expected = times(source)
    with open_video(source) as video:
        shown = [frame.pts * frame.time_base for frame in video.frames()]
        assert shown == expected
        assert {b - a for a, b in pairwise(shown)} == {STEP}
        assert len(shown) >= 25
        assert (video.info.vfr, video.warnings, video.shortfall) == (False, (), None)
    passed_through(source, tmp_path / "out.mp4")
    assert {b - a for a, b in pairwise(times(tmp_path / "out.mp4"))} == {STEP}
    if made is not xvid_in_matroska:
        assert payload(tmp_path / "out.mp4", "a") == payload(source, "a")


def test_packed_b_frames_are_shown_in_even_steps(tmp_path):
    source = packed(tmp_path)
    with open_video(source) as video:
        shown = [frame.pts * frame.time_base for frame in video.frames()]
    assert len(shown) >= 24
    assert {b - a for a, b in pairwise(shown)} == {STEP}
    assert shown == times(source)
