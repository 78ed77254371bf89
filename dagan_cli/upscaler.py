"""Load models by name, ready to run: the Python API, which all commands use too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Generator as Steps
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from dagan_cli.engine.engine import Engine, Step
from dagan_cli.engine.grain import restore_grain, seed_of
from dagan_cli.engine.options import EngineOptions, Network
from dagan_cli.engine.precision import Choice
from dagan_cli.engine.resample import Resize, Target, scaled_size
from dagan_cli.engine.reuse import History
from dagan_cli.engine.samples import deferred, nearest, require_frames, require_samples
from dagan_cli.errors import BadInput, BadOption
from dagan_cli.model.blend import blend
from dagan_cli.model.checkpoint import Model, load_generator, load_model
from dagan_cli.model.config import Window
from dagan_cli.model.file import is_foreign
from dagan_cli.model.generator import Generator
from dagan_cli.version import __version__
from weights.catalog import Fetching, degraded_model_of, fidelity_model_of, find_model, pinned, published
from weights.choice import BASELINES as BASELINES
from weights.choice import ModelChoice as ModelChoice
from weights.reference import PREFIX

if TYPE_CHECKING:
    from PIL import Image


class Loaded(NamedTuple):
    """A network and its identity."""

    network: Network
    name: str  # of a file without its folder, of a model on the Hub with its commit
    sha256: str | None  # of the file; None for a baseline


def load_network(choice: ModelChoice, fetching: Fetching | None = None, *, baseline_scale: int = 1) -> Loaded:
    """Load the chosen network, downloading it first if needed.

    `fetching` is called with the progress of a download. Raises BadModel, BadOption.
    """
    assert choice.name is not None
    if choice.is_baseline:
        return Loaded(Resize(choice.name, baseline_scale), choice.name, None)  # type: ignore[arg-type]
    name = pinned(choice.name, fetching)
    path, expected = find_model(name)
    shown = name if name.startswith(PREFIX) or published(name) else path.name
    if is_foreign(path):
        return _load_foreign(choice, path, shown)
    is_blend = choice.detail is not None or choice.denoise is not None
    loaded = _blended(name, choice) if is_blend else load_model(path, expected)
    if choice.window is not None:
        loaded.generator.use_window(choice.window)
    if choice.order is not None:
        loaded.generator.order = choice.order
    return Loaded(loaded.generator, shown, loaded.sha256)


def _blended(name: str, choice: ModelChoice) -> Model[Generator]:
    """Load a model, from its fidelity model by `detail`, and towards its model for degraded sources by `denoise`."""
    loaded = load_generator(*find_model(name))
    generator = loaded.generator
    if choice.detail is not None:
        kind, hint = "fidelity model", "published perceptual models and two-phase runs of `dagan train` have one"
        generator = blend(_partner(fidelity_model_of(name), name, "--detail", kind, hint), generator, choice.detail)
    if choice.denoise is not None:
        kind, hint = "model for degraded sources", "published perceptual models have one"
        end = _partner(degraded_model_of(name), name, "--denoise", kind, hint)
        generator = blend(generator, end, choice.denoise, option="--denoise")
    return replace(loaded, generator=generator)


def _partner(found: str | None, name: str, option: str, kind: str, hint: str) -> Generator:
    """Load the model that `name` is blended with. Raises BadOption if it has none."""
    if found is None:
        what = f"{option} does not apply to {name}: it has no {kind} to blend with"
        raise BadOption(what, hint=f"leave it out; {hint}")
    return load_generator(*find_model(found)).generator


def _load_foreign(choice: ModelChoice, path: Path, name: str) -> Loaded:
    """Load a network of another program. Raises BadModel, BadOption."""
    settings = {"--order": choice.order, "--detail": choice.detail, "--denoise": choice.denoise}
    for flag, value in (settings | {"--window": choice.window}).items():
        if value is not None:
            raise BadOption(f"{flag} does not apply to {name}, a model of another program", hint="leave it out")

    from dagan_cli.community.network import load_community

    network, sha256 = load_community(path)
    return Loaded(network, name, sha256)


def checked(path: Path, expected: str | None = None) -> str:
    """Read a model's file completely, also one of another program; return its sha256. Raises BadModel."""
    if not is_foreign(path):
        return load_model(path, expected).sha256

    from dagan_cli.community.network import load_community

    return load_community(path)[1]


Pixels = TypeVar("Pixels", Tensor, np.ndarray, "Image.Image")
Progress = Callable[[int, int], None]  # finished tiles and all tiles; alpha counts again, as an image of its own


