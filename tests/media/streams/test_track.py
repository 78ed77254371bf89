"""Damaged streams beside the picture: what can be kept is kept, what is lost is said, and the picture never suffers."""

from __future__ import annotations

import io
import random
import re
from fractions import Fraction
from pathlib import Path

import av
import pytest

from dagan_cli.errors import BadInput
from dagan_cli.media.container import open_input
from dagan_cli.media.streams.copied import CopiedStreams, chapters_within, sort_streams
from dagan_cli.media.streams.track import _amr_blocks
from tests.support.clips import clip, ffmpeg, passed_through, payload, times

FRAMES = [Fraction(number, 25) for number in range(25)]


def packets(path: Path, index: int = 1) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(container.streams[index]) if packet.size]
        return [(round((p.pts or 0) * p.time_base, 2), bytes(p)) for p in found]


@pytest.mark.slow
@pytest.mark.parametrize(("sound", "suffix"), [("ac3", ".mp4"), ("eac3", ".mp4"), ("eac3", ".mov")])
def test_packets_that_the_container_refuses_are_left_out(tmp_path, sound, suffix):
    """The muxer finds the damage only when it writes the packet, in the middle of the pictures."""
    source = clip(tmp_path / "in.mkv", "-c:v", "libx264", "-c:a", sound)
    good = packets(source)
    broken = source.read_bytes()
    for _, data in good[3:6]:
        assert broken.count(data[:60]) == 1
        broken = broken.replace(data[:60], b"\0" * 60)
    source.write_bytes(broken)
    warnings = passed_through(source, tmp_path / f"out{suffix}")
    assert warnings == (f"stream 1 (audio {sound}) is damaged: 3 packets were left out",)
    assert [data for _, data in packets(tmp_path / f"out{suffix}")] == [data for _, data in good[:3] + good[6:]]
    assert times(tmp_path / f"out{suffix}") == FRAMES


@pytest.mark.slow
def test_sound_that_ends_too_early_is_told(tmp_path):
    source = clip(tmp_path / "in.mkv", "-c:v", "libx264", "-c:a", "flac", "-g", "5", seconds=4)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    warnings = passed_through(source, tmp_path / "out.mkv")
    told = [
        re.fullmatch(r"stream 1 \(audio flac\) is damaged: only (\S+) of 4.0 s can be read", word) for word in warnings
    ]
    read = [float(match[1]) for match in told if match]
    assert read == [pytest.approx(float(packets(tmp_path / "out.mkv")[-1][0]), abs=0.2)]


@pytest.mark.slow
def test_a_packet_of_a_time_beyond_all_reason_does_not_move_those_after_it(tmp_path):
    source = clip(tmp_path / "in.ts", "-c:v", "libx264", "-c:a", "mp2")
    plain = packets(source)
    data = bytearray(source.read_bytes())
    at = [match.start() for match in re.finditer(rb"\x00\x00\x01\xc0", data)]  # the PES packets of sound
    assert len(at) > 2
    data[at[1] + 9 : at[1] + 14] = bytes((0x2F, 0xFF, 0xFF, 0xFF, 0xFF))  # 26 hours
    source.write_bytes(data)
    warnings = passed_through(source, tmp_path / "out.mkv")
    assert any("stream 1 (audio mp2) is damaged" in warning for warning in warnings)
    kept = packets(tmp_path / "out.mkv")
    assert len(kept) > len(plain) // 2
    assert all(min(abs(time - other) for other, _ in plain) <= Fraction(1, 100) for time, _ in kept)


