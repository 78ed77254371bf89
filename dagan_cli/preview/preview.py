"""Show an input at a few places through several models, with the time of the whole job and its command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np

from dagan_cli.analysis.measure import Analysis
from dagan_cli.device import free_host_memory
from dagan_cli.errors import BadOption
from dagan_cli.media.find import Found, Source
from dagan_cli.media.targets import plan_naming, plan_targets
from dagan_cli.preview.choices import Asked, choices_for, command_of
from dagan_cli.preview.parts import Pace
from dagan_cli.preview.result import Option, Preview, Spot
from dagan_cli.preview.subject import Subject, open_subject
from dagan_cli.upscale.estimate.forecast import Forecaster
from dagan_cli.upscale.events import Advance, Amount, Outlook, Start, Tell
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines, Work
from dagan_cli.upscaler import Upscaler
from weights.choice import ModelChoice

_NETWORKS = 30.0  # seconds that the networks may take for a film; a slow machine shows fewer frames of each second
_PIXELS = 13_000_000  # of all frames of a film; more do not fit into a page
_LEAST = 3  # frames of a second, however large
_FLICKER = 6  # frames of a second that show flicker, however slow
_PATIENCE = 0.5  # seconds for each thing that is measured for an estimate


def preview(source: Source, request: Request, asked: Asked, tell: Tell, should_stop: Callable[[], bool]) -> Preview:
    """Preview one input; `request` is that of the whole job, whose model is open.

    Raises BadInput, BadModel, BadOption, CannotWrite, OutOfMemory, and Stopped once `should_stop` returns True.
    """
    return _Run(source, request, asked, tell, should_stop).result()


class _Run:
    """The state of one preview."""

    def __init__(
        self, source: Source, request: Request, asked: Asked, tell: Tell, should_stop: Callable[[], bool]
    ) -> None:
        self._source, self._request, self._asked, self._tell = source, request, asked, tell
        self._engines = Engines(request, tell)
        self._work = Work(request, self._engines, tell, should_stop, None)
        self._spent: dict[str, float] = {}
        self._forecasters: dict[str | None, Forecaster] = {}
        self._auto: tuple[str, str] | None = None  # the model that the input gets, and what it is

    def result(self) -> Preview:
        """Do the work."""
        path, tell = self._source.path, self._tell
        tell(Outlook(1, {path: Amount(self._source.kind, 1, 1)}))
        tell(Start(0, 1, path))
        with self._step("places"):
            subject = open_subject(path, self._source.kind, self._work)
        with self._step("analysis"):
            chosen = choices_for(self._asked, subject.factor, lambda: self._chosen(subject))
        with self._step("loading"):
            upscalers = [self._loaded(choice) for choice in chosen]
        target = self._target(subject)
        counts = [subject.frames(place) for place in range(len(subject.places))]
        paces = [Pace() for _ in chosen]
        with self._step("models"):
            if subject.rate:
                counts = self._affordable(subject, upscalers, paces, counts)
        done, total = 0, (1 + sum(counts)) * len(chosen)
        columns: list[list[list[np.ndarray]]] = []
        options = []
        for choice, upscaler, pace in zip(chosen, upscalers, paces, strict=True):
            column = []
            for place, count in enumerate(counts):
                column.append([])
                for frame in range(count):
                    self._work.stop_if_asked()
                    with self._step("models"):
                        column[-1].append(subject.through(upscaler, place, frame, self._work, pace))
                    done += 1
                    tell(Advance(done, total, "frames" if subject.rate else "tiles"))
            columns.append(column)
            self._work.stop_if_asked()
            with self._step("estimates"):
                options.append(self._option(choice, upscaler, pace, subject, target))
            done += 1
            tell(Advance(done, total, "frames" if subject.rate else "tiles"))
        return Preview(
            path=path,
            kind=self._source.kind,
            in_size=subject.size,
            out_size=subject.result,
            options=options,
            spots=[_spot(subject, place, [column[place] for column in columns]) for place in range(len(counts))],
            notes=[*subject.notes, *_notes(subject, upscalers, counts)],
            seconds=self._spent,
        )

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = monotonic()
        try:
            yield
        finally:
            self._spent[name] = self._spent.get(name, 0.0) + monotonic() - started

    def _chosen(self, subject: Subject) -> str:
        """Return the model that `auto` takes."""
        found = ""

        def analyse() -> Analysis:
            nonlocal found
            analysis = subject.analyse()
            found = analysis.describe() or "too small or too plain to judge"
            return analysis

        name = self._engines.choice_for(self._source.path, subject.factor, analyse).name
        assert name is not None
        self._auto = self._auto or (name, found)
        return name

    def _loaded(self, choice: ModelChoice) -> Upscaler:
        self._work.stop_if_asked()
        return self._engines.use(choice)

    def _target(self, subject: Subject) -> Path:
        """Return the path that the command of the whole job writes to. Raises BadOption."""
        naming = plan_naming(Found((self._source,), (), (), True), None, self._request.goal.name)
        (target,) = plan_targets([self._source], naming, [subject.suffix])
        if isinstance(target, BadOption):
            raise target
        return target

    def _affordable(
        self, subject: Subject, upscalers: Sequence[Upscaler], paces: Sequence[Pace], counts: list[int]
    ) -> list[int]:
        """Return the frames of each second that fit into a page, and that all networks can do in time.

        The time is that of the second frame of the first network.
        """
        height, width = subject.places[0].box.height * subject.factor, subject.places[0].box.width * subject.factor
        most = max(_LEAST, int(_PIXELS / (height * width * (1 + len(upscalers)) * len(counts))))
        networks = [(one, pace) for one, pace in zip(upscalers, paces, strict=True) if not one.is_baseline]
        if networks and counts[0] > 1:
            upscaler, pace = networks[0]
            subject.through(upscaler, 0, 0, self._work, pace)  # it compiles
            started = monotonic()
            subject.through(upscaler, 0, 1, self._work, pace)
            each = monotonic() - started
            most = min(most, max(_FLICKER, int(_NETWORKS / (each * len(networks) * len(counts)))))
        return [min(most, count) for count in counts]

    def _option(self, choice: ModelChoice, upscaler: Upscaler, pace: Pace, subject: Subject, target: Path) -> Option:
        """Estimate the whole job with a model."""
        key = choice.name if upscaler.is_baseline else None
        if key not in self._forecasters:
            request = replace(self._request, model=choice, resume=False, dry_run=True)
            self._forecasters[key] = Forecaster(request, self._engines, _PATIENCE, budget=0.0)
        forecaster, (width, height) = self._forecasters[key], subject.size
        if pace.pixel is not None and not upscaler.is_baseline and upscaler.choice.device.type == "cpu":
            forecaster.know(upscaler, height, width, pace.pixel)
        item = forecaster.look_at(self._source, target, upscaler)
        assert item.forecast is not None
        is_auto = self._auto is not None and (choice.name, choice.denoise) == (self._auto[0], None)
        return Option(
            model=choice.words,
            why=self._auto[1] if is_auto and self._auto else "",
            seconds=item.forecast.seconds,
            at_least=item.forecast.at_least,
            output=target,
            command=command_of(str(self._source.path), choice, self._asked),
            warnings=(*item.warnings, *_too_large(item.forecast.memory, upscaler)),
        )


def _spot(subject: Subject, place: int, made: Sequence[list[np.ndarray]]) -> Spot:
    """Return a place, with the input next to the results."""
    found, count = subject.places[place], len(made[0])
    height, width = made[0][0].shape[:2]
    return Spot(
        why=found.why,
        box=found.box,
        time=subject.times[place],
        rate=subject.rate,
        images=[[subject.as_it_is(place, frame, (width, height)) for frame in range(count)], *made],
    )


def _too_large(memory: int, upscaler: Upscaler) -> Iterator[str]:
    """Say that the whole job on a CPU, which takes `memory` bytes, would run out of them."""
    free = free_host_memory()
    if upscaler.choice.device.type == "cpu" and memory > free:
        yield f"the whole job needs about {memory / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"


def _notes(subject: Subject, upscalers: Sequence[Upscaler], counts: Sequence[int]) -> Iterator[str]:
    if subject.rate and max(counts) < max(subject.frames(place) for place in range(len(counts))):
        yield f"Each second shows its first {max(counts)} frames, so that the preview is quick and its page small."
    if beyond := [one.words for one in upscalers if subject.lacks(one)]:
        yield (
            f"Each place is computed with {subject.around} pixels around it. These models look farther, and the whole "
            f"result may differ a little: {', '.join(beyond)}."
        )
