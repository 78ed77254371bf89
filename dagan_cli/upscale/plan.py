"""Plan the output of one input from its headers alone: what `probe` and a dry run say is what a run does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dagan_cli.media import images
from dagan_cli.media.images.info import PictureInfo
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.mux import foreseen_losses
from dagan_cli.media.video.recipe import Encoding, Recipe, plan
from dagan_cli.upscale.request import Goal


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


def plan_video(info: VideoInfo, target: Path, goal: Goal, encoding: Encoding) -> VideoPlan:
    """Plan the video that is written to `target`. Raises BadOption for settings that cannot be."""
    size = goal.size_for(info.width, info.height, even=True)
    recipe = plan(info, size, encoding, target.suffix.lower())
    return VideoPlan(size=size, recipe=recipe, warnings=(*recipe.warnings, *foreseen_losses(info, target, encoding)))


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
