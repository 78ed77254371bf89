"""Measure how exact colour is for every kind of video. `python -m tests.support.colour_table` writes docs/colour.md."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch

from dagan_cli.commands.app import run_command
from dagan_cli.engine.colour import from_alpha, from_rgb, to_alpha, to_rgb
from dagan_cli.planes import Chroma, ColourTags, Matrix, PixelLayout, Siting
from tests.support.clips import ffmpeg, pictures

TARGET = Path(__file__).parents[2] / "docs" / "colour.md"
SIZE = (252, 190)  # width, height; the width is a multiple of 4, as 4:1:1 needs
FRAMES = 2

_ZIMG = {"bt709": "709", "bt601": "170m", "bt2020": "2020_ncl", "rgb": "gbr"}
_TAGS = {  # (matrix, primaries, transfer) of ITU-T H.273
    "bt709": (1, 1, 1),
    "bt601": (6, 6, 6),
    "bt2020": (9, 9, 14),
    "rgb": (0, 1, 1),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of video."""

    pix_fmt: str
    matrix: Matrix
    full_range: bool
    depth: int
    chroma: Chroma
    siting: Siting = "left"
    alpha: bool = False
    codec: str = "ffv1"  # codec of the file that goes through the command

    @property
    def layout(self) -> PixelLayout:
        matrix, primaries, transfer = _TAGS[self.matrix]
        return PixelLayout(
            matrix=self.matrix,
            full_range=self.full_range,
            depth=self.depth,
            chroma=self.chroma,
            alpha=self.alpha,
            siting=self.siting,
            tags=ColourTags(range=1 + self.full_range, matrix=matrix, primaries=primaries, transfer=transfer),
        )

    @property
    def span(self) -> int:
        """Code values from black to white."""
        return 2**self.depth - 1 if self.full_range else 219 * 2 ** (self.depth - 8)


@dataclass(frozen=True, slots=True)
class Measured:
    """Errors for random code values, in code values of the source."""

    furthest: float  # largest difference between our RGB and zimg's
    mean: float  # mean difference between our RGB and zimg's
    back: int  # planes -> RGB -> planes, largest difference
    changed: int  # frames that differ after `dagan upscale -n nearest -s 1 -c ffv1`


def cases() -> Iterator[Case]:
    """Yield every combination, then the individual kinds."""
    matrices: tuple[Matrix, ...] = ("bt709", "bt601", "bt2020")
    chromas: tuple[Chroma, ...] = ("420", "422", "444")
    for matrix, full_range, depth, chroma in product(matrices, (False, True), (8, 10, 12), chromas):
        name = f"yuv{chroma}p" if depth == 8 else f"yuv{chroma}p{depth}le"
        yield Case(name, matrix, full_range, depth, chroma, "topleft" if matrix == "bt2020" else "left")
    yield Case("yuvj420p", "bt601", True, 8, "420", "center", codec="mjpeg")
    yield Case("yuv411p", "bt601", False, 8, "411")
    yield Case("yuv444p16le", "bt709", False, 16, "444")
    yield Case("gray", "bt709", True, 8, "gray")
    yield Case("gray12le", "bt709", False, 12, "gray")
    for depth in (8, 10, 12, 16):
        yield Case("gbrp" if depth == 8 else f"gbrp{depth}le", "rgb", True, depth, "rgb")
    yield Case("yuva420p", "bt709", False, 8, "420", alpha=True)
    yield Case("yuva444p10le", "bt709", False, 10, "444", alpha=True)
    yield Case("gbrap12le", "rgb", True, 12, "rgb", alpha=True)


def measure(case: Case, folder: Path) -> Measured:
    """Measure the errors for random frames of one kind. Temporary files are written to `folder`."""
    random = np.random.default_rng(0)
    frames = [_any_planes(case, random) for _ in range(FRAMES)]
    differences = [np.abs(_rgb(case, planes) - _rgb_by_zimg(case, planes)) * case.span for planes in frames]
    return Measured(
        furthest=float(np.max(differences)),
        mean=float(np.mean(differences)),
        back=max(_there_and_back(case, planes) for planes in frames),
        changed=_changed_in_a_file(case, frames, folder),
    )


def row(case: Case, measured: Measured) -> str:
    """Return one row of the table."""
    value_range = "full" if case.full_range else "limited"
    return (
        f"| {case.pix_fmt} | {case.matrix} | {value_range} | {measured.furthest:.4f} | {measured.mean:.5f}"
        f" | {measured.back} | {measured.changed} |"
    )


def _any_planes(case: Case, random: np.random.Generator) -> list[np.ndarray]:
    """Return planes of random code values, including values outside the RGB cube."""
    (width, height), layout = SIZE, case.layout
    across, down = layout.chroma_size(width, height)
    colours = [(height, width), (down, across), (down, across)][: layout.planes - case.alpha]
    number = np.uint8 if case.depth == 8 else np.uint16
    return [random.integers(0, 2**case.depth, shape, number) for shape in colours + [(height, width)] * case.alpha]


def _stored(case: Case, planes: list[np.ndarray]) -> bytes:
    """Return the bytes of a frame in FFmpeg's layout, which orders RGB as G, B, R."""
    if case.chroma == "rgb":
        planes = [planes[1], planes[2], planes[0], *planes[3:]]
    return b"".join(plane.tobytes() for plane in planes)


