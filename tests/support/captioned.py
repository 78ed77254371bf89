"""Clips with closed captions inside the frames, put there byte by byte."""

from __future__ import annotations

from pathlib import Path

import av

from tests.support.clips import clip, ffmpeg

RESUME, LOAD, ERASE, ROW, SHOW = (0x14, 0x20), (0x14, 0x20), (0x14, 0x2E), (0x14, 0x70), (0x14, 0x2F)
FILL = (0, 0)


def pairs(words: str) -> list[tuple[int, int]]:
    """EIA-608 pairs of a caption that appears at once: commands come twice, as 47 CFR 15.119 asks."""
    letters = [ord(letter) for letter in words + " " * (len(words) % 2)]
    text = list(zip(letters[::2], letters[1::2], strict=True))
    commands = [pair for pair in (LOAD, ERASE, ROW) for _ in range(2)]
    return [*commands, *text, SHOW, SHOW]


def triplet(pair: tuple[int, int]) -> bytes:
    """A pair of the first field, with odd parity."""
    return bytes((0xFC, *(value | (value.bit_count() + 1) % 2 << 7 for value in pair)))


def user_data(triplets: bytes) -> bytes:
    return b"GA94\3" + bytes((0x40 | len(triplets) // 3, 0xFF)) + triplets + b"\xff"


def captioned(path: Path, codec: str, words: str, *options: str, seconds: float = 2) -> Path:
    """A clip with a caption, at a pair a frame, by `codec`: libx264, libx265 or mpeg2video."""
    plain = clip(path.with_name(f"plain{path.suffix}"), "-c:v", codec, "-an", *options, seconds=seconds)
    with av.open(str(plain)) as before, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(before.streams.video[0], opaque=True)
        packets = [packet for packet in before.demux(video=0) if packet.size]
        shown = sorted(packet.pts or 0 for packet in packets)
        due = dict(zip(shown, [*pairs(words), *[FILL] * len(shown)], strict=False))
        for packet in packets:
            data = _inserted(bytes(packet), user_data(triplet(due[packet.pts or 0])), codec, path.suffix)
            new = av.Packet(data)
            new.pts, new.dts, new.time_base, new.is_keyframe = (
                packet.pts,
                packet.dts,
                packet.time_base,
                packet.is_keyframe,
            )
            new.duration, new.stream = packet.duration, copy
            out.mux(new)
    return path


def _inserted(packet: bytes, data: bytes, codec: str, suffix: str) -> bytes:
    if codec == "mpeg2video":
        at = packet.index(b"\0\0\1\1")  # the first slice
        return packet[:at] + b"\0\0\1\xb2" + data + packet[at:]
    message = b"\xb5\0\x31" + data
    unit = (b"\6" if codec == "libx264" else b"\x4e\1") + bytes((4, len(message))) + message + b"\x80"
    if suffix == ".ts":  # after the delimiter that transport streams begin a frame with
        at = packet.index(b"\0\0\1", 4)
        return packet[:at] + b"\0\0\1" + unit + packet[at:]
    return len(unit).to_bytes(4, "big") + unit + packet


def words_in(path: Path) -> str:
    """The captions, as the other FFmpeg reads them."""
    text = ffmpeg("-f", "lavfi", "-i", f"movie={path}[out0+subcc]", "-map", "0:s", "-f", "srt", "-")
    lines = [line for line in text.splitlines() if line.startswith("<font")]
    return "".join(line.split("}", 1)[-1].removesuffix("</font>") for line in lines)
