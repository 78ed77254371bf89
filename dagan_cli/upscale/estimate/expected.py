"""Say how long a video will take on a CPU, with the model that was chosen and with a faster one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dagan_cli.analysis.measure import analyse_video
from dagan_cli.errors import DaganError
from dagan_cli.media.find import Source
from dagan_cli.media.video.source import open_video
from dagan_cli.upscale.estimate.forecast import Forecaster
from dagan_cli.upscale.events import Expected
from dagan_cli.upscale.plan import outline, plan_video
from dagan_cli.upscale.video import resumable
from dagan_cli.upscale.work import Engines, Work
from dagan_cli.upscaler import ModelChoice
from weights.catalog import default_model

_LONG = 60.0  # seconds; shorter work is not worth a line
_LEAST = 2_000_000  # input pixels of all frames; fewer are done within `_LONG` on any CPU
_MOST = 4_000_000  # pixels of a resulting frame; encoding larger ones for an estimate would take seconds
_PATIENCE = 0.2  # seconds for each thing that is measured
_FEW = 3  # inputs; of more, the time that is left for all of them is shown as they are done


def tell_expected(source: Source, target: Path, work: Work, inputs: int) -> None:
    """Tell the time for a video, if dagan chose its model, the work is long, and estimating it takes about a second."""
    if source.kind != "video" or not work.request.model.is_open or work.piped is not None or inputs > _FEW:
        return
    try:
        event = _expected(source.path, target, work)
    except (DaganError, OSError, ValueError, MemoryError):  # of a damaged file, a full disk and the like
        return  # the work itself meets and reports it
    if event is not None:
        work.tell(event)


def _expected(path: Path, target: Path, work: Work) -> Expected | None:
    request = work.request
    with open_video(path, request.deinterlace) as video:
        info = video.info
    result = outline(info, request.goal)
    frames = request.part.frames_of(info.frames, info.rate)
    if not frames or frames * info.width * info.height < _LEAST or result.size[0] * result.size[1] > _MOST:
        return None
    chosen = work.engines.for_source(path, result.factor, lambda: analyse_video(path))
    if chosen.choice.device.type != "cpu":
        return None
    left = frames - resumable(path, target, request, chosen, info)
    planned = plan_video(info, target, request.goal, request.encoding)
    name = default_model(result.factor, kind="fast")
    faster = Engines(replace(request, model=ModelChoice(name)))
    # Conversions and encoding are measured without RGB: a network takes many times as long as the difference.
    forecaster = Forecaster(replace(request, model=ModelChoice("bicubic")), faster, _PATIENCE)
    both = [chosen, faster.for_factor(result.factor)]
    long, short = forecaster.seconds_of_video(target, both, info, planned, frames, left)
    return Expected(path, chosen.words, long, name, short) if long >= _LONG else None
