"""The kind of one file that was named by itself, or the reason why it has none, as `dagan upscale` says it."""

from __future__ import annotations

from pathlib import Path

from dagan_cli.errors import NoInput
from dagan_cli.files import open_regular
from dagan_cli.media.find import Kind, Listed, find_inputs
from dagan_cli.media.remote.address import UrlPath, names_url, redacted


def kind_of(path: Path) -> Kind:
    """Return what a file is by its content. Raises NoInput if it is missing, unreadable, a folder or neither kind."""
    if path.is_dir():
        raise NoInput(f"{path} is a folder", hint="name one file; `dagan upscale` takes whole folders")
    require_local(path)
    if not path.exists():
        raise NoInput(f"there is no file {path}", hint="check the path")
    try:
        open_regular(path).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NoInput(f"cannot read {path}: {reason}", hint="name a regular file that you may read") from error
    found = find_inputs([Listed(path)])
    if not found.sources:
        ((_, error),) = found.failed
        raise NoInput(str(error), hint="name an image or a video")
    return found.sources[0].kind


def require_local(path: Path) -> None:
    """Raise NoInput for the text of a URL."""
    if names_url(path):
        what = f"{redacted(str(UrlPath(path)))} is a URL, and only dagan upscale reads those"
        raise NoInput(what, hint="download it first, and name the file")
