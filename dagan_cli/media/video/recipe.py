"""Choose codec, pixel format and encoder options of a video from the source and the user's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

from dagan_cli.errors import BadOption
from dagan_cli.media.captions import CARRIERS, not_carried
from dagan_cli.media.container import CONTAINERS
from dagan_cli.media.video.encoders import ENCODERS, Encoder, find_encoder, has_alpha
from dagan_cli.media.video.encoders import has_encoder as has_encoder
from dagan_cli.media.video.frames import siting_of
from dagan_cli.media.video.info import HdrLight, VideoInfo
from dagan_cli.media.video.pixel_formats import Size as Size
from dagan_cli.media.video.pixel_formats import check_format, layout_in, losses, nearest_format
from dagan_cli.planes import HALVINGS, PixelLayout

CRF = 17  # measured: about the same VMAF with x264, x265 and SVT-AV1, slightly more with VP9
_WITH_ALPHA = {".webm": "libvpx-vp9", ".mov": "prores_ks", ".mkv": "ffv1"}  # suffix -> encoder with transparency
_DEFAULTS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9")  # encoders that are chosen for opaque sources
_RATE_CONTROL = {"b", "qp", "crf", "cq", "global_quality"}  # options that set the quality themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The user's settings; None: chosen from the source."""

    codec: str | None = None  # an FFmpeg encoder; see `_default_codec`
    crf: float | None = None  # constant quality, lower is better, for codecs that support it; default 17
    preset: str | None = None
    pix_fmt: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)  # passed to the encoder unchanged
    audio: Literal["copy", "none"] = "copy"
    streams: Literal["all", "video"] = "all"  # "video": no other streams

    def require_known(self) -> None:
        """Raise BadOption, before any input is opened, for a codec, preset or quality that no source can make valid."""
        if self.codec is not None:
            name, encoder, _ = find_encoder(self.codec)
            _options(self, name, encoder)
        elif self.preset is not None and not any(self.preset in ENCODERS[name].presets for name in _DEFAULTS):
            names = ", ".join(ENCODERS[_DEFAULTS[0]].presets)
            raise BadOption(f"unknown --preset {self.preset}", hint=f"use one of {names}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Complete settings of an encoder."""

    codec: str
    pix_fmt: str
    layout: PixelLayout  # of its input planes
    options: dict[str, str]
    warnings: tuple[str, ...]


def plan(info: VideoInfo, size: Size, encoding: Encoding, suffix: str) -> Recipe:
    """Decide how frames of `size` made from the video `info` are encoded into a file with this suffix.

    Raises BadOption for a codec, pixel format, preset or quality that does not exist, or that cannot hold this size.
    """
    name, encoder, listed = find_encoder(encoding.codec or _default_codec(info, encoding, suffix))
    pix_fmt = encoding.pix_fmt or nearest_format(info.layout, size, encoder, listed)
    if pix_fmt is None:
        raise BadOption(
            f"{name} has no suitable pixel format for {size[0]}x{size[1]}", hint="choose another --pix-fmt or --codec"
        )
    check_format(pix_fmt, size, name, encoder, listed)
    full_range = encoder.full_range and (encoder.says_range or suffix != ".mov")  # .mov cannot declare it
    layout = layout_in(info.layout, pix_fmt, full_range=full_range)
    if not encoder.says_siting and CONTAINERS.get(suffix) not in ("matroska", "webm"):
        layout = replace(layout, siting=siting_of(layout.matrix, name))  # what readers will assume
    options, unused = _options(encoding, name, encoder)
    hdr, hdr_warnings = _hdr_options(info.hdr, name, encoder)
    if encoder.parameters and hdr:
        options[encoder.parameters] = ":".join(filter(None, (options.get(encoder.parameters), hdr)))
    if name == "prores_ks":
        options.setdefault("profile", "4444" if layout.chroma == "444" else "hq")
        options.setdefault("alpha_bits", "16" if layout.alpha else "0")
    if name == "libvpx-vp9" and layout.alpha:
        options.setdefault("auto-alt-ref", "0")  # FFmpeg requires it with transparency
    if info.vfr is not False and CONTAINERS.get(suffix) in ("mp4", "mov"):
        options.setdefault("bf", "0")  # with B-frames these containers store wrong durations of uneven frames
    if HALVINGS[layout.chroma] != (0, 0):
        options.setdefault("chroma_sample_location", layout.siting)
    return Recipe(
        codec=name,
        pix_fmt=pix_fmt,
        layout=layout,
        options=options,
        warnings=(
            *_lost_alpha(info.layout, layout, encoding, suffix),
            *losses(info.layout, layout, size),
            *unused,
            *hdr_warnings,
            *((not_carried(name),) if info.captions and name not in CARRIERS else ()),
        ),
    )


def _default_codec(info: VideoInfo, encoding: Encoding, suffix: str) -> str:
    """Return the encoder that preserves the source best among those that the container and players support."""
    transparent = info.layout.alpha and (encoding.pix_fmt is None or has_alpha(encoding.pix_fmt))
    if transparent and suffix in _WITH_ALPHA:
        return _WITH_ALPHA[suffix]
    is_deep = info.layout.depth > 8 or info.hdr is not None
    if suffix == ".webm":
        return "libsvtav1" if is_deep else "libvpx-vp9"
    return "libx265" if is_deep else "libx264"


def _lost_alpha(source: PixelLayout, kept: PixelLayout, encoding: Encoding, suffix: str) -> list[str]:
    if kept.alpha or not source.alpha:
        return []
    if suffix not in _WITH_ALPHA:
        return [f"transparency is not kept: {suffix} cannot hold it, .mov, .mkv and .webm can"]
    option = "--pix-fmt" if encoding.pix_fmt else "--codec"
    return [f"transparency is not kept: without {option}, {_WITH_ALPHA[suffix]} would keep it"]


def _options(encoding: Encoding, codec: str, encoder: Encoder) -> tuple[dict[str, str], list[str]]:
    """Return the encoder's options, and warnings for settings without effect on a codec the user did not choose."""
    options, unused = dict(encoding.options), []
    if encoder.quality and (encoding.crf is not None or not _RATE_CONTROL & options.keys()):
        crf = CRF if encoding.crf is None else encoding.crf
        if not 0 <= crf <= encoder.worst:
            raise BadOption(
                f"--crf {crf:g} is out of range for {codec}", hint=f"use 0 to {encoder.worst:g}; lower is better"
            )
        options.setdefault(encoder.quality, f"{crf:g}")
    elif encoding.crf is not None and not encoder.quality:
        unused.append(_unused(encoding, f"{codec} has no constant-quality mode for --crf"))
    if encoding.preset in encoder.presets:
        options.setdefault("preset", str(encoding.preset))
    elif encoding.preset is not None:
        known = f"use one of {', '.join(encoder.presets)}" if encoder.presets else "leave out --preset"
        unused.append(_unused(encoding, f"{codec} has no --preset {encoding.preset}", known))
    for key, value in encoder.options.items():
        own = [value, options[key]] if key == encoder.parameters and key in options else [options.get(key, value)]
        options[key] = ":".join(own)
    return options, unused


def _unused(encoding: Encoding, what: str, hint: str = "leave it out") -> str:
    """Raise BadOption for an unsupported setting if the user chose the codec, else return a warning."""
    if encoding.codec is not None:
        raise BadOption(what, hint=hint)
    return f"{what}: ignored"


def _hdr_options(hdr: HdrLight | None, codec: str, encoder: Encoder) -> tuple[str, list[str]]:
    """Return static HDR metadata as parameters of the encoder, and warnings."""
    if hdr is None:
        return "", []
    if not encoder.parameters:
        return "", [f"{codec} does not keep the HDR10 metadata (mastering display, light level)"]
    parts = []
    if hdr.mastering:
        step = (Fraction(1, 50000), Fraction(1, 10000)) if codec != "libsvtav1" else (None, None)
        rx, ry, gx, gy, bx, by, wx, wy = (_number(value, step[0]) for value in hdr.mastering[:8])
        low, high = (_number(value, step[1]) for value in hdr.mastering[8:])
        key = "master-display" if codec == "libx265" else "mastering-display"
        parts.append(f"{key}=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({high},{low})")
    if hdr.content:
        key = {"libx265": "max-cll", "libsvtav1": "content-light"}.get(codec, "cll")
        parts.append(f"{key}={hdr.content[0]},{hdr.content[1]}")
    if codec == "libx265":
        parts.append("hdr10=1")
    return ":".join(parts), []


def _number(value: Fraction, step: Fraction | None) -> str:
    """Format a value in whole steps, or as a decimal number without `step`."""
    return f"{float(value):.6g}" if step is None else str(round(value / step))
