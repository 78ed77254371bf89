"""Models by name, ready to run: what the use cases and the Python door have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dagan_cli.engine.options import EngineOptions
from dagan_cli.engine.resample import Resize
from dagan_cli.engine.upscaler import Upscaler as Engine
from dagan_cli.errors import BadModel, BadOption
from dagan_cli.model.blend import blend
from dagan_cli.model.checkpoint import Model, Network, load_generator, load_model
from dagan_cli.model.config import Window
from dagan_cli.request import Request
from dagan_cli.version import __version__
from weights.catalog import Fetching, default_model, find_model, pinned, twin_of
from weights.reference import PREFIX

BASELINES = ("nearest", "bicubic", "lanczos")


class Upscaler(Engine):
    """The Python door: frames (N, 3, H, W) in [0, 1] -> (N, 3, scale*H, scale*W). See the engine's for all it does."""

    name = ""
    sha256: str | None = None  # of the model's file; None for a baseline
    detail: float | None = None  # how far from the fidelity twin's weights to the file's own; None: these

    @property
    def is_baseline(self) -> bool:
        return self.sha256 is None

    @property
    def signature(self) -> str:
        """What the files made by it say of it."""
        words = [f"dagan {__version__}: {self.name}"]
        if self.sha256 is not None:
            words += [f"sha256 {self.sha256[:16]}", f"x{self.scale}", str(self.choice.dtype).removeprefix("torch.")]
            words += [] if self.order is None else [f"order {self.order}"]
            words += [] if self.detail is None else [f"detail {self.detail:g}"]
            words += ["local windows"] if self.window == "local" else []
            words += ["ensemble"] if self.options.ensemble else []
        return ", ".join(words)

    @property
    def order(self) -> int | None:
        """Position of the model's order dial; None without one."""
        return getattr(self._original, "order", None)

    @property
    def window(self) -> Window | None:
        """What its pooling and global attention see; None where nothing pools or attends."""
        return getattr(self._original, "window", None)

    @property
    def orders(self) -> tuple[int, ...]:
        """Positions that the dial has."""
        config = getattr(self._original, "config", None)
        return () if config is None else config.orders

    @classmethod
    def load(
        cls,
        model: str = "dagan-x4-psnr",
        *,
        order: int | None = None,
        detail: float | None = None,
        window: Window | None = None,
        options: EngineOptions | None = None,
        fetching: Fetching | None = None,
        **choices: Any,
    ) -> Upscaler:
        """A published model by name, a .safetensors file by path, hf://owner/repo, or nearest, bicubic, lanczos.

        order: of the solver, 1, 2 or 4, for models trained with the dial; detail: for perceptual models with a fidelity
        twin, from 0, that one, to 1; window: what pooling and global attention see, by default what the model was
        measured with; fetching: is told of a download. Other keywords are those of `EngineOptions`: device, precision,
        tile, overlap, batch, ensemble. Raises BadModel, BadOption.
        """
        options = options or EngineOptions(**choices)
        if model in BASELINES:
            if order is not None:
                raise BadOption(f"{model} has no solver whose order could be chosen", hint="leave out --order")
            if detail is not None:
                raise BadOption(f"{model} has no detail to be chosen", hint="leave out --detail")
            upscaler = cls(Resize(model), options)  # type: ignore[arg-type]
        else:
            model = pinned(model, fetching)
            loaded = _between(model, detail) if detail is not None else load_model(*find_model(model))
            if window is not None:
                loaded.generator.use_window(window)
            if order is not None:
                loaded.generator.order = order
            upscaler = cls(loaded.generator, options)
            upscaler.sha256, upscaler.detail = loaded.sha256, detail
        upscaler.name = model if model in BASELINES or model.startswith(PREFIX) else Path(model).name
        return upscaler


def _between(model: str, detail: float) -> Model[Network]:
    """The model's weights, moved towards those of the fidelity twin it was trained on from."""
    if not 0 <= detail <= 1:
        raise BadOption(f"a detail of {detail:g}", hint="use a number from 0, faithful, to 1, all that the model adds")
    twin = twin_of(model)
    if twin is None:
        raise BadModel(
            f"{model} has no fidelity twin to go towards",
            hint="leave out --detail; published perceptual models have one, and runs of `dagan train` with two phases",
        )
    ends = [load_generator(*find_model(name)) for name in (twin, model)]
    return replace(ends[1], generator=blend(ends[0].generator, ends[1].generator, detail))


class Engines:
    """One upscaler for each model that the inputs call for, loaded when first needed and kept."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._loaded: dict[str, Upscaler] = {}
        self.fetching: Fetching | None = None  # is told of a model's download

    def for_factor(self, factor: float, *, video: bool = False) -> Upscaler:
        # Only models for clean sources have a twin for --detail to go towards.
        name = self._request.model or default_model(factor, video=video and self._request.detail is None)
        if name not in self._loaded:
            self._loaded[name] = Upscaler.load(
                name,
                order=self._request.order,
                detail=self._request.detail,
                window=self._request.window,
                options=self._request.engine,
                fetching=self.fetching,
            )
        return self._loaded[name]

    @property
    def used(self) -> list[Upscaler]:
        return list(self._loaded.values())
