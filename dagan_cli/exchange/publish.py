"""`dagan models push`: collect the files of a run or model for its repository on the Hub."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dagan_cli.errors import BadModel
from dagan_cli.exchange.card import card
from dagan_cli.files import Folder
from dagan_cli.model.checkpoint import load_model
from weights.catalog import find_model, published
from weights.reference import FILE, PREFIX, is_repository

_LARGEST_PICTURE = 20_000_000  # bytes
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Publication:
    """Files by their name in the repository, and the commit message."""

    files: dict[str, bytes]
    message: str

    @property
    def card(self) -> str:
        return self.files["README.md"].decode()


def publication(source: str, repository: str, *, licence: str | None = None) -> Publication:
    """Collect the files for a repository from a run folder, a model's file or a published name, without network access.

    The model is first read and checked completely. A run adds its curves, if `dagan train plot` has drawn them, and its
    last strip of samples; a published model adds its example image. Raises BadModel.
    """
    if not is_repository(repository):
        raise BadModel(
            f"{repository!r} is not a valid repository name", hint="write owner/name, such as me/dagan-x4-anime"
        )
    folder = Path(source)
    is_run = folder.is_dir()
    path, expected = (_of_run(folder), None) if is_run else find_model(source)
    model = load_model(path, expected)
    known = published(source)
    name = known.name if known else repository.partition("/")[2]
    pictures = _pictures(folder) if is_run else {}
    if known and known.picture.is_file():
        pictures = {known.picture.name: known.picture.read_bytes()}
    config = {"library_name": "dagan", "model_type": "dagan", "file": FILE} | model.generator.config.to_dict()
    files = {
        FILE: path.read_bytes(),
        "config.json": (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
        "README.md": card(name, model, PREFIX + repository, licence=licence, pictures=list(pictures)).encode(),
    }
    return Publication(files | pictures, f"{name}, sha256 {model.sha256[:16]}")


def _of_run(folder: Path) -> Path:
    for name in ("best.safetensors", "model.safetensors"):
        if (folder / name).is_file():
            return folder / name
    raise BadModel(f"{folder} contains no model", hint="name the folder of a `dagan train` run, or a .safetensors file")


def _pictures(folder: Path) -> dict[str, bytes]:
    """Return curves and samples by name: PNGs of the run's own. A link could lead to what must not be published."""
    found: dict[str, bytes] = {}
    with suppress(OSError), Folder.opened(folder) as run:
        _add(found, run, "curves.png", "curves.png")
        with run.inside("samples") as samples:
            last = max((name for name in samples.names() if name.endswith(".png")), default="")
            _add(found, samples, last, f"samples/{last}")
    return found


def _add(found: dict[str, bytes], folder: Folder, name: str, shown: str) -> None:
    with suppress(OSError), folder.read(name) as file:
        if (data := file.read(_LARGEST_PICTURE + 1)).startswith(_PNG) and len(data) <= _LARGEST_PICTURE:
            found[shown] = data
