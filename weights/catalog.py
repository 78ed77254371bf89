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


@dataclass(frozen=True, slots=True)
class Planned:
    """A name that is kept for a model whose weights are not published yet; a file of DAGAN_MODELS may have it."""

    name: str
    scale: int
    summary: str

    @property
    def kind(self) -> str | None:
        """The kind that the model will have, one of KINDS."""
        return _kind(self.name, self.scale)

    @property
    def path(self) -> Path | None:
        """The file of that name in the folders of DAGAN_MODELS."""
        return in_folders(self.name)


def _kind(name: str, scale: int) -> str | None:
    own = name.removeprefix(f"dagan-x{scale}")
    return next((kind for kind, suffix in KINDS.items() if suffix == own), None)


CATALOG: tuple[Published, ...] = (
    Published(
        name="dagan-x2-psnr",
        scale=2,
        sha256="d29743d75bcf8e74af65338b5e5bddededd32b73ab6a8dcaf24445380c0f9334",
        size=780424,
        licence="MIT",
        summary="fidelity: clean sources, highest PSNR",
        metrics={"Set5": 37.404, "Set14": 33.087},
    ),
    Published(
        name="dagan-x4-psnr",
        scale=4,
        sha256="595fe017f063beeab1e2663e1d1de528807d7a93fac63bb9d1f114c169f34b30",
        size=801320,
        licence="MIT",
        summary="fidelity: clean sources, highest PSNR",
        metrics={"Set5": 31.582, "Set14": 28.208},
    ),
    Published(
        name="dagan-x2",
        scale=2,
        sha256="3f224efd673671643cb628f9cca6693ca32a3da2b4c7a3936da4b83983ead477",
        size=781720,
        licence="MIT",
        summary="perceptual: clean sources, sharp, likely detail (GAN)",
        metrics={"Set5": 36.495, "Set14": 32.298},
    ),
    Published(
        name="dagan-x4",
        scale=4,
        sha256="1a69631ecb28dd4a8f7d2fb3865a19041c7991bab44f7fa769042a7837eec9e1",
        size=803096,
        licence="MIT",
        summary="perceptual: clean sources, sharp, likely detail (GAN)",
        metrics={"Set5": 30.054, "Set14": 26.896},
    ),
    Published(
        name="dagan-x2-real",
        scale=2,
        sha256="9e42ac0451d71bbd0548fb7b395a76062d7a866bdf45b12309bd7bd5a41375e3",
        size=781880,
        licence="MIT",
        summary="compressed, noisy or blurred sources",
        metrics={"Set5": 32.654, "Set14": 30.6},
    ),
    Published(
        name="dagan-x4-real",
        scale=4,
        sha256="d89fde5599f8fe642307442a95888d4ca92be883d0f2961862fdbf04abe5b8ff",
        size=802656,
        licence="MIT",
        summary="compressed, noisy or blurred sources",
        metrics={"Set5": 28.574, "Set14": 26.456},
    ),
)

PLANNED: tuple[Planned, ...] = (  # an entry of the same name in CATALOG makes one obsolete
    Planned(name="dagan-x2-fast", scale=2, summary="fast: videos on a CPU, clean sources"),
    Planned(name="dagan-x4-fast", scale=4, summary="fast: videos on a CPU, clean sources"),
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
        names = ", ".join(model.name for model in (*CATALOG, *planned()) if model.kind == name)
        raise BadModel(f"{name} is a kind of model, one for each scale", hint=f"name one of them: {names}")
    path = Path(name)
    if not os.path.exists(path) and (found := in_folders(name)):
        return found, None
    if os.path.exists(path) or path.suffix:
        return path, None
    if model := next((model for model in planned() if model.name == name), None):
        raise _unpublished(model)
    from difflib import get_close_matches

    near = get_close_matches(name, [*(model.name for model in CATALOG), *models_in_folders()], n=1)
    hint = f"did you mean {near[0]}?" if near else "`dagan models list` shows the published models"
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


def planned() -> list[Planned]:
    """Return the names that are kept for models without published weights."""
    return [model for model in PLANNED if not published(model.name)]


def _unpublished(model: Planned) -> BadModel:
    return BadModel(
        f"this version has no weights for {model.name} yet",
        hint=f"use -n {default_model(model.scale)}, which takes longer, or -n bicubic, which adds no detail",
    )


def fast_model(factor: float) -> str | None:
    """Return the fast model for a final factor; None if there are no weights for one."""
    return None if (model := _fitting(factor, "fast")) is None else model.name


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
    if model := _fitting(factor, kind, video=video):
        return model.name
    awaited = [model for model in planned() if kind is not None and model.kind == kind]
    if awaited:
        raise _unpublished(min(awaited, key=lambda model: _rank(model, factor)))
    raise BadModel("this package has no published models", hint="name a file with -n")


def _fitting(factor: float, kind: str | None, *, video: bool = False) -> Published | Planned | None:
    """Return the model that `default_model` names, or None if there is none."""
    if kind is None:
        kinds = {*KINDS, None} - ({"fast"} if video else {"fast", "real"})
    else:
        kinds = {kind}
    models = [*CATALOG, *(model for model in planned() if model.path)]
    return min((model for model in models if model.kind in kinds), key=lambda model: _rank(model, factor), default=None)


def _rank(model: Published | Planned, factor: float) -> tuple[bool, bool, int, bool, int]:
    """Return what is least for the model that suits a factor best."""
    reaches = model.scale >= factor
    scale = model.scale if reaches else -model.scale
    is_here = model.path is not None and model.path.is_file()
    return not is_here, not reaches, scale, model.kind != "real", len(model.name)