def _rgb(case: Case, planes: list[np.ndarray]) -> np.ndarray:
    """Convert to RGB (3, height, width), nominally in [0, 1], with dagan's arithmetic."""
    return to_rgb([torch.from_numpy(plane) for plane in planes], case.layout).numpy()


def _rgb_by_zimg(case: Case, planes: list[np.ndarray]) -> np.ndarray:
    """Convert to RGB with zimg in floating point; chroma is interpolated linearly at its siting."""
    pix_fmt = case.pix_fmt.replace("yuvj", "yuv").replace("yuva", "yuv").replace("gbrap", "gbrp")
    planes, siting, step = planes[: len(planes) - case.alpha], case.siting, 1
    if case.chroma == "422" and case.depth > 8:
        # zimg interpolates 4:2:2 of these depths in integers, but 4:2:0 in floating point. With each luma row doubled
        # and chroma sited on the first row of each pair, 4:2:0 is the same frame.
        pix_fmt, siting, step = pix_fmt.replace("422", "420"), "topleft", 2
        planes = [planes[0].repeat(2, 0), *planes[1:]]
    if case.chroma == "gray":  # zscale does not convert the range of gray, so add neutral chroma
        pix_fmt = pix_fmt.replace("gray", "yuv444p")
        planes = [planes[0], *[np.full_like(planes[0], 2 ** (case.depth - 1))] * 2]
    said = f"rangein={'full' if case.full_range else 'limited'}:range=full:matrixin={_ZIMG[case.matrix]}:matrix=gbr"
    said += f":chromalin={siting}:filter=bilinear"
    height, width = planes[0].shape
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", pix_fmt]
    command += ["-s", f"{width}x{height}", "-i", "-", "-vf", f"zscale={said},format=gbrpf32le", "-f", "rawvideo", "-"]
    result = subprocess.run(command, input=_stored(case, planes), stdout=subprocess.PIPE, check=True).stdout
    return np.frombuffer(result, np.float32).reshape(3, height, width)[[2, 0, 1], ::step]


def _there_and_back(case: Case, planes: list[np.ndarray]) -> int:
    tensors = [torch.from_numpy(plane) for plane in planes]
    back = list(from_rgb(to_rgb(tensors, case.layout), case.layout))
    if case.alpha:
        back.append(from_alpha(to_alpha(tensors, case.layout), case.layout))
    return max(int((a.int() - b.int()).abs().max()) for a, b in zip(tensors, back, strict=True))


def _changed_in_a_file(case: Case, frames: list[list[np.ndarray]], folder: Path) -> int:
    """Write a video, run it through `dagan upscale` and count the frames that differ, decoded by the other FFmpeg."""
    raw, source, target = folder / "in.raw", folder / "in.mkv", folder / "out.mkv"
    raw.write_bytes(b"".join(_stored(case, planes) for planes in frames))
    tags, value_range = case.layout.tags, "pc" if case.full_range else "tv"
    said = f"setparams=range={value_range}:colorspace={tags.matrix}:color_primaries={tags.primaries}"
    form = ("-f", "rawvideo", "-pix_fmt", case.pix_fmt, "-s", f"{SIZE[0]}x{SIZE[1]}", "-i", raw)
    kept = "bgr0" if case.pix_fmt == "gbrp" else case.pix_fmt  # FFV1 has no gbrp
    ffmpeg(*form, "-vf", said, "-c:v", case.codec, "-q:v", "1", "-pix_fmt", kept, "-color_range", value_range, source)
    arguments = ["upscale", source, "-n", "nearest", "-s", "1", "-c", "ffv1", "-y", "--quiet", "-o", target]
    code = run_command(list(map(str, arguments)))
    if code:
        raise RuntimeError(f"dagan ended with {code} on {case}")
    plain = ("-pix_fmt", "gbrp") if kept == "bgr0" else ()  # the fourth byte of bgr0 is padding
    return sum(one != other for one, other in zip(pictures(source, *plain), pictures(target, *plain), strict=True))


HEAD = f"""# How exact colour is

All numbers on this page are measured. `python -m tests.support.colour_table` writes the page, and
`DAGAN_CORPUS=1 pytest tests/engine/test_colour_table.py` repeats every measurement. Each row is {FRAMES} frames of
{SIZE[0]}x{SIZE[1]} random code values. All values can occur, including those that represent no RGB colour. Errors are
in code values of the source.

* *RGB, largest* and *RGB, mean*: difference between the RGB that a network receives and the result of zimg (the
  `zscale` filter of another FFmpeg) for the same frame in floating point. zimg interpolates chroma linearly at its
  siting: left for BT.709 and BT.601, top left for BT.2020, centre for JPEG. For 4:2:2 of more than 8 bits it
  interpolates in integers, with errors of up to 0.94, so it is given the same frame stored as 4:2:0.
* *Round trip*: largest difference of a code value after planes -> RGB -> planes, with nothing in between.
* *Changed frames*: number of frames that differ after a lossless file has gone through
  `dagan upscale IN -n nearest -s 1 -c ffv1 -o OUT.mkv`. The other FFmpeg compares them, including alpha.

Sizes are even here because zimg requires it; odd sizes are equally exact (`tests/engine/test_colour.py`).

| pixel format | matrix | range | RGB, largest | RGB, mean | round trip | changed frames |
| --- | --- | --- | --- | --- | --- | --- |
"""


def main() -> None:
    lines = []
    for case in cases():
        with tempfile.TemporaryDirectory() as folder:
            lines.append(row(case, measure(case, Path(folder))))
        print(lines[-1], flush=True)
    TARGET.write_text(HEAD + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
