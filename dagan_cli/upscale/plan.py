"""Plan the output of one input from its headers alone: what `probe` and a dry run say is what a run does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from dagan_cli.media import images
from dagan_cli.media.container import container_of
from dagan_cli.media.find import Kind
from dagan_cli.media.images.info import PictureInfo
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.mux import foreseen_losses
from dagan_cli.media.video.pixel_shape import squared
from dagan_cli.media.video.recipe import Encoding, Recipe, plan
from dagan_cli.media.video.source import open_video
from dagan_cli.upscale.request import Goal, Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """Size of the result of a video, and the shape of its pixels."""

    factor: float
    size: tuple[int, int]  # (width, height)
    info: VideoInfo  # of the source, but with the shape of the result's pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan:
    """Result of a video: size, encoder settings, and what will not be kept."""

    size: tuple[int, int]  # (width, height)
    recipe: Recipe
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """Result of an image: size, format, and what will not be kept."""

    size: tuple[int, int]  # (width, height)
    output: images.PictureOutput

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self.output.warnings)


def outline(info: VideoInfo, goal: Goal) -> Outline:
    """Return the size that a video is scaled to: for square pixels, one side grows by their shape too."""
    stored = info.width, info.height
    shown = squared(*stored, info.sample_aspect_ratio) if goal.square else stored
    factor, size = goal.factor_for(*shown), goal.size_for(*shown, even=True)
    if shown == stored:
        return Outline(factor=factor, size=size, info=info)
    if goal.factor is not None:  # it fixes the side that does not grow; the other one is even, as encoders need it
        sides = zip(size, shown, stored, strict=True)
        width, height = (side if new == old else 2 * max(1, round(new * factor / 2)) for side, new, old in sides)
        size = width, height
    return Outline(factor=factor, size=size, info=replace(info, sample_aspect_ratio=Fraction(1)))


def plan_video(info: VideoInfo, target: Path, goal: Goal, encoding: Encoding) -> VideoPlan:
    """Plan the video that is written to `target`. Raises BadOption for settings that cannot be."""
    container_of(target)
    result = outline(info, goal)
    recipe = plan(result.info, result.size, encoding, target.suffix.lower())
    warnings = (*recipe.warnings, *foreseen_losses(info, target, encoding))
    return VideoPlan(size=result.size, recipe=recipe, warnings=warnings)


def plan_image(
    info: PictureInfo,
    target: Path,
    goal: Goal,
    *,
    format: str | None = None,
    quality: int = 95,
    lossless: bool = False,
) -> ImagePlan:
    """Plan the image that is written to `target`. Raises BadOption if its format cannot hold the result."""
    size = goal.size_for(info.width, info.height)
    output = images.plan_output(info, target, size, format=format, quality=quality, lossless=lossless)
    return ImagePlan(size=size, output=output)


def require_possible(source: Path | bytes | None, kind: Kind, target: Path, request: Request) -> None:
    """Raise BadOption if the result of a source cannot be written to `target`, whatever is there; BadInput.

    `source` is None for a video from stdin, which is read only once.
    """
    if kind == "picture" and source is not None:
        with images.open_picture(source, limit_pixels=request.max_pixels) as picture:
            chosen = {"format": request.format, "quality": request.quality, "lossless": request.lossless}
            plan_image(picture.info, target, request.goal, **chosen)
    elif isinstance(source, Path):
        with open_video(source) as video:
            plan_video(video.info, target, request.goal, request.encoding)
    else:
        container_of(target)
