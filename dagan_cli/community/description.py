"""What a file of weights holds, in a line, for lists of models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dagan_cli.community.network import load_community
from dagan_cli.errors import BadModel
from dagan_cli.model.file import is_foreign, read_header


@dataclass(frozen=True, slots=True)
class Description:
    """The network of a file; without an architecture, `details` is the reason why it cannot be used."""

    architecture: str | None
    scale: int | None
    details: str


def describe(path: Path) -> Description:
    """Read what is needed of a file to describe it. No code of the file is run."""
    try:
        if is_foreign(path):
            network, _ = load_community(path)
            return Description(network.architecture, network.scale, " ".join(network.tags))
        config = read_header(path)["config"]
    except BadModel as error:
        return Description(None, None, str(error).removeprefix(f"{path} "))
    scale = config.get("scale")
    return Description("dagan", scale if isinstance(scale, int) else None, "")
