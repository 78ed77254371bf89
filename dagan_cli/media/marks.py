"""How players show the frames of a video, as far as FFmpeg's frames do not tell: read from the bytes of the file.

Covers the clean aperture of MP4 and QuickTime and the crop of Matroska, views for two eyes, spherical projections,
and the formats whose timestamps are decoding times: AVI, ASF, and Matroska's compatibility mode for AVI.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from dagan_cli.files import open_regular
from dagan_cli.media.boxes import ebml, isobmff

Crop = tuple[int, int, int, int]  # pixels that are not shown: left, top, right, bottom

_PROJECTIONS = {0: "rectangular", 1: "equirectangular", 2: "cubemap", 3: "mesh"}
STEREO_MODES = (  # Matroska's StereoMode; FFmpeg's muxer takes these names as the tag "stereo_mode"
    *("mono", "left_right", "bottom_top", "top_bottom", "checkerboard_rl", "checkerboard_lr"),
    *("row_interleaved_rl", "row_interleaved_lr", "col_interleaved_rl", "col_interleaved_lr"),
    *("anaglyph_cyan_red", "right_left", "anaglyph_green_magenta", "block_lr", "block_rl"),
)
_ST3D = {1: "top_bottom", 2: "left_right", 3: "stereo-custom", 4: "right_left"}
_SPHERICAL = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")  # UUID of Spherical Video V1
_TRACK_TYPE, _CODEC, _STEREO_MODE, _PROJECTION, _PROJECTION_TYPE = 0x83, 0x86, 0x53B8, 0x7670, 0x7671
_POSES = (0x7673, 0x7674, 0x7675)  # yaw, pitch, roll
_CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)  # left, top, right, bottom
_WIDTH, _HEIGHT = 0xB0, 0xBA


@dataclass(frozen=True, slots=True)
class Marks:
    """Marks of one video stream."""

    crop: Crop | None = None
    stereo: str | None = None  # such as "left_right"; None: one view
    projection: str | None = None  # such as "equirectangular"; None: flat
    decoding_times: bool = False  # the timestamps of the container are decoding times


def read_marks(path: Path, number: int) -> Marks:
    """Return the marks of video stream `number`, counted from 0, covers excluded; none for other containers.

    Damage makes marks that are not there. Raises OSError if the file cannot be read.
    """
    with open_regular(path) as file:
        head = file.read(12)
        if head[:4] == b"\x1aE\xdf\xa3":
            return _of_matroska(file, number)
        if (head[:4] == b"RIFF" and head[8:11] == b"AVI") or head[:4] == b"0&\xb2u":  # the latter is ASF
            return Marks(decoding_times=True)
        tracks = isobmff.video_tracks(file)
        return _of_track(file, tracks[number]) if number < len(tracks) else Marks()


def _of_matroska(file: BinaryIO, number: int) -> Marks:
    segment = ebml.segment(file)
    tracks = next(ebml.children(file, segment, ebml.TRACKS), None) if segment else None
    videos = []
    for track in ebml.children(file, tracks, ebml.TRACK) if tracks else ():
        values = {element[0]: element for element in ebml.elements(file, track[1], track[2])}
        if _TRACK_TYPE in values and ebml.integer(file, values[_TRACK_TYPE]) == 1:
            videos.append(values)
    if number >= len(videos):
        return Marks()
    track = videos[number]
    codec = ebml.content(file, track[_CODEC]) if _CODEC in track else b""
    values = {}
    if ebml.VIDEO in track:
        values = {element[0]: element for element in ebml.elements(file, *track[ebml.VIDEO][1:])}
    left, top, right, bottom = (ebml.integer(file, values[name]) if name in values else 0 for name in _CROPS)
    width, height = (ebml.integer(file, values[name]) if name in values else 0 for name in (_WIDTH, _HEIGHT))
    mode = ebml.integer(file, values[_STEREO_MODE]) if _STEREO_MODE in values else 0
    return Marks(
        crop=_checked((left, top, right, bottom), width, height),
        stereo=None if not mode else STEREO_MODES[mode] if mode < len(STEREO_MODES) else str(mode),
        projection=_projection(file, values[_PROJECTION]) if _PROJECTION in values else None,
        decoding_times=codec.rstrip(b"\0") == b"V_MS/VFW/FOURCC",
    )


def _projection(file: BinaryIO, projection: ebml.Element) -> str | None:
    """Return the projection in words; None for a flat picture that is not turned."""
    values = {element[0]: element for element in ebml.elements(file, projection[1], projection[2])}
    kind = ebml.integer(file, values[_PROJECTION_TYPE]) if _PROJECTION_TYPE in values else 0
    turns = [ebml.real(file, values[name]) if name in values else 0.0 for name in _POSES]
    if not kind:
        return None  # FFmpeg reads a turned flat picture as a display matrix
    words = _PROJECTIONS.get(kind, str(kind))
    return f"{words}, turned by {'/'.join(f'{turn:g}' for turn in turns)}" if any(turns) else words


def _of_track(file: BinaryIO, track: isobmff.Box) -> Marks:
    """Read clap (ISO/IEC 14496-12), st3d and sv3d (Spherical Video V2), and the XML of Spherical Video V1."""
    entry = isobmff.sample_entry(file, track)
    crop = stereo = projection = None
    if entry:
        file.seek(entry[1] - 54)
        size = file.read(4)
        width, height = struct.unpack(">HH", size) if len(size) == 4 else (0, 0)
        if (box := isobmff.find(file, entry, b"clap")) is not None:
            crop = _checked(_of_aperture(isobmff.content(file, box), width, height), width, height)
        if (box := isobmff.find(file, entry, b"st3d")) is not None:
            mode = isobmff.content(file, box)[4:5]
            stereo = _ST3D.get(mode[0] if mode else 0)
        if (box := isobmff.find(file, entry, b"sv3d", b"proj")) is not None:
            kinds = {b"equi": "equirectangular", b"cbmp": "cubemap", b"mshp": "mesh"}
            projection = next((kinds[one[0]] for one in isobmff.boxes(file, box[1], box[2]) if one[0] in kinds), None)
    for box in isobmff.boxes(file, track[1], track[2]) if projection is None else ():
        if box[0] == b"uuid" and (data := isobmff.content(file, box)).startswith(_SPHERICAL):
            projection = "equirectangular" if b"<GSpherical:Spherical>true" in data.replace(b" ", b"") else None
            for name, word in ((b"top-bottom", "top_bottom"), (b"left-right", "left_right")):
                stereo = word if projection and stereo is None and b">" + name + b"<" in data else stereo
    return Marks(crop=crop, stereo=stereo, projection=projection)


def _of_aperture(data: bytes, width: int, height: int) -> Crop:
    """Return the crop of a clean aperture, whose offset is from centre to centre."""
    if len(data) < 32:
        return 0, 0, 0, 0
    *sizes, across, across_base, down, down_base = struct.unpack(">4I iI iI", data[:32])
    if not all((sizes[1], sizes[3], across_base, down_base)):
        return 0, 0, 0, 0
    edges = []
    for whole, part, offset in (
        (width, Fraction(sizes[0], sizes[1]), Fraction(across, across_base)),
        (height, Fraction(sizes[2], sizes[3]), Fraction(down, down_base)),
    ):
        first = int((whole - part) / 2 + offset)
        edges.append((first, whole - first - int(part)))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def _checked(crop: Crop, width: int, height: int) -> Crop | None:
    """Return a crop that leaves something of the frame; None if there is nothing to crop, or if it is damaged."""
    left, top, right, bottom = crop
    good = min(crop) >= 0 and left + right < width and top + bottom < height
    return crop if good and any(crop) else None
