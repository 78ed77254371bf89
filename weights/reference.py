"""`hf://owner/repo[@revision][/file]`: a model's file in a repository of the Hugging Face Hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from dagan_cli.errors import BadModel

PREFIX = "hf://"
FILE = "model.safetensors"  # the default file, which `dagan models push` writes

_WHOLE = re.compile(r"hf://([^/@]+/[^/@]+)(?:@(refs/[^/]+/[^/]+|[^/]+))?(?:/(.+))?")
_REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
_PATH = re.compile(r"[\w+-][\w .+-]*(/[\w+-][\w .+-]*)*", re.ASCII)  # no part starts with a dot, so none is `..`
_PICKLES = (".pth", ".pt", ".ckpt")  # of other programs; only their tensors are ever read
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A file of a repository at a revision: a branch, a tag or a commit."""

    repository: str
    revision: str = "main"
    file: str = FILE

    @property
    def is_pinned(self) -> bool:
        """True if it names a commit, and so always the same content."""
        return is_commit(self.revision)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}/{self.file}"


def is_commit(text: str) -> bool:
    return _COMMIT.fullmatch(text) is not None


def is_repository(text: str) -> bool:
    """True for `owner/name`, by the Hub's own rules."""
    return _REPOSITORY.fullmatch(text) is not None and ".." not in text and "--" not in text


def parse_reference(text: str) -> Reference:
    """Parse a reference; all parts are safe in a path. Raises BadModel, also for a file with another suffix."""
    whole = _WHOLE.fullmatch(text)
    repository, revision, file = whole.groups() if whole else ("", "", "")
    revision = unquote(revision or "main")
    if not (is_repository(repository) and _PATH.fullmatch(revision) and (file is None or _PATH.fullmatch(file))):
        hint = "write hf://owner/repo, or hf://owner/repo@revision/file.safetensors"
        raise BadModel(f"{text!r} is not a valid model on the Hub", hint=hint)
    if file is not None and not file.endswith((".safetensors", *_PICKLES)):
        raise BadModel(
            f"{text} is not a .safetensors or .pth file; other formats can run code when loaded",
            hint="if you trust it, download it by other means, and see `dagan models convert --help`",
        )
    return Reference(repository, revision, file or FILE)
