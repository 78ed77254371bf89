"""Context shared by all inputs: the request, the loaded models, and a network run that can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from dagan_cli.engine.reuse import History
from dagan_cli.media.y4m.reader import Y4mSource
from dagan_cli.upscale.events import Advance, Fetch, Stopped, Tell
from dagan_cli.upscale.request import Request
from dagan_cli.upscaler import Upscaler


class Engines:
    """One upscaler for each model that the inputs need, loaded on first use and kept."""

    def __init__(self, request: Request, tell: Tell = lambda _: None) -> None:
        self._request = request
        self._tell = tell  # receives the progress of downloads
        self._loaded: dict[str, Upscaler] = {}

    def for_factor(self, factor: float, *, video: bool = False) -> Upscaler:
        """Return the upscaler for inputs to scale by `factor`. Raises BadModel, BadOption."""
        choice, options = self._request.model.for_factor(factor, video=video), self._request.engine
        assert choice.name is not None
        if choice.name not in self._loaded:
            self._loaded[choice.name] = Upscaler.of(choice, options, fetching=self._fetching)
        return self._loaded[choice.name]

    @property
    def used(self) -> list[Upscaler]:
        """All loaded upscalers."""
        return list(self._loaded.values())

    def _fetching(self, name: str, done: int, total: int | None) -> None:
        self._tell(Fetch(name, done, total))


@dataclass(frozen=True, slots=True)
class Work:
    """Context of every step: the request, the models, and the receiver of events."""

    request: Request
    engines: Engines
    tell: Tell
    should_stop: Callable[[], bool]
    piped: bytes | Y4mSource | None  # the input if it came from stdin: an image, or a video

    def content_of(self, path: Path) -> Path | bytes | None:
        """Return where the content of an input is: in its file, or here if it came from stdin; None for a stream."""
        if isinstance(self.piped, Y4mSource):
            return None
        return path if self.piped is None else self.piped

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
            if self.should_stop():
                raise Stopped
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            if unit:
                self.tell(Advance(step.done, step.total, unit))
