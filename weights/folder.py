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

    A folder that cannot be read has none, and a file that no name means is left out.
    """
    files: dict[str, Path] = {}
    for folder in model_folders():
        for path in sorted(folder.iterdir()) if os.access(folder, os.R_OK) and folder.is_dir() else ():
            if name := next((name for name in (path.stem, path.name) if in_folders(name) == path), None):
                files[name] = path
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
