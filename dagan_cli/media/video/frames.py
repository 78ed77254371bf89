"""Convert between PyAV frames and planes of code values, without swscale; find out what the values mean."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
from av.video.format import VideoFormat

from dagan_cli.errors import BadInput
from dagan_cli.media.marks import Crop
from dagan_cli.planes import HALVINGS, Chroma, ColourTags, Matrix, PixelLayout, Siting

_NOTHING = (0, 2, 3)  # code points of ITU-T H.273 that do not specify the colour of Y'CbCr
LIMITED, FULL = 1, 2  # FFmpeg's colour ranges; 0 is unspecified

_MATRICES: dict[int, Matrix] = {
    1: "bt709",
    4: "fcc",
    5: "bt601",
    6: "bt601",
    7: "smpte240m",
    9: "bt2020",
    10: "bt2020",
}
_PACKED = {  # offset and step of R, G, B, A (or Y, A; Y, U, V)
    "rgb24": ((0, 3), (1, 3), (2, 3)),
    "bgr24": ((2, 3), (1, 3), (0, 3)),
    "rgb48": ((0, 3), (1, 3), (2, 3)),
    "bgr48": ((2, 3), (1, 3), (0, 3)),
    "rgb0": ((0, 4), (1, 4), (2, 4)),
    "bgr0": ((2, 4), (1, 4), (0, 4)),
    "0rgb": ((1, 4), (2, 4), (3, 4)),
    "0bgr": ((3, 4), (2, 4), (1, 4)),
    "rgba": ((0, 4), (1, 4), (2, 4), (3, 4)),
    "bgra": ((2, 4), (1, 4), (0, 4), (3, 4)),
    "argb": ((1, 4), (2, 4), (3, 4), (0, 4)),
    "abgr": ((3, 4), (2, 4), (1, 4), (0, 4)),
    "rgba64": ((0, 4), (1, 4), (2, 4), (3, 4)),
    "bgra64": ((2, 4), (1, 4), (0, 4), (3, 4)),
    "ya8": ((0, 2), (1, 2)),
    "ya16": ((0, 2), (1, 2)),
    "yuyv422": ((0, 2), (1, 4), (3, 4)),
    "yvyu422": ((0, 2), (3, 4), (1, 4)),
    "uyvy422": ((1, 2), (0, 4), (2, 4)),
}
_CENTRED = ("mjpeg", "mpeg1video")  # codecs whose chroma samples sit between the luma samples


def layout_of(frame: av.VideoFrame, codec: str) -> PixelLayout:
    """Return the layout of the planes of `frame`, decoded by `codec`; undeclared properties are guessed from its size.

    Raises BadInput for the few formats whose values cannot be unpacked here.
    """
    name = frame.format.name
    shape = VideoFormat(name, 16, 16)  # a size divisible by every subsampling
    if not is_known(shape):
        raise BadInput(
            f"pixel format {name} cannot be read exactly",
            hint="convert the file first: ffmpeg -i IN -c:v ffv1 -pix_fmt yuv444p10le OUT.mkv",
        )
    chroma = chroma_of(shape)
    if chroma == "rgb":
        matrix, full = "rgb", True
        tags = ColourTags(range=FULL, matrix=0, primaries=frame.color_primaries, transfer=frame.color_trc)
    else:
        full = frame.color_range == FULL or name.startswith("yuvj")
        full = full or (chroma == "gray" and frame.color_range != LIMITED)
        said = ColourTags(
            range=FULL if full else LIMITED,
            matrix=frame.colorspace,
            primaries=frame.color_primaries,
            transfer=frame.color_trc,
        )
        tags = completed(said, frame.height)
        matrix = matrix_of(tags)
    return PixelLayout(
        matrix=matrix,
        full_range=full,
        depth=max(shape.components[0].bits, 8),
        chroma=chroma,
        alpha=any(part.is_alpha for part in shape.components),
        siting=siting_of(matrix, codec),
        tags=tags,
    )


def completed(said: ColourTags, height: int) -> ColourTags:
    """Return the tags of a Y'CbCr frame; missing ones become what players guess for a frame of this height.

    The guess is made explicit because players would guess differently at the output's size.
    """
    guess = 1 if height >= 720 else 5 if height in (288, 576) else 6
    matrix = guess if said.matrix in _NOTHING else int(said.matrix)
    primaries = 9 if matrix in (9, 10) else {480: 6, 486: 6, 288: 5, 576: 5}.get(height, 1)
    return ColourTags(
        range=said.range,
        matrix=matrix,
        primaries=primaries if said.primaries in _NOTHING else int(said.primaries),
        transfer=1 if said.transfer in _NOTHING else int(said.transfer),
    )


def matrix_of(tags: ColourTags) -> Matrix:
    """Return the Y'CbCr matrix to compute with."""
    return _MATRICES.get(tags.matrix, "bt709")


def siting_of(matrix: Matrix, codec: str) -> Siting:
    """Return the default chroma siting; PyAV 18 cannot read the declared one."""
    return "topleft" if matrix == "bt2020" else "center" if codec in _CENTRED else "left"


def has_known_matrix(tags: ColourTags) -> bool:
    """True if the Y'CbCr matrix is supported; others are passed through, and treated as BT.709."""
    return tags.matrix in _MATRICES


