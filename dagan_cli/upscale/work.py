"""Context shared by all inputs: the request, the loaded models, and a network run that can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dagan_cli.analysis.measure import Analysis, analyse_image, analyse_video
from dagan_cli.media import images
from dagan_cli.media.find import Source
from dagan_cli.media.made.seen import Seen
from dagan_cli.media.video.source import open_video
from dagan_cli.media.y4m.reader import Y4mSource
from dagan_cli.upscale.auto import model_for
from dagan_cli.upscale.events import Advance, Chosen, Fetch, Stopped, Tell
from dagan_cli.upscale.identity import Identity, identify
from dagan_cli.upscale.plan import outline
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.used import Used
from weights.choice import ModelChoice

if TYPE_CHECKING:  # these import torch, which is loaded once there is work
    from torch import Tensor

    from dagan_cli.engine.reuse import History
    from dagan_cli.upscaler import Upscaler


class Engines:
    """One upscaler for each model that the inputs need, loaded on first use and kept.

    If the request leaves the model open, it is chosen for each source by its analysis.
    """

    def __init__(self, request: Request, tell: Tell = lambda _: None) -> None:
        self._request = request
        self.tell = tell  # receives the progress of downloads, and the choices of models
        self._loaded: dict[ModelChoice, Upscaler] = {}
        self._identified: dict[ModelChoice, Identity] = {}
        self._used: dict[ModelChoice, Upscaler | None] = {}  # None: identified, and not loaded yet
        self.of_workers: list[Used] = []  # models as other processes have used them
        self.nodes: list[dict[str, Any]] = []  # of a cluster: what the report says of them
        self._chosen: dict[Path, ModelChoice] = {}  # for the inputs whose model was open

    def require_usable(self, factor: float) -> None:
        """Load the model that the request names, or the usual one for `factor`. Raises BadModel, BadOption."""
        self._load(self._request.model.for_factor(factor))

    def for_factor(self, factor: float, *, video: bool = False) -> Upscaler:
        """Return the upscaler for inputs to scale by `factor`, whatever they are. Raises BadModel, BadOption."""
        return self.use(self._request.model.for_factor(factor, video=video))

    def for_source(self, path: Path, factor: float, analyse: Callable[[], Analysis]) -> Upscaler:
        """Return the upscaler for one input; see `choice_for`. Raises BadModel, BadOption."""
        return self.use(self.choice_for(path, factor, analyse))

    def choice_for(self, path: Path, factor: float, analyse: Callable[[], Analysis]) -> ModelChoice:
        """Return the model for one input. If it is open, `analyse` is called once, and an event tells the choice.

        Raises BadModel.
        """
        if not self._request.model.is_open:
            return self._request.model.for_factor(factor)
        if path not in self._chosen:
            analysis = analyse()
            self._chosen[path] = replace(self._request.model, name=model_for(analysis, factor))
            found = analysis.describe() or "too small or too plain to judge"
            self.tell(Chosen(path, found, self._chosen[path].words))
        return self._chosen[path]

    def forget(self, path: Path) -> None:
        """Choose the model for an input again, if it is open: the input may have changed."""
        self._chosen.pop(path, None)

    def for_stream(self, path: Path, factor: float) -> Upscaler:
        """Return the upscaler for a video from stdin, which cannot be looked at before. Raises BadModel, BadOption."""
        choice = self._request.model.for_factor(factor, video=True)
        if self._request.model.is_open:
            self.tell(Chosen(path, "a stream, which is not looked at", choice.words))
        return self.use(choice)

    @property
    def used(self) -> list[Used]:
        """All models that were returned or identified, and those of workers; none is loaded for it."""
        loaded = {choice: Used.of(self._loaded[choice]) for choice in self._used if choice in self._loaded}
        idle = {choice: Used.idle(identity) for choice, identity in self._identified.items() if choice in self._used}
        return [*(idle | loaded).values(), *self.of_workers]

    def identity(self, choice: ModelChoice) -> Identity | Upscaler:
        """Return what identifies a model in records; it is loaded if that takes it. Raises BadModel, BadOption."""
        self._used.setdefault(choice, None)
        if choice in self._loaded:
            return self._loaded[choice]
        if choice not in self._identified:
            if (found := identify(choice, self._fetching)) is None:
                return self._load(choice)
            self._identified[choice] = found
        return self._identified[choice]

    def use(self, choice: ModelChoice) -> Upscaler:
        """Return the upscaler of a model that does not depend on the input any more. Raises BadModel, BadOption."""
        self._used[choice] = upscaler = self._load(choice)
        return upscaler

    def _load(self, choice: ModelChoice) -> Upscaler:
        if choice not in self._loaded:
            from dagan_cli.upscaler import Upscaler

            self._loaded[choice] = Upscaler.of(choice, self._request.engine, fetching=self._fetching)
        return self._loaded[choice]

    def _fetching(self, name: str, done: int, total: int | None) -> None:
        self.tell(Fetch(name, done, total))


@dataclass(frozen=True, slots=True)
class Work:
    """Context of every step: the request, the models, and the receiver of events."""

    request: Request
    engines: Engines
    tell: Tell
    should_stop: Callable[[], bool]
    piped: bytes | Y4mSource | None  # the input if it came from stdin: an image, or a video
    seen: Seen = field(default_factory=Seen)  # what earlier runs knew of unchanged files
    expected: dict[Hashable, tuple[dict[str, str], str]] = field(default_factory=dict)  # see `made`
    stands_in: bool = False  # a baseline runs in place of a network, and is to do all that is done around one

    def content_of(self, path: Path) -> Path | bytes | None:
        """Return where the content of an input is: in its file, or here if it came from stdin; None for a stream."""
        if isinstance(self.piped, Y4mSource):
            return None
        return path if self.piped is None else self.piped

    def choice_for(self, source: Source) -> ModelChoice:
        """Open an input for its size, and for what it is if the model is open, and return the model it gets.

        Raises BadInput, BadModel.
        """
        request, content = self.request, self.content_of(source.path)
        if content is None:
            return request.model.for_factor(request.goal.factor or 1.0, video=True)
        if source.kind == "video":
            with open_video(source.path) as video:
                factor = outline(video.info, request.goal).factor
            return self.engines.choice_for(source.path, factor, lambda: analyse_video(source.path))
        with images.open_picture(content, limit_pixels=request.max_pixels) as picture:
            info = picture.info
            factor = request.goal.factor_for(info.width, info.height)
            return self.engines.choice_for(source.path, factor, lambda: analyse_image(content, picture.peek(), info))

    def stop_if_asked(self) -> None:
        """Raise Stopped once `should_stop` returns True."""
        if self.should_stop():
            raise Stopped

    def watch(
        self,
        engine: Upscaler,
        frames: Tensor,
        size: tuple[int, int],
        unit: Literal["tiles", None] = None,
        history: History | None = None,
    ) -> Tensor:
        """Upscale frames to `size`. Raises Stopped between tiles once `should_stop` returns True."""
        steps = engine.steps(frames, size, history)
        while True:
            self.stop_if_asked()
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            if unit:
                self.tell(Advance(step.done, step.total, unit))
