"""Choose the pixel format that preserves a source best, and derive its layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from av.video.format import VideoFormat

from dagan_cli.errors import BadOption
from dagan_cli.media.video.encoders import Encoder
from dagan_cli.media.video.frames import FULL, LIMITED, chroma_of, is_known
from dagan_cli.planes import HALVINGS, Chroma, ColourTags, PixelLayout

Size = tuple[int, int]  # (width, height)

# Playable replacements of less common chroma formats; not applied to lossless encoders.
_PLAYABLE: dict[Chroma, Chroma] = {"rgb": "444", "440": "444", "411": "420", "410": "420", "gray": "420"}


def nearest_format(source: PixelLayout, size: Size, encoder: Encoder, listed: Iterable[str]) -> str | None:
    """Return the format that loses least: transparency first, then chroma, then depth; None if none is usable."""
    choices = [name for name in encoder.formats or listed if _is_usable(name) and _fits(name, size, encoder)]
    return min(choices, key=lambda name: _cost(source, name, encoder), default=None)


def check_format(pix_fmt: str, size: Size, codec: str, encoder: Encoder, listed: tuple[str, ...]) -> None:
    """Raise BadOption for a format that the codec does not support, or that cannot hold this size."""
    if pix_fmt not in listed or not _is_usable(pix_fmt):
        raise BadOption(f"{codec} does not support --pix-fmt {pix_fmt}", hint=f"use one of {', '.join(listed)}")
    if not _fits(pix_fmt, size, encoder):
        raise BadOption(
            f"{pix_fmt} cannot hold the odd size {size[0]}x{size[1]}", hint="use --pix-fmt yuv444p or an even --size"
        )


def layout_in(source: PixelLayout, pix_fmt: str, *, full_range: bool = True) -> PixelLayout:
    """Return the layout of `pix_fmt` with the colour of the source; `full_range`: full range may be kept."""
    form = VideoFormat(pix_fmt, 16, 16)
    layout = replace(
        source,
        chroma=chroma_of(form),
        depth=form.components[0].bits,
        alpha=any(part.is_alpha for part in form.components),
    )
    if layout.chroma == "rgb":
        return replace(layout, matrix="rgb", full_range=True, tags=replace(source.tags, matrix=0, range=FULL))
    if source.chroma == "rgb":  # no matrix to keep
        tags = ColourTags(
            range=LIMITED,
            matrix=1,
            primaries=1 if source.tags.primaries == 2 else source.tags.primaries,
            transfer=1 if source.tags.transfer == 2 else source.tags.transfer,
        )
        layout = replace(layout, matrix="bt709", full_range=False, tags=tags)
    if pix_fmt.startswith("yuvj"):
        return replace(layout, full_range=True, tags=replace(layout.tags, range=FULL))
    if not full_range:
        return replace(layout, full_range=False, tags=replace(layout.tags, range=LIMITED))
    return layout


def losses(source: PixelLayout, kept: PixelLayout, size: Size) -> list[str]:
    """Return warnings for the conversion to another layout, for frames of this size; transparency is not covered."""
    lost = []
    if kept.depth < source.depth:
        lost.append(f"{source.depth} bits per value are written as {kept.depth}")
    if sum(HALVINGS[kept.chroma]) > sum(HALVINGS[source.chroma]) and source.chroma != "gray":
        lost.append(f"colour is written at lower resolution: {source.chroma} as {kept.chroma}")
    if source.full_range and not kept.full_range and source.chroma != "rgb" and kept.depth <= source.depth:
        lost.append("full-range colours are written as limited range")
    if kept.chroma == "444" and source.chroma in ("420", "422") and (size[0] % 2 or size[1] % 2):
        lost.append("odd sizes need 4:4:4 colour, which some players do not support")
    return lost


def _is_usable(name: str) -> bool:
    """True if frames of this format can be filled from planes."""
    return is_known(form := VideoFormat(name, 16, 16)) and form.components[0].bits >= 8 and not form.has_palette


def _fits(name: str, size: Size, encoder: Encoder) -> bool:
    """True if the sides are multiples of the chroma subsampling: most encoders would drop the odd line."""
    down, across = HALVINGS[chroma_of(VideoFormat(name, 16, 16))]
    return encoder.odd_sizes or (size[0] % (1 << across) == 0 and size[1] % (1 << down) == 0)


def _cost(source: PixelLayout, name: str, encoder: Encoder) -> tuple[int, ...]:
    """Return what a format loses or wastes, the worst first."""
    form = VideoFormat(name, 16, 16)
    chroma, depth = chroma_of(form), form.components[0].bits
    alpha = any(part.is_alpha for part in form.components)
    wanted = source.chroma if encoder.lossless else _PLAYABLE.get(source.chroma, source.chroma)
    less = [kept - had for kept, had in zip(HALVINGS[chroma], HALVINGS[wanted], strict=True)]
    return (
        source.alpha and not alpha,
        chroma == "gray" != wanted,
        sum(max(0, step) for step in less),
        (chroma == "rgb") != (wanted == "rgb"),  # conversion by a matrix rounds
        max(0, source.depth - depth),
        alpha and not source.alpha,
        sum(max(0, -step) for step in less) + (wanted == "gray" != chroma),
        max(0, depth - source.depth),
        not form.is_planar,
    )
