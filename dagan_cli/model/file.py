"""Open a model's file and read its header: what it is, without PyTorch, and without its tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import Any, BinaryIO

from dagan_cli.errors import BadModel
from dagan_cli.files import open_regular
from dagan_cli.model.header import Header

FORMAT = 1
LARGEST = 2**30  # bytes; generators of the paper's family are far smaller, hostile files may not be
PICKLES = {".pth": "PyTorch pickle", ".pt": "PyTorch pickle", ".ckpt": "PyTorch pickle", ".bin": "PyTorch pickle"}


def is_foreign(path: Path) -> bool:
    """True for a file of another program: a pickle, or a safetensors file without an entry of ours in its header.

    False for a file that cannot be read or is damaged; loading it as a dagan model has the reason.
    """
    suffix = path.suffix.lower()
    if suffix != ".safetensors":
        return suffix in PICKLES and path.is_file()
    try:
        with open_regular(path) as file:
            header = Header.read(file)
    except (OSError, ValueError):
        return False
    return bool(header.entries) and not {"dagan", "dagan-baseline"} & header.metadata.keys()


def read_header(path: Path) -> dict[str, Any]:
    """Read configuration and provenance of a model's file, and nothing else of it. Raises BadModel."""
    with opened(path) as file:
        return header_of(path, file)[1]


def described(path: Path, expected: str | None = None) -> tuple[dict[str, Any], str]:
    """Return the configuration in a model's file, and the sha256 of the file, which `expected` must equal.

    Raises BadModel.
    """
    with opened(path) as file:
        config = header_of(path, file)[1]["config"]
        file.seek(0)
        found = file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] (a file on the disk)
    require_sha256(path, found, expected)
    return config, found


def require_sha256(path: Path, found: str, expected: str | None) -> None:
    """Raise BadModel if a sha256 is expected, and is another one."""
    if expected is not None and found != expected:
        raise damaged(path, f"its sha256 is {found[:12]}..., not {expected[:12]}...")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file of reasonable size; its errors become BadModel."""
    hint = "use a model from `dagan models list`, or the path of a .safetensors file"
    try:
        if path.suffix.lower() in PICKLES and path.is_file():
            raise BadModel(
                f"{path} is a {PICKLES[path.suffix.lower()]}, which can run code when loaded",
                hint=f"convert it once, if you trust it: dagan models convert {path}",
            )
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > LARGEST:
                raise BadModel(f"{path} is larger than any dagan model", hint=hint)
            yield file
    except OSError as error:
        raise BadModel(f"cannot read the model {path}: {(error.strerror or str(error)).lower()}", hint=hint) from error


def header_of(path: Path, file: BinaryIO) -> tuple[Header, dict[str, Any]]:
    """Return the file's header, and its `dagan` entry with a config, and a provenance if it has one."""
    try:
        header = Header.read(file)
        facts = header.json("dagan")
    except ValueError as error:
        raise damaged(path, str(error)) from error
    if "dagan-baseline" in header.metadata:
        raise BadModel(
            f"{path} is a baseline of the trainer, not a dagan model",
            hint="baselines are for comparison only; use a model from `dagan models list`",
        )
    if not isinstance(facts, dict) or not isinstance(facts.get("config"), dict):
        raise BadModel(
            f"{path} is a safetensors file, but not a dagan model",
            hint="its header has no generator config; use a model from `dagan models list`",
        )
    if facts.get("format") != FORMAT:
        raise BadModel(f"{path} has format {repr(facts.get('format'))[:20]}, not {FORMAT}", hint="update dagan")
    if not isinstance(facts.get("provenance"), dict | None):
        raise damaged(path, "its provenance is not a mapping")
    return header, facts


def damaged(path: Path, what: str) -> BadModel:
    return BadModel(
        f"{path} is damaged: {what}", hint="download it again; `dagan models list` shows the published models"
    )