def planes_of(frame: av.VideoFrame, layout: PixelLayout) -> tuple[np.ndarray, ...]:
    """Return the planes of a frame of this layout, as views where possible; do not write to them."""
    if frame.format.has_palette:
        colours = np.frombuffer(memoryview(frame.planes[1]), np.uint8).reshape(256, 4)  # B, G, R, A
        index = _rows(frame, 0)[:, : frame.width]
        return tuple(colours[:, i][index] for i in (2, 1, 0))
    if _bits(frame.format) < 8:  # swscale converts 1 to 6 bits to 8 without loss
        frame = frame.reformat(format="rgb24" if frame.format.is_rgb else "gray")
    shift = _unused_low_bits(frame.format)
    return tuple(_plain(view >> shift if shift else view) for view in _views(frame))


def cropped(planes: Sequence[np.ndarray], layout: PixelLayout, crop: Crop) -> tuple[np.ndarray, ...]:
    """Return the planes without (left, top, right, bottom) pixels; the corner moves to the nearest chroma sample."""
    height, width = planes[0].shape
    halvings = HALVINGS[layout.chroma]
    left, top = crop[0] >> halvings[1] << halvings[1], crop[1] >> halvings[0] << halvings[0]
    size = width - crop[0] - crop[2], height - crop[1] - crop[3]
    kept = []
    for number, plane in enumerate(planes):
        is_chroma = layout.chroma not in ("rgb", "gray") and number in (1, 2)
        down, across = halvings if is_chroma else (0, 0)
        columns, rows = layout.chroma_size(*size) if is_chroma else size
        kept.append(plane[top >> down :, left >> across :][:rows, :columns])
    return tuple(kept)


def frame_of(planes: Sequence[np.ndarray], pix_fmt: str, tags: ColourTags) -> av.VideoFrame:
    """Make a frame of `planes`, in the order of `PixelLayout`, with these colour tags."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    shift = _unused_low_bits(frame.format)
    for view, plane in zip(_views(frame), planes, strict=True):
        view[...] = plane << shift if shift else plane
    frame.color_range, frame.colorspace = tags.range, tags.matrix
    frame.color_primaries, frame.color_trc = tags.primaries, tags.transfer
    return frame


def chroma_of(form: VideoFormat) -> Chroma:
    """Return the chroma format of a 16x16 frame format."""
    colours = [part for part in form.components if not part.is_alpha]
    if form.is_rgb or form.has_palette:
        return "rgb"
    if len(colours) == 1:
        return "gray"
    halvings = (16 // colours[1].height).bit_length() - 1, (16 // colours[1].width).bit_length() - 1
    return next(chroma for chroma, known in HALVINGS.items() if known == halvings)


def _bare(name: str) -> str:
    """Return a format's name without its byte order."""
    return name.removesuffix("le").removesuffix("be")


def _bits(form: VideoFormat) -> int:
    return max(component.bits for component in form.components)


def is_known(form: VideoFormat) -> bool:
    """True if `planes_of` can unpack frames of this format."""
    bits = _bits(form)
    if form.has_palette or bits < 8 or _bare(form.name) in _PACKED:
        return True
    planar = form.is_planar or len(form.components) == 1
    return planar and bits <= 16 and not form.is_bit_stream and "f16" not in form.name


def _unused_low_bits(form: VideoFormat) -> int:
    """Return the number of unused low bits: p010 and similar, and msb formats, use the high bits of 16."""
    bits = form.components[0].bits
    return 16 - bits if (form.name[0] == "p" and form.name != "pal8" and bits > 8) or "msb" in form.name else 0


def _views(frame: av.VideoFrame) -> list[np.ndarray]:
    """Return the components of a frame as (h, w) views without stride padding, in the order of `PixelLayout`."""
    form = frame.format
    packed = _PACKED.get(_bare(form.name))
    if packed:
        rows = _rows(frame, 0)
        places = zip(packed, form.components, strict=True)
        return [rows[:, first::step][:, : part.width] for (first, step), part in places]
    views = []
    for i, part in enumerate(form.components):
        sharing = [j for j, other in enumerate(form.components) if other.plane == part.plane]
        first = sharing.index(i) if form.name not in ("nv21", "nv42") else sharing[::-1].index(i)
        views.append(_rows(frame, part.plane)[:, first :: len(sharing)][:, : part.width])
    return views


def _rows(frame: av.VideoFrame, index: int) -> np.ndarray:
    """Return one plane as stored, (h, values per line including padding), top line first."""
    plane, form = frame.planes[index], frame.format
    number = np.dtype(np.uint8) if _bits(form) == 8 else np.dtype(">u2" if form.is_big_endian else "<u2")
    rows = np.frombuffer(memoryview(plane), number).reshape(plane.height, -1)
    return rows if plane.line_size > 0 else rows[::-1]


def _plain(plane: np.ndarray) -> np.ndarray:
    """Return the plane in a form that a tensor can share: native byte order, top line first in memory."""
    if plane.dtype.isnative and plane.strides[0] > 0:
        return plane
    return np.ascontiguousarray(plane, plane.dtype.newbyteorder("="))
