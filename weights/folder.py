"""The user's own folders of models, named in DAGAN_MODELS, where a model is found by its file name or its stem."""

from __future__ import annotations

import os
from pathlib import Path

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")  # of two files with one stem, the safer one is used


def model_folders() -> list[Path]:
    """Return the folders of DAGAN_MODELS: one, or several with the system's separator between them."""
    return [Path(folder).expanduser() for folder in os.environ.get("DAGAN_MODELS", "").split(os.pathsep) if folder]


def models_in_folders() -> dict[str, Path]:
    """Return the files of models by the shortest name that means each: its stem, or its file name.

    A folder that cannot be read has none; of equal names, the first folder's is meant.
    """
    files: dict[str, Path] = {}
    for folder in model_folders():
        for path in sorted(folder.iterdir(), key=_rank) if os.access(folder, os.R_OK) and folder.is_dir() else ():
            if path.suffix.lower() in SUFFIXES and path.is_file():
                files.setdefault(path.stem if path.stem not in files else path.name, path)
    return files


def in_folders(name: str) -> Path | None:
    """Return the file that a name without a folder means, or None."""
    if os.path.basename(name) != name:
        return None
    for folder in model_folders():
        for suffix in ("", *SUFFIXES):
            path = folder / f"{name}{suffix}"
            if path.suffix.lower() in SUFFIXES and path.is_file():
                return path
    return None


def _rank(path: Path) -> tuple[str, int]:
    suffix = path.suffix.lower()
    return path.stem, SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)
