"""Frames that a finished file holds, but that players do not show: before time 0, or cut off by an edit list."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dagan_cli.files import open_regular
from dagan_cli.media.boxes import ebml, isobmff

_MOST = 1 << 24  # frames of a track that are counted
_CLUSTER_TIME, _GROUP, _BLOCKS = 0xE7, 0xA0, (0xA3, 0xA1)
_FARTHEST = 1 << 15  # ticks by which a block may be before its cluster (RFC 9559, 10)


def hidden_frames(path: Path, number: int) -> int | None:
    """Return the number of hidden frames of video track `number`, counted from 0.

    None where it is not checked: another container, several edits, or fragments. Raises OSError.
    """
    with open_regular(path) as file:
        if (segment := ebml.segment(file)) is not None:
            return _of_matroska(file, segment, number)
        tracks = isobmff.video_tracks(file)
        return _of_track(file, tracks[number]) if number < len(tracks) else None


def _of_matroska(file: BinaryIO, segment: ebml.Element, number: int) -> int | None:
    """Count the blocks before 0, which FFmpeg and others read as blocks without a time."""
    wanted: list[int] = []
    early = 0
    for element in ebml.elements(file, segment[1], segment[2]):
        if element[0] == ebml.TRACKS:
            for track in ebml.children(file, element, ebml.TRACK):
                values = {child[0]: child for child in ebml.elements(file, track[1], track[2])}
                if 0x83 in values and 0xD7 in values and ebml.integer(file, values[0x83]) == 1:
                    wanted.append(ebml.integer(file, values[0xD7]))
        elif element[0] == ebml.CLUSTER and number < len(wanted):
            early += _early_blocks(file, element, wanted[number])
    return early if number < len(wanted) else None


def _early_blocks(file: BinaryIO, cluster: ebml.Element, track: int) -> int:
    time, early = 0, 0
    for child in ebml.elements(file, cluster[1], cluster[2]):
        if child[0] == _CLUSTER_TIME:
            time = ebml.integer(file, child)
            if time >= _FARTHEST:
                return early
        blocks = [child] if child[0] in _BLOCKS else []
        if child[0] == _GROUP:
            blocks = [one for one in ebml.elements(file, child[1], child[2]) if one[0] in _BLOCKS]
        for block in blocks:
            file.seek(block[1])
            head = file.read(12)
            length = 9 - head[0].bit_length() if head else 9
            if len(head) >= length + 2 and int.from_bytes(head[:length], "big") & ~(1 << 7 * length) == track:
                early += time + struct.unpack_from(">h", head, length)[0] < 0
    return early


def _of_track(file: BinaryIO, track: isobmff.Box) -> int | None:
    """Count the samples whose composition time is outside the edit (ISO/IEC 14496-12, 8.6.6)."""
    table = isobmff.find(file, track, b"mdia", b"minf", b"stbl")
    edits, header = isobmff.find(file, track, b"edts", b"elst"), isobmff.find(file, track, b"mdia", b"mdhd")
    movie = _movie(file)
    lengths = isobmff.find(file, table, b"stts") if table else None
    if not (table and header and movie and lengths):
        return None
    steps = _runs(isobmff.content(file, lengths), signed=False)
    if steps is None or not len(steps):
        return None
    if edits is None:
        return 0
    edit = _edit(isobmff.content(file, edits))
    ticks, movie_ticks = _timescale(file, header), _timescale(file, isobmff.find(file, movie, b"mvhd"))
    if edit is None or not ticks or not movie_ticks:
        return None
    length, begin = edit
    times = np.concatenate(([0], np.cumsum(steps[:-1])))
    if (shifts := isobmff.find(file, table, b"ctts")) is not None:
        moved = _runs(isobmff.content(file, shifts), signed=True)
        if moved is None or len(moved) != len(times):
            return None
        times = times + moved
    end = begin + -(-length * ticks // movie_ticks) + ticks // movie_ticks + 1 if length else None
    outside = times < begin
    return int((outside if end is None else outside | (times >= end)).sum())


def _movie(file: BinaryIO) -> isobmff.Box | None:
    file.seek(0, 2)
    return isobmff.find(file, (b"", 0, file.tell()), b"moov")


def _edit(data: bytes) -> tuple[int, int] | None:
    """Return duration (ticks of the movie) and start (ticks of the media) of the only edit that shows anything."""
    if len(data) < 8:
        return None
    form = struct.Struct(">Qq4x" if data[0] == 1 else ">Ii4x")
    count = min(struct.unpack_from(">I", data, 4)[0], (len(data) - 8) // form.size)
    edits = [form.unpack_from(data, 8 + number * form.size) for number in range(min(count, 100))]
    shown = [edit for edit in edits if edit[1] >= 0]
    return shown[0] if len(shown) == 1 and edits[-1] == shown[0] else None


def _runs(data: bytes, *, signed: bool) -> np.ndarray | None:
    """Return the value of each sample from a table of (count, value); None if it is damaged or too long."""
    if len(data) < 8:
        return None
    table = np.frombuffer(data[8 : 8 + (len(data) - 8) // 8 * 8], ">u4").reshape(-1, 2).astype(np.int64)
    table = table[: struct.unpack_from(">I", data, 4)[0]]
    values = table[:, 1].astype(np.uint32).astype(np.int32).astype(np.int64) if signed else table[:, 1]
    return np.repeat(values, table[:, 0]) if table[:, 0].sum() <= _MOST else None


def _timescale(file: BinaryIO, header: isobmff.Box | None) -> int:
    data = isobmff.content(file, header) if header else b""
    at = 20 if data[:1] == b"\1" else 12
    return int.from_bytes(data[at : at + 4], "big") if len(data) >= at + 4 else 0
