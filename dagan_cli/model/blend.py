"""Interpolate two networks of one architecture (Wang et al., ESRGAN, ECCV Workshops 2018)."""

from __future__ import annotations

from dataclasses import replace

import torch

from dagan_cli.errors import BadModel
from dagan_cli.model.generator import Generator


@torch.no_grad()
def blend(fidelity: Generator, perceptual: Generator, detail: float) -> Generator:
    """Interpolate all weights from the first network, at `detail` 0, to the second, at 1; these two are exact.

    The result is useful only if the second was trained further from the first. Raises BadModel if they differ in more
    than the default order, the default window and the patch.
    """
    ours, theirs = (
        replace(network.config, default_order=None, default_window="global", patch=1)
        for network in (fidelity, perceptual)
    )
    if ours != theirs:
        raise BadModel(
            "--detail cannot blend the two models: they have different architectures", hint="leave out --detail"
        )
    if detail in (0, 1):
        return perceptual if detail else fidelity
    between = Generator(perceptual.config).eval().requires_grad_(False)
    end = perceptual.state_dict()
    between.load_state_dict({name: start.lerp(end[name], detail) for name, start in fidelity.state_dict().items()})
    return between
