"""The published models as plain values, and the lookup of a file by name. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dagan_cli.errors import BadModel
from weights.folder import in_folders, models_in_folders
from weights.reference import FILE, PREFIX, Reference, parse_reference

HERE = Path(__file__).parent
# Where the owner publishes the models, each in its own repository. For one repository with all models, leave out the
# braces, and give each model its own `file`.
REPOSITORY = "dagan-sr/{name}"
# What follows `dagan-xN` in the names of a kind.
KINDS = {"perceptual": "", "fidelity": "-psnr", "real": "-real", "fast": "-fast"}


@dataclass(frozen=True, slots=True)
class Published:
    """One published model."""

    name: str
    scale: int
    sha256: str  # of the whole file
    size: int  # bytes
    licence: str
    summary: str
    metrics: dict[str, float]  # PSNR-Y in dB at the default order, as in the file's header
    revision: str = "main"  # of its repository; a commit once published. The sha256 is checked in any case
    file: str = FILE

    @property
    def kind(self) -> str | None:
        """The kind of the model, one of KINDS, by its name; None for any other."""
        return _kind(self.name, self.scale)

    @property
    def path(self) -> Path:
        """The embedded file."""
        return HERE / f"{self.name}.safetensors"

    @property
    def picture(self) -> Path:
        """The example image for its card: before and after."""
        return HERE / "cards" / f"{self.name}.png"

    @property
    def reference(self) -> Reference:
        """The same file on the Hub."""
        return Reference(REPOSITORY.format(name=self.name), self.revision, self.file)

    def to_json(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in self.__slots__}
        return facts | {"repository": self.reference.repository, "embedded": self.path.is_file()}


def _kind(name: str, scale: int) -> str | None:
    own = name.removeprefix(f"dagan-x{scale}")
    return next((kind for kind, suffix in KINDS.items() if suffix == own), None)


CATALOG: tuple[Published, ...] = (
    Published(
        name="dagan-x2-psnr",
        scale=2,
        sha256="9a363f2876f7f9e5c8e2bfc6c2ef755a794012bdc156bebff1044297c90cbfea",
        size=1011976,
        licence="MIT",
        summary="fidelity: clean sources, highest PSNR",
        metrics={"Set5": 37.763, "Set14": 33.41},
    ),
    Published(
        name="dagan-x4-psnr",
        scale=4,
        sha256="5b371d65f41c5639cf0de532bea6a8f00af904de6ee83b3357bed9870162c078",
        size=1043344,
        licence="MIT",
        summary="fidelity: clean sources, highest PSNR",
        metrics={"Set5": 31.844, "Set14": 28.405},
    ),
    Published(
        name="dagan-x2",
        scale=2,
        sha256="fa8de02659ac732780fb0e655a2ed76faa54a291b09f904f6b212a700a01770b",
        size=1012952,
        licence="MIT",
        summary="perceptual: clean sources, sharp, likely detail (GAN)",
        metrics={"Set5": 36.249, "Set14": 32.135},
    ),
    Published(
        name="dagan-x4",
        scale=4,
        sha256="eef69a2c6d6236b4b03551930e41c707fc0c9bfa2dcfeb1ae781138247b7fa14",
        size=1044064,
        licence="MIT",
        summary="perceptual: clean sources, sharp, likely detail (GAN)",
        metrics={"Set5": 30.179, "Set14": 26.869},
    ),
    Published(
        name="dagan-x2-real",
        scale=2,
        sha256="7b30761c95c17df8e28f483c73d9115da43f7b25bb2b41981570cbd4430bd6b9",
        size=1013552,
        licence="MIT",
        summary="compressed, noisy or blurred sources",
        metrics={"Set5": 32.26, "Set14": 30.153},
    ),
    Published(
        name="dagan-x4-real",
        scale=4,
        sha256="36188d40c71b27c7dfc6a42aa6356212e0b47a5842b93b9ae3dd5bdbbd2b20fc",
        size=1045136,
        licence="MIT",
        summary="compressed, noisy or blurred sources",
        metrics={"Set5": 27.959, "Set14": 26.018},
    ),
    Published(
        name="dagan-x2-fast",
        scale=2,
        sha256="e95fadbac3444142854829d006ec1a272af9c3790065d17c9e437323f59ffccd",
        size=173824,
        licence="MIT",
        summary="compressed, noisy or blurred videos on a CPU: a quarter of the time",
        metrics={"Set5": 32.047, "Set14": 29.98},
    ),
    Published(
        name="dagan-x4-fast",
        scale=4,
        sha256="040875c122cd4af407eb94d43c459635dae935e3bd2a3b199c6956d7150e088c",
        size=189144,
        licence="MIT",
        summary="compressed, noisy or blurred videos on a CPU: a quarter of the time",
        metrics={"Set5": 27.765, "Set14": 25.757},
    ),
)

Fetching = Callable[[str, int, int | None], None]  # file name, bytes received, total bytes if known


def find_model(name: str, fetching: Fetching | None = None) -> tuple[Path, str | None]:
    """Return the local file of a model, and the sha256 it must have (None: any).

    `name` is a published name, an hf:// reference, the path of a file, or a file of DAGAN_MODELS by its name or stem.

    Models in the package or in the cache need no network; others are downloaded.
    Raises BadModel, with the nearest published name, for an unknown name; CannotWrite for the cache.
    """
    if model := published(name):
        if model.path.is_file():
            return model.path, model.sha256
        from weights.hub import fetch

        return fetch(model.reference, sha256=model.sha256, tell=fetching).path, model.sha256
    if name.startswith(PREFIX):
        from weights.hub import fetch

        return fetch(parse_reference(name), tell=fetching).path, None
    if name in KINDS:  # of a file, ./real is the path
        names = ", ".join(model.name for model in CATALOG if model.kind == name)
        raise BadModel(f"{name} is a kind of model, one for each scale", hint=f"name one of them: {names}")
    path = Path(name)
    if not os.path.exists(path) and (found := in_folders(name)):
        return found, None
    if os.path.exists(path) or path.suffix:
        return path, None
    from difflib import get_close_matches

    near = get_close_matches(name, [*KINDS, *(model.name for model in CATALOG), *models_in_folders()], n=1)
    hint = f"did you mean {near[0]}?" if near else f"use {', '.join(KINDS)}, or a name from `dagan models list`"
    raise BadModel(f"unknown model {name!r}", hint=hint)


def pinned(name: str, fetching: Fetching | None = None) -> str:
    """Make the model local and return a name that always means the same model: hf:// names get their commit.

    Raises BadModel, CannotWrite.
    """
    if not name.startswith(PREFIX):
        if published(name):
            find_model(name, fetching)
        return name
    from weights.hub import fetch

    return str(fetch(parse_reference(name), tell=fetching).reference)


def local_model(name: str) -> Path | None:
    """Return the path of the model's file if it is local; no request is made. Raises BadModel for an unknown name."""
    model = published(name)
    if model is None and not name.startswith(PREFIX):
        path, _ = find_model(name)
        return path if path.is_file() else None
    if model is not None and model.path.is_file():
        return model.path
    from weights.hub import cached

    found = cached(model.reference if model else parse_reference(name))
    return found.path if found else None


