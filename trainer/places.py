"""Keep inputs and outputs of a run apart: files and folders are compared by what they are, not by their names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dagan_cli.errors import BadOption
from dagan_cli.files import open_regular, place_of
from trainer.config_toml import read_config
from trainer.record.folder import BEST, CHECKPOINTS, CONFIG, EVENTS, LOG, MODEL, PIXEL, SAMPLES, TENSORBOARD
from trainer.record.page import NAME as REPORT
from trainer.state import BEFORE, NAME, has_state

_NAMES = (MODEL, BEST, PIXEL, NAME, BEFORE, CONFIG, LOG, EVENTS, REPORT)
_FOLDERS = (CHECKPOINTS, SAMPLES, TENSORBOARD)
_FIRST_EVENT = b'{"event": "started", '  # how the events of every run start


def files_of(run: Path) -> list[Path]:
    """Return the files that a run writes to its folder: those with fixed names, and all in its own folders."""
    inner = [file for name in _FOLDERS for file in run.joinpath(name).glob("*")]
    return [*(run / name for name in _NAMES), *inner]


def files_of_runs(folder: Path) -> list[Path]:
    """Return the files that the runs in a folder write."""
    return [file for run in folder.glob("*") if run.is_dir() for file in files_of(run)]


def holds(folder: Path, path: Path) -> bool:
    """True if `path` is `folder` or in it, also where links lead there; `path` need not exist."""
    place, whole = place_of(folder), Path(os.path.realpath(path))
    return any(place_of(each) == place for each in (whole, *whole.parents))


def require_apart(run: Path, folders: Mapping[str, Iterable[Path | None]]) -> None:
    """Raise BadOption if the run folder is in a folder of inputs, or the other way round. folders: by option."""
    for option, given in folders.items():
        for folder in given:
            if folder is None:
                continue
            inside, outside = holds(folder, run), holds(run, folder)
            if inside or outside:
                what = f"--run {run} and {option} {folder} are the same folder"
                if not (inside and outside):
                    what = f"--run {run} is in {option} {folder}" if inside else f"{option} {folder} is in --run {run}"
                raise BadOption(what, hint="keep the images and the run in separate folders")


def require_others(written: Iterable[Path], files: Mapping[str, Path | None]) -> None:
    """Raise BadOption if a file that is read is one of those that will be written. files: by option."""
    places = {place_of(path): path for path in written}
    for option, file in files.items():
        if file is not None and (own := places.get(place_of(file))) is not None:
            raise BadOption(
                f"{option} {file} is {own}, which the run itself writes",
                hint="copy it to another folder, or use another --run",
            )


def require_pack_apart(pack: Path | None, runs: Iterable[Path], folders: Mapping[str, Iterable[Path | None]]) -> None:
    """Raise BadOption if the packed file is in a folder of images, or a file of a run. folders: by option."""
    if pack is None:
        return
    own = {place_of(path) for run in runs for path in files_of(run)}
    if place_of(pack) in own or any(holds(run / name, pack) for run in runs for name in _FOLDERS):
        raise BadOption(f"--pack {pack} is a file that the run itself writes", hint="name another file")
    for option, given in folders.items():
        for folder in given:
            if folder is not None and holds(folder, pack):
                raise BadOption(f"--pack {pack} is in {option} {folder}", hint="keep it outside the folders of images")


def require_own(run: Path) -> None:
    """Raise BadOption unless all that a run in this folder would replace or remove was made by a run.

    Links in place of its folders would lead elsewhere. Without a state, a run that was killed before its first save is
    known by its first event, and before that by its configuration; other files of these names are somebody else's.
    """
    for name in _FOLDERS:
        if os.path.islink(run / name):
            raise BadOption(f"{run / name} is a link", hint="remove it, or name another --run folder")
    if has_state(run) or _begins(run / EVENTS, _FIRST_EVENT):
        return
    numbered = [file for name in (CHECKPOINTS, SAMPLES) for file in run.joinpath(name).glob("[0-9]*")]
    for path in (*(run / name for name in _NAMES), *numbered):
        if not os.path.lexists(path) or os.path.isdir(path):  # no folder is replaced
            continue
        if not _is_empty(path) and not (path.name == CONFIG and _is_config(path)):
            raise BadOption(f"{path} is in the way, and no run made it", hint="name another --run folder")


def _begins(path: Path, start: bytes) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def _is_empty(path: Path) -> bool:
    """True for a file that a run was killed before it wrote to."""
    return path.name in (LOG, EVENTS) and not path.is_symlink() and path.is_file() and not path.stat().st_size


def _is_config(path: Path) -> bool:
    try:
        read_config(path)
    except BadOption:
        return False
    return True


def require_unused(folder: Path, first: str, names: Iterable[str]) -> None:
    """Raise BadOption if files of these names are in a folder of runs without the one that is written first."""
    for name in names:
        if os.path.lexists(folder / name) and not (folder / first).exists():
            raise BadOption(f"{folder / name} is in the way, and no run made it", hint="use another --run folder")
