"""`dagan probe`: what dagan sees in a file, and what it would make of it."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms

from dagan_cli.errors import DaganError, NoInput
from dagan_cli.inspection.glance import Glances
from dagan_cli.inspection.inventory import StreamContents, contents, fates
from dagan_cli.media import images
from dagan_cli.media.images.decoder_warnings import heard
from dagan_cli.media.images.info import Picture
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.mux import default_suffix
from dagan_cli.media.video.recipe import Encoding, plan
from dagan_cli.media.video.source import VideoSource, open_video
from dagan_cli.planes import in_words, said_of
from dagan_cli.upscale.request import Goal
from dagan_cli.version import __version__

Facts = dict[str, Any]
Tell = Callable[[int, int | None], None]


def probe(path: Path, goal: Goal, *, count: bool = False, tell: Tell = lambda done, total: None) -> Facts:
    """All that is known of a picture or video, ready for JSON; `probe_text` makes lines of it.

    `goal` is the size for which the result is planned. With `count` every frame is decoded, which alone finds their
    exact number and all damage; `tell` is told how many are done, and of about how many.
    Raises NoInput for what is not there or is a folder, BadInput for what cannot be read.
    """
    if path.is_dir():
        raise NoInput(f"{path} is a folder", hint="name one file; `dagan upscale` takes whole folders")
    if not path.exists():
        raise NoInput(f"there is no file {path}", hint="dagan probe INPUT")
    head: Facts = {"dagan": __version__, "input": _printable(str(path))}
    if images.is_picture(path):
        with images.open_picture(path) as picture:
            return head | _picture(path, picture, goal, count, tell)
    with open_video(path) as video:
        return head | _video(video, goal, count, tell)


def _video(video: VideoSource, goal: Goal, count: bool, tell: Tell) -> Facts:
    info = video.info
    held = contents(info.path)
    counted = _counted(video, tell) if count else None
    becomes, suffix = _planned_video(info, goal)
    each = fates(info.path, suffix)
    return {
        "kind": "video",
        "container": held.container,
        "duration": info.duration,
        "start": float(info.start),
        "tags": {_printable(name): _printable(value) for name, value in held.tags.items()},
        "picture": _main_picture(info, held.streams[info.stream]),
        "counted": counted,
        "streams": [_stream(s, "upscaled" if s.index == info.stream else each[s.index]) for s in held.streams],
        "chapters": [
            {"start": float(c.start), "end": float(c.end), "title": _printable(c.title)} for c in held.chapters
        ],
        "result": becomes,
        "warnings": list(video.warnings),
    }


def _main_picture(info: VideoInfo, stream: StreamContents) -> Facts:
    layout, matrix = info.layout, info.display_matrix
    width, height = info.width * (info.sample_aspect_ratio or Fraction(1)), Fraction(info.height)
    if info.rotation % 180:
        width, height = height, width
    said = next(iter(Glances(info.path, info.stream, (1, 1)))).said
    known = said_of(said)
    return {
        "stream": info.stream,
        "codec": stream.codec,
        "width": info.width,
        "height": info.height,
        "sample_aspect_ratio": str(info.sample_aspect_ratio or 1),
        "shown_width": round(width),
        "shown_height": round(height),
        "rotation": info.rotation,
        "mirrored": bool(matrix and matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0),
        "rate": float(info.rate),
        "varies": info.vfr,
        "frames": info.frames,
        "time_base": str(info.time_base),
        "pixel_format": info.pix_fmt,
        "depth": layout.depth,
        "chroma": layout.chroma,
        "siting": layout.siting,
        "transparency": layout.alpha,
        "interlaced": info.interlaced,
        "colour": {name: {"is": word, "said": name in known} for name, word in in_words(layout.tags).items()},
        "hdr10": _hdr10(info),
    }


def _hdr10(info: VideoInfo) -> Facts | None:
    if info.hdr is None:
        return None
    mastering = None
    if info.hdr.mastering:
        *points, low, high = map(float, info.hdr.mastering)
        names = ("red", "green", "blue", "white")
        mastering = {name: points[2 * i : 2 * i + 2] for i, name in enumerate(names)} | {"lowest": low, "highest": high}
    content = dict(zip(("max_cll", "max_fall"), info.hdr.content, strict=True)) if info.hdr.content else None
    return {"mastering": mastering, "content": content}


def _counted(video: VideoSource, tell: Tell) -> Facts:
    """What only decoding everything tells."""
    times: list[float] = []  # of the last two frames
    shortest, longest, frames = float("inf"), 0.0, 0
    for frame in video.frames():
        frames += 1
        times = [*times[-1:], float(frame.pts * frame.time_base)]
        for a, b in pairwise(times):
            shortest, longest = min(shortest, b - a), max(longest, b - a)
        tell(frames, video.info.frames)
    steps = frames > 1
    return {
        "frames": frames,
        "shortest": shortest if steps else None,  # seconds from one frame to the next
        "longest": longest if steps else None,
        "damaged_packets": video.damaged_packets,
        "repaired_times": video.repaired_times,
        "shortfall": video.shortfall,
    }


def _stream(stream: StreamContents, becomes: str) -> Facts:
    return {
        "index": stream.index,
        "kind": stream.kind,
        "codec": stream.codec,
        "language": stream.language,
        "title": _printable(stream.title) if stream.title else None,
        "disposition": list(stream.disposition),
        "becomes": becomes,
    }


def _planned_video(info: VideoInfo, goal: Goal) -> tuple[Facts, str]:
    """How the result would be encoded, and its suffix."""
    size = goal.size_for(info.width, info.height, even=True)
    suffix = default_suffix(info)
    facts: Facts = {"name": _named(info.path, goal, suffix), "width": size[0], "height": size[1]}
    try:
        recipe = plan(info, size, Encoding(), suffix)
    except DaganError as error:
        return facts | {"warnings": [f"it cannot be written so: {error}"]}, suffix
    return facts | {"codec": recipe.codec, "pixel_format": recipe.pix_fmt, "warnings": list(recipe.warnings)}, suffix


def _named(path: Path, goal: Goal, suffix: str) -> str:
    return _printable(f"{path.stem}_{goal.name}{suffix}")


def _picture(path: Path, picture: Picture, goal: Goal, count: bool, tell: Tell) -> Facts:
    info = picture.info
    mode, orientation = _as_stored(path, info.format)
    counted = None
    if count:
        for done, _ in enumerate(picture.frames, 1):
            counted = {"frames": done}
            tell(done, info.frames)
    return {
        "kind": "picture",
        "format": info.format,
        "width": info.width,
        "height": info.height,
        "mode": mode,
        "channels": info.channels,
        "depth": info.depth,
        "transparency": info.has_alpha,
        "lossless": info.lossless,
        "orientation": orientation,
        "frames": info.frames,
        "durations": list(info.durations),
        "plays": info.plays if info.durations else None,
        "counted": counted,
        "profile": _profile_name(info.icc),
        "metadata": {name: len(getattr(info, name) or b"") for name in ("exif", "xmp", "iptc", "comment", "icc")},
        "dpi": list(info.dpi) if info.dpi else None,
        "result": _planned_picture(path, picture, goal),
        "warnings": list(info.warnings),
    }


def _as_stored(path: Path, form: str) -> tuple[str | None, int]:
    """Pillow's mode, None where it cannot read the file, and the orientation of EXIF: pixels are read upright."""
    try:
        with heard(), Image.open(path, formats=[form]) as image:
            return image.mode, int(image.getexif().get(0x0112, 1))
    except Exception:  # deep TIFFs, and whatever damaged files make of it
        return None, 1


def _profile_name(icc: bytes | None) -> str | None:
    if not icc:
        return None
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(icc))).strip()
    except (ImageCms.PyCMSError, OSError):
        return "without a name"


def _planned_picture(path: Path, picture: Picture, goal: Goal) -> Facts:
    info = picture.info
    size = goal.size_for(info.width, info.height)
    suffix = images.output_suffix(info, size, kept=path.suffix)
    facts: Facts = {"name": _named(path, goal, suffix), "width": size[0], "height": size[1]}
    try:
        output = images.plan_output(info, path.with_suffix(suffix), size)
    except DaganError as error:
        return facts | {"warnings": [f"it cannot be written so: {error}"]}
    return facts | {"format": output.format, "depth": output.info.depth, "warnings": list(output.warnings)}


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
