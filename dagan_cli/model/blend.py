"""Between two networks of one shape: network interpolation (Wang et al., ESRGAN, ECCV Workshops 2018)."""

from __future__ import annotations

from dataclasses import replace

import torch

from dagan_cli.errors import BadModel
from dagan_cli.model.generator import Generator


@torch.no_grad()
def blend(fidelity: Generator, perceptual: Generator, detail: float) -> Generator:
    """All weights at `detail` of the way from the first network's to the second's; 0 and 1 are these, to the bit.

    That is a useful network only where the second was trained on from the first. Raises BadModel where they differ in
    more than what they run at by default.
    """
    ours, theirs = (
        replace(network.config, default_order=None, default_window="global", patch=1)
        for network in (fidelity, perceptual)
    )
    if ours != theirs:
        raise BadModel("the two networks to go between are not of one shape", hint="leave out --detail")
    if detail in (0, 1):
        return perceptual if detail else fidelity
    between = Generator(perceptual.config).eval().requires_grad_(False)
    end = perceptual.state_dict()
    between.load_state_dict({name: start.lerp(end[name], detail) for name, start in fidelity.state_dict().items()})
    return between
