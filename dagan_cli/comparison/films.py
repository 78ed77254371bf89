"""Compare videos: pair frames by their times, and score each pair in one pass over all files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from dagan_cli.comparison.luma import Scale, luma_of, notes_of, scale_of
from dagan_cli.comparison.outside import Outside
from dagan_cli.comparison.result import FilmScores, mean
from dagan_cli.comparison.stills import common_size
from dagan_cli.errors import BadInput, DaganError
from dagan_cli.media.video.info import VideoInfo
from dagan_cli.media.video.source import Frame, VideoSource, open_video
from dagan_cli.metrics.fidelity import psnr, ssim
from dagan_cli.metrics.flicker import Change, change, flicker
from dagan_cli.prefetch import prefetch

_AHEAD = 2  # frames that are decoded ahead, of each file
_SSIM_SIDE = 11  # pixels

Tell = Callable[[int, int | None], None]  # frames done, and in all if known


@dataclass(frozen=True, slots=True)
class Film:
    """Result of comparing one video with its reference."""

    size: tuple[int, int]  # (width, height) that was compared
    scores: FilmScores
    means: dict[str, float | None]  # infinite if all frames are equal
    notes: tuple[str, ...]


def compare_films(reference: Path, results: Sequence[Path], border: int, tell: Tell) -> list[Film | DaganError]:
    """Score each result against the reference, or say why it cannot be; one frame of each file is scored at a time.

    A frame of a result belongs to the frame of the reference whose time is nearest, within half of its duration. `tell`
    is called after each frame of the reference, and may raise. Raises BadInput if the reference cannot be read.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_video(reference))
        followers = [_Follower(stack, source.info, path, border) for path in results]
        if all(follower.failed for follower in followers):
            return [each.failed for each in followers if each.failed]
        frames = stack.enter_context(prefetch(source.frames(), _AHEAD))
        changes = _Changes()
        seconds: list[float] = []
        for number, frame in enumerate(frames):
            time = _time(frame)
            seconds.append(float(time - source.info.start))
            near = Fraction(frame.duration, 2) * frame.time_base
            changes.next(frame)
            for follower in followers:
                follower.follow(number, frame, time, near, changes)
            tell(number + 1, source.info.frames)
        warnings = tuple(f"{reference.name}: {each}" for each in (source.shortfall,) if each)
        return [follower.finish(seconds, warnings) for follower in followers]


class _Changes:
    """How the reference changes from frame to frame: found once for all results, and only if one needs it."""

    def __init__(self) -> None:
        self._frames: tuple[Frame | None, Frame | None] = (None, None)
        self._found: dict[tuple[Scale, tuple[int, int]], Change] = {}

    def next(self, frame: Frame) -> None:
        self._frames = self._frames[1], frame
        self._found.clear()

    def along(self, scale: Scale, size: tuple[int, int]) -> Change | None:
        """Return the change from the frame before; None at the first frame, and where the size changes."""
        before, now = self._frames
        if before is None or now is None or before.planes[0].shape != now.planes[0].shape:
            return None
        if (scale, size) not in self._found:
            width, height = size
            lumas = [luma_of(frame, scale)[:height, :width] for frame in (before, now)]
            self._found[scale, size] = change(*lumas)
        return self._found[scale, size]


