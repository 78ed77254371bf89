"""The models that come with the package, as plain values. Imports nothing heavy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dagan_cli.errors import BadModel

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Published:
    """One model that users can name."""

    name: str
    scale: int
    sha256: str  # of the whole file
    licence: str
    summary: str

    @property
    def path(self) -> Path:
        """The embedded file."""
        return HERE / f"{self.name}.safetensors"


CATALOG: tuple[Published, ...] = (
    Published(
        name="dagan-x2-psnr",
        scale=2,
        sha256="48581485266200adfe39db0a1d6a3c1c01a01db5a0b5560847427097d907cf63",
        licence="MIT",
        summary="fidelity: clean sources, highest PSNR",
    ),
    Published(
        name="dagan-x4-psnr",
        scale=4,
        sha256="ba7022c535e713725c0d79189b37aab397cc62b37bb1358a5457a1759b8ebd88",
        licence="MIT",
        summary="fidelity: clean sources, highest PSNR",
    ),
)

_BY_NAME = {model.name: model for model in CATALOG}


def find_model(name: str) -> tuple[Path, str | None]:
    """A published name, or the path of a file -> the local file, and the sha256 it must have (None: any).

    Raises BadModel, naming the nearest published name, for a name that is neither.
    """
    if name in _BY_NAME:
        return _BY_NAME[name].path, _BY_NAME[name].sha256
    path = Path(name)
    if os.path.exists(path) or path.suffix:
        return path, None
    from difflib import get_close_matches

    near = get_close_matches(name, _BY_NAME, n=1)
    hint = f"did you mean {near[0]}?" if near else "`dagan models list` names the published ones"
    raise BadModel(f"no model is called {name!r}", hint=hint)


def default_model(factor: float) -> str:
    """The model for a final factor: the smallest published scale that reaches it, perceptual before fidelity.

    Raises BadModel when none is published.
    """
    ranked = sorted(CATALOG, key=lambda m: (m.scale < factor, m.scale if m.scale >= factor else -m.scale, len(m.name)))
    plain = [model for model in ranked if not model.name.endswith("-real")]
    if not plain:
        raise BadModel("no model is published with this package", hint="name a file with -n")
    return plain[0].name
