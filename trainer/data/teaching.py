"""Training sets with a teacher's targets or with given low-resolution images.

Everything is checked before training starts: names, sizes and the teacher's identity.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dagan_cli.errors import BadOption, NoInput
from dagan_cli.files import read_regular
from trainer.config import TrainConfig
from trainer.data.samples import Pictures, load_pictures, margin_for

TEACHER = "teacher.toml"
_FACTS = ("name", "source", "licence", "sha256")
_LONGEST = 2**20  # bytes of teacher.toml


def training_set(
    config: TrainConfig,
    data: list[Path] | Pictures,
    targets: Path | None,
    pairs: Path | None,
    pack: Path | None = None,
) -> Pictures:
    """Read and check the training data. pack: see `load_pictures`; other kinds of images are packed next to it.

    Raises NoInput, BadOption, OutOfMemory, CannotWrite.
    """
    scale = config.generator.scale
    patch = max(config.generator.patch, *(side for _, side in config.patch_schedule), 0)
    if pairs is not None:
        if data or targets is not None:
            raise BadOption("--pairs cannot be combined with --data or --targets", hint="leave them out")
        if config.degradation != "none":
            raise BadOption(f"--pairs with degradation = {config.degradation!r}", hint="use --set degradation=none")
        return load_pairs(pairs, scale, smallest=patch * scale, pack=pack)
    if targets is not None and config.degradation != "none":
        raise BadOption(
            f"--targets with degradation = {config.degradation!r}: targets belong to clean inputs",
            hint="make a folder of pairs, and give it with --pairs",
        )
    smallest = (patch + 2 * margin_for(config.degradation)) * scale
    pictures = data if isinstance(data, Pictures) else load_pictures(data, smallest, pack)
    return with_targets(pictures, targets, pack) if targets is not None else pictures


def with_targets(pictures: Pictures, folder: Path, pack: Path | None = None) -> Pictures:
    """Add a teacher's result for each image: `folder` mirrors the tree of the data and contains `teacher.toml`.

    A target has the name of its original, with any suffix, and the same size. `teacher.toml` has name, source, licence
    and sha256 of the teacher. Raises BadOption, NoInput.
    """
    if not folder.is_dir():
        raise BadOption(f"{folder} is not a folder", hint="give --targets a folder of a teacher's results")
    teacher = read_teacher(folder)
    targets = _counterparts(pictures, folder, "target", 1, _beside(pack, "target"))
    return replace(pictures, targets=targets, teacher=teacher)


def load_pairs(folder: Path, scale: int, smallest: int, pack: Path | None = None) -> Pictures:
    """Read the images of `folder`/hr, of `folder`/lr and, if it exists, of `folder`/target.

    All have the same names, with any suffix; hr is `scale` times as large as lr, target as large as hr. smallest: least
    side of an hr image, in pixels. Targets need `folder`/target/teacher.toml. Raises BadOption, NoInput.
    """
    for name in ("hr", "lr"):
        if not (folder / name).is_dir():
            raise BadOption(
                f"{folder} has no folder {name}", hint="--pairs needs a folder with lr, hr and optionally target"
            )
    try:
        pictures = load_pictures([folder / "hr"], smallest, pack)
    except NoInput as error:
        raise NoInput(str(error), hint="give --pairs larger images, or use a smaller patch") from error
    low = _counterparts(pictures, folder / "lr", "low-resolution image", scale, _beside(pack, "lr"))
    pictures = replace(pictures, low=low)
    return with_targets(pictures, folder / "target", pack) if (folder / "target").is_dir() else pictures


def read_teacher(folder: Path) -> dict[str, Any]:
    """Return the identity of the teacher of a folder. Raises BadOption if it is missing or incomplete."""
    path = folder / TEACHER
    hint = f"write {TEACHER} with {', '.join(_FACTS)} of the teacher, each a string"
    try:
        facts = tomllib.loads(read_regular(path, _LONGEST).decode())
    except FileNotFoundError as error:
        raise BadOption(f"{folder} has no {TEACHER}", hint=hint) from error
    except OSError as error:
        raise BadOption(f"cannot read {path}: {(error.strerror or str(error)).lower()}", hint=hint) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadOption(f"cannot read {path}: {error}", hint=hint) from error
    missing = [name for name in _FACTS if not (isinstance(facts.get(name), str) and facts[name])]
    if missing:
        raise BadOption(f"{path} lacks {', '.join(missing)}", hint=hint)
    return {name: facts[name] for name in _FACTS}


def _beside(pack: Path | None, kind: str) -> Path | None:
    """Return the packed file of the images that belong to those of `pack`."""
    return pack and pack.with_name(f"{pack.name}.{kind}")


def _counterparts(pictures: Pictures, folder: Path, what: str, divisor: int, pack: Path | None) -> list[np.ndarray]:
    """Return the image of the same name in `folder` for each image; its sides are those of the image / divisor."""
    try:
        found = load_pictures([folder], smallest=1, pack=pack)
    except NoInput:
        found = Pictures([], [], [])
    by_path = dict(zip(found.paths, found.pixels, strict=True))
    _require_distinct(pictures.paths, "the training images")
    _require_distinct(found.paths, str(folder))
    missing = [str(path) for path in pictures.paths if path not in by_path]
    _require_none(missing, f"no readable {what} in {folder} for", "every image needs one of the same name")
    wrong, size = [], f"1/{divisor} of the size" if divisor > 1 else "the size"
    for path, pixels in zip(pictures.paths, pictures.pixels, strict=True):
        h, w = by_path[path].shape[:2]
        if (h * divisor, w * divisor) != pixels.shape[:2]:
            wrong.append(f"{path} ({w}x{h} for {pixels.shape[1]}x{pixels.shape[0]})")
    _require_none(wrong, f"a {what} of another size for", f"a {what} needs {size} of its original")
    return [by_path[path] for path in pictures.paths]


def _require_distinct(paths: Iterable[Path], where: str) -> None:
    """Raise BadOption if two images have the same name."""
    twice = [str(path) for path, count in Counter(paths).items() if count > 1]
    _require_none(twice, f"the same name twice in {where} for", "rename them, or put them into different folders")


def _require_none(names: list[str], what: str, hint: str) -> None:
    if names:
        shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
        raise BadOption(f"{what} {len(names)} image{'s' * (len(names) > 1)}: {shown}", hint=hint)