class _Follower:
    """A result whose frames are paired with those of the reference as these come."""

    def __init__(self, stack: ExitStack, info: VideoInfo, path: Path, border: int) -> None:
        self.failed: DaganError | None = None  # why the result cannot be compared
        self._path = path
        self._border = border
        self._numbers: dict[str, list[float | None]] = {"psnr_y": [], "ssim_y": [], "flicker": []}
        self._matched: list[bool] = []
        self._shares: list[float] = []  # of reliable pixels
        self._spare = 0  # frames without a partner
        self._other_size = 0  # frames
        self._error: tuple[int, Tensor] | None = None  # number and error of the frame that was paired last
        try:
            self._source = stack.enter_context(open_video(path))
            self._size = self._fitting(info, self._source.info)
        except DaganError as error:
            self.failed = error
            return
        self._scale = scale_of(info.layout, self._source.info.layout)
        self._notes = [*notes_of(info.layout, self._source.info.layout)]
        if self._size != (info.width, info.height):
            width, height = self._size
            self._notes.append(
                f"the top left {width}x{height} are compared: the result lacks the rest of the reference"
            )
        depth = max(info.layout.depth, self._source.info.layout.depth)
        self._outside = stack.enter_context(Outside(self._size, depth, info.rate))
        self._frames = stack.enter_context(prefetch(self._source.frames(), _AHEAD))
        self._waiting: list[Frame] = []  # two at most
        self._starts = info.start, self._source.info.start
        self._later: Fraction | None = None  # seconds that all frames are later than in the reference

    def follow(self, number: int, frame: Frame, time: Fraction, near: Fraction, changes: _Changes) -> None:
        """Pair a frame of the reference, and score the pair."""
        if self.failed is not None:
            return
        try:
            partner = self._partner(time, near)
        except DaganError as error:
            self.failed = error
            return
        self._matched.append(partner is not None)
        scores = {} if partner is None else self._scores(number, frame, partner, changes)
        for name, values in self._numbers.items():
            values.append(scores.get(name))

    def finish(self, seconds: Sequence[float], warnings: tuple[str, ...]) -> Film | DaganError:
        """Return the result, after the last frame of the reference."""
        if self.failed is not None:
            return self.failed
        try:
            self._spare += len(self._waiting) + sum(1 for _ in self._frames)
        except DaganError as error:
            return error
        count = sum(self._matched)
        if not count:
            return BadInput(f"no frame of {self._path} is shown when one of its reference is", hint=_sync_hint())
        by_program = self._outside.finish(count)
        notes = [*self._notes, *warnings]
        notes += [f"{self._path.name}: {each}" for each in (self._source.shortfall,) if each]
        notes += [self._outside.note] if self._outside.note else []
        numbers = dict(self._numbers)
        if min(self._size) - 2 * self._border < _SSIM_SIDE:
            notes.append(f"SSIM is left out: it needs {_SSIM_SIDE} pixels on each side")
            del numbers["ssim_y"]
        for name, values in by_program.items():
            each = iter(values)
            numbers[name] = [next(each) if matched else None for matched in self._matched]
        unmatched = len(self._matched) - count, self._spare
        if any(unmatched):
            text = f"frames without a partner: {unmatched[0]} of the reference, {unmatched[1]} of the result"
            notes.append(text + (f", {self._other_size} of them of another size" if self._other_size else ""))
        equal = sum(value == float("inf") for value in numbers["psnr_y"])
        if equal == count:
            notes.append("all frames are equal to those of the reference")
        elif equal:
            notes.append(f"frames equal to the reference, and not in the mean of PSNR: {equal}")
        share = mean(self._shares)
        if share is None:
            notes.append("flicker has no value: no two frames in a row could be followed")
        elif share < 0.9:
            notes.append(f"flicker is measured on {share:.0%} of the pixels: the motion of the rest is not found")
        film = FilmScores(
            seconds=seconds,
            numbers=numbers,
            matched=self._matched,
            unmatched=unmatched,
            later=float(self._starts[0] + (self._later or 0) - self._starts[1]),
            reliable=share,
        )
        return Film(self._size, film, {name: _mean(values) for name, values in numbers.items()}, tuple(notes))

    def _fitting(self, reference: VideoInfo, result: VideoInfo) -> tuple[int, int]:
        """Return the (width, height) to compare. Raises BadInput."""
        sizes = (reference.width, reference.height), (result.width, result.height)
        size = common_size(*sizes, (reference.path, result.path))
        if reference.rotation != result.rotation:
            what = f"{result.path} is shown turned by {result.rotation} degrees, its reference by {reference.rotation}"
            raise BadInput(what, hint="compare videos with the same rotation")
        if min(size) <= 2 * self._border:
            width, height = size
            what = f"{result.path} is {width}x{height}, and a border of {self._border} leaves nothing of it"
            raise BadInput(what, hint="use a smaller --border")
        return size

    def _partner(self, time: Fraction, near: Fraction) -> Frame | None:
        """Return the frame whose time is nearest, and drop those before it."""
        while True:
            self._fill()
            if self._later is None:
                self._later = self._shift(time, near)
            distances = [_time(frame) - self._later - time for frame in self._waiting]
            if not distances or distances[0] > near:
                return None
            frame = self._waiting.pop(0)
            if distances[0] >= -near and all(abs(distances[0]) <= abs(other) for other in distances):
                return frame
            self._spare += 1

    def _shift(self, time: Fraction, near: Fraction) -> Fraction:
        """Return 0, or the difference of the files' starts if only with it the first frames are shown together."""
        if not self._waiting:
            return Fraction(0)
        first, starts = _time(self._waiting[0]), self._starts[1] - self._starts[0]
        if abs(first - time) <= near or abs(first - starts - time) > near:
            return Fraction(0)
        self._notes.append(f"the result begins {float(starts):+.3f} s from the reference: times count from each start")
        return starts

    def _fill(self) -> None:
        while len(self._waiting) < 2 and (frame := next(self._frames, None)) is not None:
            self._waiting.append(frame)

    def _scores(self, number: int, frame: Frame, partner: Frame, changes: _Changes) -> dict[str, float | None]:
        """Return the scores of a pair; none if the frames are not of the size of the first pair."""
        width, height = self._size
        hr, sr = (luma_of(each, self._scale) for each in (frame, partner))
        if sr.shape != (height, width) or hr.shape[0] < height or hr.shape[1] < width:
            self._matched[-1] = False
            self._spare += 1
            self._other_size += 1
            return {}
        hr = hr[:height, :width]
        self._outside.feed(hr, sr)
        error = sr - hr
        scores: dict[str, float | None] = {}
        follows = self._error is not None and self._error[0] == number - 1
        if self._error is not None and follows and (along := changes.along(self._scale, self._size)) is not None:
            scores["flicker"] = flicker(self._error[1], error, along)
            self._shares += [along.share] if scores["flicker"] is not None else []
        self._error = number, error
        border = self._border
        a, b = (x[border : height - border, border : width - border] for x in (sr, hr))
        scores["psnr_y"] = psnr(a, b, self._scale.peak)
        if min(a.shape) >= _SSIM_SIDE:
            scores["ssim_y"] = ssim(a[None, None], b[None, None])
        return scores


def times_of(source: VideoSource) -> Iterator[tuple[float, Frame]]:
    """Yield the frames of a video with their times in seconds from the start of the file."""
    for frame in source.frames():
        yield float(_time(frame) - source.info.start), frame


def _time(frame: Frame) -> Fraction:
    return frame.pts * frame.time_base


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the finite values; infinity if there are only infinite ones."""
    known = [value for value in values if value is not None]
    finite = [value for value in known if value != float("inf")]
    return mean(finite) if finite or not known else float("inf")


def _sync_hint() -> str:
    return "compare with the video that it was made from, in the same part and at the same times"
