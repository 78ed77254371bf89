"""Closed captions inside the frames: carried into the new frames, or their loss is said."""

from __future__ import annotations

import pytest

from dagan_cli.media.captions import captions_in, spoken, with_captions
from dagan_cli.media.video.source import open_video
from dagan_cli.media.video.writer import create_video
from tests.support.captioned import captioned, pairs, triplet, words_in
from tests.support.clips import FAST

WORDS = "HELLO WORLD!"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", ".mp4", ()),
        ("libx264", ".ts", ("-bf", "3")),
        ("libx265", ".mkv", ("-x265-params", "log-level=error")),
        ("mpeg2video", ".ts", ("-bf", "2")),
        ("mpeg2video", ".ts", ("-flags", "+ilme+ildct", "-vf", "tinterlace=interleave_top")),
    ],
)
@pytest.mark.parametrize("encoder", ["libx264", "libx265"])
def test_captions_are_carried(tmp_path, cli, codec, suffix, options, encoder):
    source = captioned(tmp_path / f"in{suffix}", codec, WORDS, *options)
    assert words_in(source) == WORDS
    target = tmp_path / "out.mp4"
    ran = cli("upscale", source, "-n", "nearest", "-s", 2, "-c", encoder, "--preset", "ultrafast", "-o", target)
    assert ran.code == 0
    assert "closed captions" not in ran.err
    assert words_in(target) == WORDS


@pytest.mark.slow
@pytest.mark.parametrize(("encoder", "suffix"), [("ffv1", ".mkv"), ("libsvtav1", ".mp4")])
def test_captions_that_are_lost_are_said_once(tmp_path, cli, encoder, suffix):
    source = captioned(tmp_path / "in.mp4", "libx264", WORDS, seconds=1)
    ran = cli("upscale", source, "-n", "nearest", "-s", 1, "-c", encoder, "-o", tmp_path / f"out{suffix}")
    assert ran.code == 0
    assert ran.err.count("closed captions inside the frames are not kept") == 1


@pytest.mark.slow
def test_captions_survive_an_interrupted_run(tmp_path):
    source = captioned(tmp_path / "in.mp4", "libx264", WORDS)

    def run(stop: int | None) -> None:
        with open_video(source) as video:
            size = (video.info.width, video.info.height)
            with create_video(tmp_path / "out.mkv", video.info, size, FAST, resume={}, segment=5) as writer:
                for number, frame in enumerate(writer.missing(video.frames())):
                    if number == stop:
                        raise InterruptedError
                    writer.write(frame.planes, frame.pts, frame.duration)

    with pytest.raises(InterruptedError):
        run(8)
    run(None)
    assert words_in(tmp_path / "out.mkv") == WORDS


def test_more_captions_than_a_message_holds_become_several():
    data = b"".join(triplet(pair) for pair in pairs("A" * 100))
    packet = with_captions(b"\0\0\0\1\x67sps\0\0\1\x65slice", data, "libx264")
    assert packet is not None
    assert captions_in(packet) == spoken(data) == data
    assert packet.index(b"GA94") > packet.index(b"sps")
    assert packet.endswith(b"\0\0\1\x65slice")
    assert spoken(b"\xfc\x80\x80\xfa\0\0\xfc\x14\x20") == b"\xfc\x14\x20"


@pytest.mark.parametrize(
    "packet", [b"", b"\0\0\0\5\x65abcd", b"\0\0\1\x67only headers", b"GA94\3", b"GA94\3\x5f\xffab"]
)
def test_packets_that_cannot_carry_them_are_left_as_they_are(packet):
    assert with_captions(packet, b"\xfc\x14\x20", "libx264") is None
    assert captions_in(packet) == b""
