"""Interpolate two networks of one architecture (Wang et al., ESRGAN, ECCV Workshops 2018)."""

from __future__ import annotations

from dataclasses import replace

import torch

from dagan_cli.errors import BadModel
from dagan_cli.model.generator import Generator


@torch.no_grad()
def blend(start: Generator, end: Generator, share: float, *, option: str = "--detail") -> Generator:
    """Interpolate all weights from the first network, at `share` 0, to the second, at 1; these two are exact.

    The result is useful only if the two were trained from the same weights. Raises BadModel, which names `option`, if
    they differ in more than the default order, the default window and the patch.
    """
    ours, theirs = (
        replace(network.config, default_order=None, default_window="global", patch=1) for network in (start, end)
    )
    if ours != theirs:
        raise BadModel(
            f"{option} cannot blend the two models: they have different architectures", hint=f"leave out {option}"
        )
    if share in (0, 1):
        return end if share else start
    between = Generator(end.config).eval().requires_grad_(False)
    last = end.state_dict()
    between.load_state_dict({name: first.lerp(last[name], share) for name, first in start.state_dict().items()})
    return between