class Upscaler:
    """Python API: an image or frames -> the same kind, enlarged. `engine` runs the network.

    upscaler(image)                   the network's own factor
    upscaler.upscale_to(image, 2.5)   any factor, or an exact (width, height)
    upscaler.steps(frames)            the same, tile by tile

    Tensors are (3, H, W) or (N, 3, H, W), float in [0, 1] or uint8; results are float and not clamped: edges
    overshoot, and `clamp(0, 1)` limits them. Arrays are (H, W, 3), or (H, W) or (H, W, C) with grey or alpha, uint8,
    uint16 or float in [0, 1], as are their results. Images of Pillow keep their mode and `info`; palettes and bilevel
    become RGB, RGBA or L, and CMYK and LAB become sRGB.

    >>> import numpy, torch
    >>> from PIL import Image
    >>> upscaler = Upscaler.load("dagan-x2-psnr")
    >>> upscaler(torch.rand(3, 9, 8)).shape
    torch.Size([3, 18, 16])
    >>> upscaler(torch.rand(5, 3, 9, 8)).shape
    torch.Size([5, 3, 18, 16])
    >>> upscaler(numpy.zeros((9, 8, 3), numpy.uint8)).shape
    (18, 16, 3)
    >>> upscaler.upscale_to(Image.new("RGBA", (8, 9)), 1.5).size
    (12, 14)
    """

    def __init__(
        self,
        network: Network,
        options: EngineOptions | None = None,
        *,
        name: str = "",
        sha256: str | None = None,
        choice: ModelChoice | None = None,
    ) -> None:
        self.engine = Engine(network, options)
        self.name = name
        self.sha256 = sha256  # of the model's file; None for a baseline
        self.detail = choice.detail if choice else None  # see ModelChoice
        self.denoise = choice.denoise if choice else None
        self.grain = choice.grain if choice else 0.0
        self.words = choice.words if choice else name  # the model as options name it
        self.architecture: str | None = getattr(network, "architecture", None)  # None for dagan's own
        self.order: int | None = getattr(network, "order", None)  # of the solver; None if the model has no choice
        self.window: Window | None = getattr(network, "window", None)  # None where nothing pools or attends
        config = getattr(network, "config", None)
        self.orders: tuple[int, ...] = () if config is None else config.orders  # orders that can be chosen

    @classmethod
    def load(
        cls,
        model: str = "dagan-x4-psnr",
        *,
        order: int | None = None,
        detail: float | None = None,
        denoise: float | None = None,
        window: Window | None = None,
        grain: float = 0.0,
        options: EngineOptions | None = None,
        fetching: Fetching | None = None,
        **choices: Any,
    ) -> Upscaler:
        """Load a published model by name, a file by path, hf://owner/repo, or nearest, bicubic, lanczos.

        A file is a dagan model, or one of another program that spandrel reads (the extra `community`).

        order, detail, denoise, window, grain: see `ModelChoice`. fetching: called with the progress of a download.
        Other keywords are those of `EngineOptions`: device, precision, tile, overlap, batch, ensemble. Raises BadModel,
        BadOption.
        """
        choice = ModelChoice(model, order=order, detail=detail, denoise=denoise, window=window, grain=grain)
        return cls.of(choice, options, fetching=fetching, **choices)

    @classmethod
    def of(
        cls,
        choice: ModelChoice,
        options: EngineOptions | None = None,
        *,
        fetching: Fetching | None = None,
        **choices: Any,
    ) -> Upscaler:
        """Load the chosen model. Other keywords are those of `EngineOptions`. Raises BadModel, BadOption."""
        network, name, sha256 = load_network(choice, fetching)
        return cls(network, options or EngineOptions(**choices), name=name, sha256=sha256, choice=choice)

    def __call__(self, image: Pixels, progress: Progress | None = None) -> Pixels:
        """Upscale by the network's own factor.

        Raises BadInput for anything but the images above, and for floats that are not finite or not in [0, 1]. Errors
        of the work are those of `Engine.__call__`.
        """
        return self._same_kind(image, None, progress)

    def upscale_to(self, image: Pixels, target: Target, progress: Progress | None = None) -> Pixels:
        """Like a call, but to a factor above 0 or an exact (width, height); see `Engine.upscale_to`."""
        return self._same_kind(image, target, progress)

    def steps(
        self, frames: Tensor, target: Target | None = None, history: History | None = None
    ) -> Steps[Step, None, Tensor]:
        """Upscale in steps that can be watched and abandoned, without grain; see `Engine.steps`."""
        return self.engine.steps(frames, target, history)

    def restore_grain(self, frames: Tensor, big: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
        """Add the chosen share of the lost grain to the result `big` of `frames`, in place; return `big`.

        A seed for each frame chooses its grain; None: by the samples of `frames`. See `engine.grain.restore_grain`.
        """
        if not self.grain:
            return big
        seeds = seeds or [seed_of([frame.float().numpy(force=True)]) for frame in frames]
        return restore_grain(frames, big, self.grain, seeds)

    def enlarged(
        self, samples: np.ndarray, size: tuple[int, int], enlarge: Callable[[Tensor], Tensor], folder: Path | None
    ) -> Callable[[], np.ndarray]:
        """Upscale samples of an image to `size` (width, height), with grain; `enlarge` runs the engine to that size.

        What is returned makes the samples of the result, in any thread; see `engine.samples.deferred`.
        """
        if self.name == "nearest":
            return partial(nearest, samples, size, folder)
        return deferred(samples, enlarge, finish=self.restore_grain, folder=folder)

    def _same_kind(self, image: Pixels, target: Target | None, progress: Progress | None) -> Pixels:
        def enlarge(frames: Tensor) -> Tensor:
            if target is None:
                return self.engine(frames, progress)
            return self.engine.upscale_to(frames, target, progress)

        def finished(frames: Tensor) -> Tensor:
            return self.restore_grain(frames, enlarge(frames))

        def of_samples(samples: np.ndarray) -> np.ndarray:
            require_samples(samples)
            height, width, _ = samples.shape
            size = scaled_size(width, height, self.scale if target is None else target)
            big = self.enlarged(samples, size, enlarge, self.engine.options.folder)()
            return big.clip(0, 1, out=big) if big.dtype.kind == "f" else big  # as integers are, and as may come in

        if isinstance(image, Tensor):
            image = image.detach()  # nothing here is differentiated
            require_frames(image)
            return finished(image) if image.ndim == 4 else finished(image[None])[0]
        if isinstance(image, np.ndarray):
            return of_samples(image) if image.ndim != 2 else of_samples(image[..., None])[..., 0]
        return _of_pillow(image, of_samples)

    @property
    def scale(self) -> int:
        """The network's own factor."""
        return self.engine.scale

    @property
    def choice(self) -> Choice:
        """Device and precision, and the reason."""
        return self.engine.choice

    @property
    def notices(self) -> list[str]:
        """Messages about deviations from the plan."""
        return self.engine.notices

    @property
    def is_baseline(self) -> bool:
        """True where no network runs."""
        return self.sha256 is None

    @property
    def signature(self) -> str:
        """Text written into the metadata of every output."""
        words = [f"dagan {__version__}: {self.name}"]
        if self.sha256 is not None:
            words += [] if self.architecture is None else [self.architecture]
            words += [f"sha256 {self.sha256[:16]}", f"x{self.scale}", str(self.choice.dtype).removeprefix("torch.")]
            words += [] if self.order is None else [f"order {self.order}"]
            words += [] if self.detail is None else [f"detail {self.detail:g}"]
            words += [] if self.denoise is None else [f"denoise {self.denoise:g}"]
            words += [f"grain {self.grain:g}"] if self.grain else []
            words += ["local windows"] if self.window == "local" else []
            words += ["ensemble"] if self.engine.options.ensemble else []
        return ", ".join(words)


def _of_pillow(image: Image.Image, enlarge: Callable[[np.ndarray], np.ndarray]) -> Image.Image:
    from PIL import Image, ImageCms

    from dagan_cli.media.images.pillow import image_of, mode_for, samples_of

    if not isinstance(image, Image.Image):
        raise BadInput(
            f"cannot upscale a value of type {type(image).__name__}",
            hint="pass a tensor (3, H, W) or (N, 3, H, W), an array (H, W, 3), or an image of Pillow",
        )
    try:
        samples = samples_of(image, mode_for(image))
    except (ValueError, OSError, ImageCms.PyCMSError) as error:
        raise BadInput(
            f"cannot read the image of mode {image.mode}: {error}", hint="convert it to RGB first"
        ) from error
    result = image_of(enlarge(samples))
    left_out = {"transparency"} | ({"icc_profile"} if image.mode in ("CMYK", "LAB") else set())  # both were applied
    result.info = {name: value for name, value in image.info.items() if name not in left_out}
    return result
