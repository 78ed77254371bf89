"""Luma of video frames on one scale: code values as stored, of 8 bits, in the range of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dagan_cli.engine.colour import LUMA, to_rgb
from dagan_cli.media.video.source import Frame
from dagan_cli.planes import Matrix, PixelLayout, tag_names

_LOW, _SPAN = 16.0, 219.0  # black, and white above black, of limited range with 8 bits
_HDR = "pq", "hlg"  # transfers whose code values are not those that the scores were made for


@dataclass(frozen=True, slots=True)
class Scale:
    """The scale on which two videos are compared."""

    depth: int  # bits of the reference; the peak is that of its code values, on the scale of 8 bits
    full_range: bool
    matrix: Matrix  # of videos in RGB, whose luma is computed

    @property
    def peak(self) -> float:
        """The highest code value, on the scale of 8 bits: 255, or a little more for deeper ones."""
        return (2**self.depth - 1) / 2 ** (self.depth - 8)


def scale_of(reference: PixelLayout, result: PixelLayout) -> Scale:
    """Return the scale of the reference; for RGB, that of the other video, or BT.601 in limited range."""
    stored = next((each for each in (reference, result) if each.chroma != "rgb"), None)
    if stored is None:
        return Scale(8, False, "bt601")
    depth = reference.depth if stored is reference else 8
    return Scale(depth, stored.full_range, "bt601" if stored.matrix == "rgb" else stored.matrix)


def luma_of(frame: Frame, scale: Scale) -> Tensor:
    """Return (H, W) float32 luma: as stored, divided by 2 ** (depth - 8); converted only if the range differs."""
    layout = frame.layout
    planes = [torch.from_numpy(plane) for plane in frame.planes]
    if layout.chroma == "rgb":
        kr, kb = LUMA[scale.matrix]
        r, g, b = to_rgb(planes, layout).unbind(-3)
        y = kr * r + (1 - kr - kb) * g + kb * b
        return y * 255 if scale.full_range else y * _SPAN + _LOW
    y = planes[0].to(torch.float32).div_(2 ** (layout.depth - 8))
    if layout.full_range == scale.full_range:
        return y
    return (y - _LOW) * (255 / _SPAN) if scale.full_range else y * (_SPAN / 255) + _LOW


def notes_of(reference: PixelLayout, result: PixelLayout) -> tuple[str, ...]:
    """Return what the numbers do not show of two layouts."""
    notes = []
    if "rgb" in (reference.chroma, result.chroma):
        notes.append("the luma of RGB frames is computed, not stored")
    elif reference.full_range != result.full_range:
        words = ["full" if each.full_range else "limited" for each in (reference, result)]
        notes.append(f"the reference has {words[0]} range, the result {words[1]}: converted to that of the reference")
    if reference.depth != result.depth:
        notes.append(f"the reference has {reference.depth} bits, the result {result.depth}")
    if reference.matrix != result.matrix and "rgb" not in (reference.chroma, result.chroma):
        notes.append("the colour matrices differ, and luma is compared as stored")
    curves = [tag_names(each.tags)["transfer"] for each in (reference, result)]
    if curves[0] != curves[1] and any(curve in _HDR for curve in curves):
        notes.append(f"the transfers differ, {curves[0]} and {curves[1]}: luma is compared as stored, and says little")
    elif curves[0] in _HDR:
        notes.append(f"HDR ({curves[0]}) is compared and shown as stored; the scores were made for SDR")
    return tuple(notes)
