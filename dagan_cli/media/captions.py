"""Closed captions inside the frames of a video: EIA-608 and CTA-708 as ATSC A/53 part 4 stores them.

FFmpeg gives them as triplets of bytes: marker and type, then two bytes of caption data. H.264 and HEVC carry them in
a message for each frame (SEI, `user_data_registered_itu_t_t35`), MPEG-2 in its user data.
"""

from __future__ import annotations

from collections.abc import Iterator

CARRIERS = {  # encoders whose packets can carry captions, and their standard
    "libx264": "h264",
    "libx264rgb": "h264",
    "h264_nvenc": "h264",
    "libx265": "hevc",
    "hevc_nvenc": "hevc",
}
_MARK = b"GA94\x03"  # ATSC's identifier, then the type of caption data
_ATSC = b"\xb5\x00\x31" + _MARK  # country, provider
_MOST = 31  # triplets of one message
_START = b"\0\0\1"


def not_carried(codec: str) -> str:
    """Return the warning for captions that the encoder `codec` does not carry."""
    return f"closed captions inside the frames are not kept: {codec} does not carry them, libx264 and libx265 do"


def with_captions(packet: bytes, triplets: bytes, codec: str) -> bytes | None:
    """Return a packet of one frame, encoded by `codec`, with captions; None if it cannot carry them.

    The message goes before the first slice, as ITU-T H.264 7.4.1.2.3 and H.265 7.4.2.4.4 order.
    """
    standard = CARRIERS.get(codec)
    at = _first_slice(packet, standard) if standard else None
    if at is None:
        return None
    head = b"\x06" if standard == "h264" else b"\x4e\x01"  # the unit's type
    units = b""
    for first in range(0, len(triplets) // 3 * 3, 3 * _MOST):
        part = triplets[first : first + 3 * _MOST]
        message = _ATSC + bytes((0x40 | len(part) // 3, 0xFF)) + part + b"\xff"
        units += b"\0" + _START + head + _escaped(bytes((4, len(message))) + message) + b"\x80"
    return packet[:at] + units + packet[at:]


def captions_in(packet: bytes) -> bytes:
    """Return the triplets inside a packet of MPEG-2, H.264 or HEVC, as stored; b"" if there are none."""
    found, at = b"", 0
    while (at := packet.find(_MARK, at)) >= 0:
        at += len(_MARK)
        flags = packet[at] if at < len(packet) else 0
        data = packet[at + 2 : at + 2 + 4 * (flags & 31)].replace(b"\0\0\3", b"\0\0")[: 3 * (flags & 31)]
        if flags & 0x40:
            found += data[: len(data) // 3 * 3]
    return found


def spoken(triplets: bytes) -> bytes:
    """Return the triplets that hold captions; the others only fill the channel."""
    return b"".join(_filled(triplets))


def _filled(triplets: bytes) -> Iterator[bytes]:
    for at in range(0, len(triplets) - 2, 3):
        kind, first, second = triplets[at : at + 3]
        is_fill = (first & 0x7F, second & 0x7F) == (0, 0)
        if kind & 4 and not is_fill:
            yield triplets[at : at + 3]


def _first_slice(packet: bytes, standard: str) -> int | None:
    """Return the position of the start code before the first slice; None if the packet has no start codes."""
    if not packet.startswith((_START, b"\0" + _START)):
        return None
    at = 0
    while (at := packet.find(_START, at)) >= 0 and at + 3 < len(packet):
        kind = packet[at + 3] & 31 if standard == "h264" else packet[at + 3] >> 1 & 63
        if (1 <= kind <= 5) if standard == "h264" else kind < 32:
            return at - 1 if at and packet[at - 1] == 0 else at
        at += 3
    return None


def _escaped(data: bytes) -> bytes:
    """Insert the bytes that keep data from looking like a start code (ITU-T H.264, 7.4.1)."""
    out, zeros = bytearray(), 0
    for value in data:
        if zeros == 2 and value <= 3:
            out.append(3)
            zeros = 0
        out.append(value)
        zeros = zeros + 1 if value == 0 else 0
    return bytes(out)