def published(name: str) -> Published | None:
    """Return the catalogue entry of this name, or None."""
    return next((model for model in CATALOG if model.name == name), None)


def fidelity_model_of(name: str) -> str | None:
    """Return the fidelity model that a perceptual model was trained from, or None.

    `dagan-x4` has `dagan-x4-psnr`, and the file of an adversarial run has `pixel.safetensors` next to it.
    """
    if published(name):
        named = f"{name}-psnr"
        return named if published(named) else None
    pixel = Path(name).with_name("pixel.safetensors")
    return str(pixel) if not name.startswith(PREFIX) and pixel.is_file() and pixel.name != Path(name).name else None


def degraded_model_of(name: str) -> str | None:
    """Return the published model for degraded sources that belongs to a published perceptual model, or None."""
    named = f"{name}-real"
    return named if published(name) and published(named) else None


def default_model(factor: float, *, video: bool = False, kind: str | None = None) -> str:
    """Return the model for a final factor: the smallest published scale that reaches it.

    `kind` is one of KINDS, of which the model will be. Without it, perceptual models are preferred to fidelity models;
    for video, which is compressed, the model for degraded sources is preferred to both; images get it only if it is
    named, as all get the fast ones. Models in the package are preferred to those that would have to be downloaded.
    Raises BadModel if there is none.
    """
    if kind is None:
        kinds = {*KINDS, None} - ({"fast"} if video else {"fast", "real"})
    else:
        kinds = {kind}
    models = [model for model in CATALOG if model.kind in kinds]
    if not models:
        raise BadModel("this package has no published models", hint="name a file with -n")
    return min(models, key=lambda model: _rank(model, factor)).name


def _rank(model: Published, factor: float) -> tuple[bool, bool, int, bool, int]:
    """Return what is least for the model that suits a factor best."""
    reaches = model.scale >= factor
    scale = model.scale if reaches else -model.scale
    return not model.path.is_file(), not reaches, scale, model.kind != "real", len(model.name)