@pytest.mark.slow
def test_times_that_do_not_increase_are_set_anew(tmp_path):
    source = clip(tmp_path / "in.mkv", "-c:v", "libx264", "-c:a", "flac")
    data = bytearray(source.read_bytes())
    at = data.find(packets(source)[2][1])
    data[at - 3 : at - 1] = bytes(2)  # of its block, milliseconds since the cluster's beginning
    source.write_bytes(data)
    warnings = passed_through(source, tmp_path / "out.mkv")
    assert warnings == ("stream 1 (audio flac) is damaged: 1 timestamps did not increase and were repaired",)
    assert payload(tmp_path / "out.mkv", "a") == payload(source, "a")
    moments = [time for time, _ in packets(tmp_path / "out.mkv")]
    assert moments == sorted(moments)
    assert times(tmp_path / "out.mkv") == FRAMES


@pytest.mark.slow
def test_a_part_without_any_of_the_sound_is_written(tmp_path):
    """mp4 cannot describe AC-3 of which there is nothing."""
    plain = clip(tmp_path / "plain.mkv", "-c:v", "libx264", "-c:a", "ac3", seconds=2)
    source = tmp_path / "in.mkv"
    ffmpeg("-i", plain, "-itsoffset", "1.5", "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy", source)
    passed_through(source, tmp_path / "out.mp4", trim=True, end=1)
    assert times(tmp_path / "out.mp4") == FRAMES


@pytest.mark.parametrize("seed", range(20))
def test_blocks_of_amr_are_found_in_anything(seed):
    noise = random.Random(seed)
    packet = av.Packet(noise.randbytes(noise.randrange(1, 400)))
    packet.time_base, packet.pts = Fraction(1, 8000), 0
    blocks = list(_amr_blocks(packet))
    assert b"".join(map(bytes, blocks)) == bytes(packet)
    assert [block.pts for block in blocks] == [160 * number for number in range(len(blocks))]


def beside_a_picture(source: Path, form: str) -> list[str]:
    """All but the pictures of a file into a container in memory, beside a short picture of our own."""
    with open_input(source) as donor, av.open(io.BytesIO(), "w", format=form, metadata_errors="surrogateescape") as out:
        main = next((stream.index for stream in donor.streams if stream.type == "video"), -1)
        kept, warnings = sort_streams(donor, main, form, audio=True)
        copies, video = CopiedStreams(donor, out), out.add_stream("mpeg4", rate=25)
        video.width, video.height = 32, 32
        for stream in kept:
            copies.add(stream)
        out.set_chapters(chapters_within(donor.chapters()))
        out.start_encoding()
        copies.start()
        for number in range(25):
            picture = av.VideoFrame(32, 32, "yuv420p")
            picture.pts = number
            for packet in video.encode(picture):
                copies.until((packet.dts or 0) * packet.time_base)
                out.mux(packet)
        out.mux(video.encode(None))
        copies.rest()
        return warnings + copies.warnings


@pytest.mark.slow
@pytest.mark.parametrize("form", ["mp4", "mov", "matroska"])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".mkv", ("-c:v", "libx264", "-c:a", "ac3")),
        (".mkv", ("-c:v", "libx264", "-c:a", "wavpack")),
        (".mp4", ("-c:v", "libx264", "-c:a", "eac3", "-timecode", "01:00:00:00")),
        (".ts", ("-c:v", "libx264", "-c:a", "aac")),
        (".mov", ("-c:v", "libx264", "-c:a", "pcm_mulaw")),
    ],
)
def test_no_damage_of_a_file_keeps_the_picture_from_being_written(tmp_path, suffix, options, form):
    noise, whole = random.Random(suffix + form), clip(tmp_path / f"whole{suffix}", *options).read_bytes()
    source, read = tmp_path / f"in{suffix}", 0
    for _ in range(25):
        data = bytearray(whole)
        for _ in range(noise.choice((1, 10, 100))):
            data[noise.randrange(len(data))] = noise.randrange(256)
        if noise.random() < 0.3:
            del data[noise.randrange(1000, len(data)) :]
        source.write_bytes(data)
        try:
            beside_a_picture(source, form)
            read += 1
        except BadInput:
            continue  # not even its headers can be read
    assert read > 5
