"""`dagan probe`: read the facts of a file, and plan the output that `dagan upscale` would write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageCms

from dagan_cli.analysis.measure import Analysis, analyse_image, analyse_video
from dagan_cli.errors import BadInput, DaganError
from dagan_cli.inspection.facts import (
    ChapterFacts,
    ColourTag,
    ContentLight,
    CountedImage,
    CountedVideo,
    Hdr10,
    ImageFacts,
    MainStream,
    Mastering,
    Planned,
    StreamFacts,
    Treatment,
    VideoFacts,
)
from dagan_cli.inspection.glance import Glances
from dagan_cli.inspection.inventory import StreamContents, contents
from dagan_cli.inspection.kept import captions_of
from dagan_cli.media import images
from dagan_cli.media.container import CONTAINERS, open_input
from dagan_cli.media.find import Kind, Source
from dagan_cli.media.images.decoder_warnings import heard
from dagan_cli.media.images.info import Picture
from dagan_cli.media.named import kind_of
from dagan_cli.media.streams.copied import Way, way_of
from dagan_cli.media.targets import Naming, target_of
from dagan_cli.media.video.info import HdrLight, VideoInfo
from dagan_cli.media.video.mux import default_suffix
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.source import VideoSource, open_video
from dagan_cli.planes import specified_tags, tag_names
from dagan_cli.upscale.auto import model_for
from dagan_cli.upscale.plan import outline, plan_image, plan_video
from dagan_cli.upscale.request import Goal

Tell = Callable[[int, int | None], None]

_FIRST_PACKETS = 600  # of a video, which are searched for captions

_TREATMENTS: dict[Way | None, Treatment] = {
    "copied": "copied",
    "cover": "copied",
    "attached": "copied",
    "converted": "rewritten",
    "decoded": "rewritten",
    "elsewhere": "rewritten",  # time codes and chapters: each container stores them in its own form
    None: "left out",
}


def probe(
    path: Path, goal: Goal, *, count: bool = False, tell: Tell = lambda done, total: None
) -> VideoFacts | ImageFacts:
    """Return all facts of an image or video, and the output planned for the size `goal`.

    `count` decodes every frame, which gives their exact number and finds all damage; `tell` then receives the frames
    decoded and about how many there are. Raises NoInput for anything but a file of an image or a video, BadInput for a
    damaged one.
    """
    if kind_of(path) == "picture":
        with images.open_picture(path) as image:
            return _image(path, image, goal, count, tell)
    with open_video(path) as video:
        return _video(path, video, goal, count, tell)


def _video(path: Path, video: VideoSource, goal: Goal, count: bool, tell: Tell) -> VideoFacts:
    info = video.info
    held = contents(info.path)
    counted = _counted(video, tell) if count else None
    suffix = default_suffix(info)
    treatments = _treatments(info, suffix)
    looks = analyse_video(path)
    return VideoFacts(
        input=_printable(str(path)),
        container=held.container,
        duration=info.duration,
        start=float(info.start),
        tags={_printable(name): _printable(value) for name, value in held.tags.items()},
        picture=_main_stream(info, held.streams[info.stream]),
        looks=looks,
        counted=counted,
        streams=tuple(_stream(stream, treatments[stream.index]) for stream in held.streams),
        chapters=tuple(
            ChapterFacts(start=float(c.start), end=float(c.end), title=_printable(c.title)) for c in held.chapters
        ),
        result=_planned_video(info, goal, suffix, looks),
        warnings=tuple(video.warnings),
    )


def _treatments(info: VideoInfo, suffix: str) -> dict[int, Treatment]:
    """Return the treatment of each stream, by its index, in a container of this suffix (".mp4")."""
    form = CONTAINERS[suffix]
    with open_input(info.path) as donor:
        return {
            stream.index: "upscaled" if stream.index == info.stream else _TREATMENTS[way_of(form, donor, stream)]
            for stream in donor.streams
        }


def _main_stream(info: VideoInfo, stream: StreamContents) -> MainStream:
    layout, matrix = info.layout, info.display_matrix
    width, height = info.width * (info.sample_aspect_ratio or Fraction(1)), Fraction(info.height)
    if info.rotation % 180:
        width, height = height, width
    declared = specified_tags(next(iter(Glances(info.path, info.stream, (1, 1)))).said)
    return MainStream(
        stream=info.stream,
        codec=stream.codec,
        width=info.width,
        height=info.height,
        sample_aspect_ratio=str(info.sample_aspect_ratio or 1),
        shown_width=round(width),
        shown_height=round(height),
        rotation=info.rotation,
        mirrored=bool(matrix and matrix[0] * matrix[4] - matrix[1] * matrix[3] < 0),
        rate=float(info.rate),
        varies=info.vfr,
        frames=info.frames,
        time_base=str(info.time_base),
        pixel_format=info.pix_fmt,
        depth=layout.depth,
        chroma=layout.chroma,
        siting=layout.siting,
        transparency=layout.alpha,
        interlaced=info.interlaced,
        colour={
            name: ColourTag(value=word, declared=name in declared) for name, word in tag_names(layout.tags).items()
        },
        hdr10=_hdr10(info.hdr),
        crop=info.crop,
        stereo=info.stereo,
        projection=info.projection,
        captions=info.captions or bool(captions_of(info.path, info.stream, _FIRST_PACKETS)),
    )


def _hdr10(light: HdrLight | None) -> Hdr10 | None:
    if light is None:
        return None
    mastering = content = None
    if light.mastering:
        rx, ry, gx, gy, bx, by, wx, wy, low, high = map(float, light.mastering)
        mastering = Mastering(red=(rx, ry), green=(gx, gy), blue=(bx, by), white=(wx, wy), lowest=low, highest=high)
    if light.content:
        content = ContentLight(max_cll=light.content[0], max_fall=light.content[1])
    return Hdr10(mastering=mastering, content=content)


def _counted(video: VideoSource, tell: Tell) -> CountedVideo:
    times: list[float] = []  # of the last two frames
    shortest, longest, frames = float("inf"), 0.0, 0
    for frame in video.frames():
        frames += 1
        times = [*times[-1:], float(frame.pts * frame.time_base)]
        for a, b in pairwise(times):
            shortest, longest = min(shortest, b - a), max(longest, b - a)
        tell(frames, video.info.frames)
    steps = frames > 1
    return CountedVideo(
        frames=frames,
        shortest=shortest if steps else None,
        longest=longest if steps else None,
        damaged_packets=video.damaged_packets,
        repaired_times=video.repaired_times,
        shortfall=video.shortfall,
    )


def _stream(stream: StreamContents, becomes: Treatment) -> StreamFacts:
    return StreamFacts(
        index=stream.index,
        kind=stream.kind,
        codec=stream.codec,
        language=stream.language,
        title=_printable(stream.title) if stream.title else None,
        disposition=stream.disposition,
        becomes=becomes,
    )


def _planned_video(info: VideoInfo, goal: Goal, suffix: str, looks: Analysis) -> Planned:
    target = _target(info.path, "video", goal, suffix)
    result = outline(info, goal)
    width, height = result.size
    model = model_for(looks, result.factor)
    basis = Planned(name=_printable(target.name), width=width, height=height, model=model, warnings=())
    try:
        planned = plan_video(info, target, goal, Encoding())
    except DaganError as error:
        return replace(basis, warnings=(_refused(error),))
    recipe = planned.recipe
    return replace(basis, codec=recipe.codec, pixel_format=recipe.pix_fmt, warnings=planned.warnings)


def _target(path: Path, kind: Kind, goal: Goal, suffix: str) -> Path:
    return target_of(Source(path, kind), Naming(None, False, goal.name), suffix)


def _refused(error: DaganError) -> str:
    return f"this output cannot be written: {error}"


def _image(path: Path, image: Picture, goal: Goal, count: bool, tell: Tell) -> ImageFacts:
    info = image.info
    mode, orientation = _as_stored(path, info.format)
    counted = looks = None
    try:
        looks = analyse_image(path, image.peek(), info)
    except BadInput:
        if count:
            raise
    if count:
        for done, _ in enumerate(image.frames, 1):
            counted = CountedImage(frames=done)
            tell(done, info.frames)
    return ImageFacts(
        input=_printable(str(path)),
        format=info.format,
        width=info.width,
        height=info.height,
        mode=mode,
        channels=info.channels,
        depth=info.depth,
        transparency=info.has_alpha,
        lossless=info.lossless,
        orientation=orientation,
        frames=info.frames,
        durations=tuple(info.durations),
        plays=info.plays if info.durations else None,
        counted=counted,
        profile=_profile_name(info.icc),
        metadata={name: len(getattr(info, name) or b"") for name in ("exif", "xmp", "iptc", "comment", "icc")},
        dpi=info.dpi or None,
        looks=looks,
        result=_planned_image(path, image, goal, looks),
        warnings=tuple(info.warnings),
    )


def _as_stored(path: Path, form: str) -> tuple[str | None, int]:
    """Return Pillow's mode, None if Pillow cannot read the file, and the EXIF orientation."""
    try:
        with heard(), Image.open(path, formats=[form]) as image:
            return image.mode, int(image.getexif().get(0x0112, 1))
    except Exception:  # deep TIFFs; damaged files raise almost anything
        return None, 1


def _profile_name(icc: bytes | None) -> str | None:
    if not icc:
        return None
    try:
        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(BytesIO(icc))).strip()
    except (ImageCms.PyCMSError, OSError):
        return "without a name"


def _planned_image(path: Path, image: Picture, goal: Goal, looks: Analysis | None) -> Planned:
    info = image.info
    width, height = size = goal.size_for(info.width, info.height)
    target = _target(path, "picture", goal, images.output_suffix(info, size, kept=path.suffix))
    model = model_for(looks or Analysis(), goal.factor_for(info.width, info.height))
    basis = Planned(name=_printable(target.name), width=width, height=height, model=model, warnings=())
    try:
        planned = plan_image(info, target, goal)
    except DaganError as error:
        return replace(basis, warnings=(_refused(error),))
    output = planned.output
    return replace(basis, format=output.format, depth=output.info.depth, warnings=planned.warnings)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
