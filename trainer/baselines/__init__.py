"""Baselines that the paper is compared with, by name: (N, 3, h, w) RGB in [0, 1] -> (N, 3, scale*h, scale*w).

    network = baseline("edsr-baseline", 2)

They have the interface of the generator: `scale`, `receptive_field`, and a forward pass that takes an order, here
always None. All use the range [0, 1], also those whose authors trained on 0 to 255: a comparison needs one range, and
with 0 to 255 each position of the dual blocks would attend only to itself.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from trainer.baselines.edsr import edsr
from trainer.baselines.frame import Frame
from trainer.baselines.mdsr import Mdsr
from trainer.baselines.msrresnet import MsrResNet
from trainer.baselines.oisr import oisr_lf, oisr_rk2, oisr_rk3
from trainer.baselines.over_bicubic import OverBicubic
from trainer.baselines.rcan import Pointwise, rcan
from trainer.baselines.srcnn import srcnn
from trainer.baselines.srresnet import SrResNet
from trainer.baselines.vdsr import vdsr

Baseline = Frame | Generator | Mdsr | MsrResNet | OverBicubic | SrResNet

SCALES = (2, 3, 4, 8)  # MDSR: 2, 3 and 4


def baseline(name: str, scale: int) -> Baseline:
    """Create a network with random weights, in training mode. Raises BadOption for an unknown name or scale."""
    if name not in BASELINES:
        near = get_close_matches(name.lower(), BASELINES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(BASELINES)}"
        raise BadOption(f"unknown baseline {name!r}", hint=hint)
    if scale not in SCALES:
        raise BadOption(f"no baseline supports scale {scale}", hint=f"use {', '.join(map(str, SCALES))}")
    return BASELINES[name](scale)


def names() -> tuple[str, ...]:
    """Return the names that `baseline` accepts."""
    return tuple(BASELINES)


def rdn(scale: int, *, blocks: int, layers: int, growth: int) -> Generator:
    """Create RDN (Zhang et al., CVPR 2018): the generator with Euler steps, without attention or mean shift."""
    plain = GeneratorConfig(
        scale=scale, blocks=blocks, layers=layers, growth=growth, channels=64, attention="none", solver="euler"
    )
    return Generator(plain)


_RDN_B = partial(rdn, blocks=16, layers=8, growth=64)

BASELINES: dict[str, Callable[[int], Baseline]] = {
    "srcnn-915": partial(srcnn, middle=1),
    "srcnn-955": partial(srcnn, middle=5),
    "vdsr": vdsr,
    "srresnet": partial(SrResNet, blocks=16),
    "srgan-lt": partial(SrResNet, blocks=5, bounded=True),
    "msrresnet": MsrResNet,
    "edsr-baseline": partial(edsr, blocks=16, width=64),
    "edsr": partial(edsr, blocks=32, width=256, factor=0.1),
    "mdsr-baseline": partial(Mdsr, blocks=16),
    "mdsr": partial(Mdsr, blocks=80),
    "rdn": _RDN_B,  # the variant that papers call RDN
    "rdn-a": partial(rdn, blocks=20, layers=6, growth=32),
    "rdn-b": _RDN_B,
    "rcan": partial(rcan, groups=10, blocks=20),
    "rcan-small-2x6": partial(rcan, groups=2, blocks=6),
    "rcan-small-3x5": partial(rcan, groups=3, blocks=5),
    "rcan-small-5x5": partial(rcan, groups=5, blocks=5),
    "rcan-small-dual-2x6": partial(rcan, groups=2, blocks=6, dual=True),
    "rcan-small-dual-3x5": partial(rcan, groups=3, blocks=5, dual=True),
    "rcan-small-dual-5x5": partial(rcan, groups=5, blocks=5, dual=True),
    "rcan-small-pointwise-3x5": partial(rcan, groups=3, blocks=5, dual=True, kind=Pointwise),
    "oisr-rk2-s": oisr_rk2,
    "oisr-lf-s": oisr_lf,
    "oisr-rk3": oisr_rk3,
}
