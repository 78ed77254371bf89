"""The arms of every experiment and their comparisons, as plain values.

An arm is named `attention-solver`, with the paper's abbreviations: se = channel attention (squeeze-excitation), nl =
spatial attention (non-local), nl+se = spatial, then channel attention. An arm that occurs in two experiments has the
same name in both, and is trained once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dagan_cli.errors import BadOption

Protocol = Literal["gan", "pixel"]

ATTENTION = {
    "none": "none",
    "se": "channel",
    "nl": "spatial",
    "nl+se": "spatial-channel",
    "se+nl": "channel-spatial",
}
SOLVER: dict[str, dict[str, Any]] = {
    "euler": {"solver": "euler"},
    "rk2": {"solver": "heun"},
    "rk3": {"solver": "rk3"},
    "rk4": {"solver": "rk4"},
    "tied2": {"solver": "tied-euler", "stages": 2},  # Euler steps of half the length: as costly as rk2, but of order 1
    "tied3": {"solver": "tied-euler", "stages": 3},
    "tied4": {"solver": "tied-euler", "stages": 4},
}
VARIANT: dict[str, dict[str, Any]] = {  # changes of the generator
    "": {},
    "frozen": {"learned_constants": False},  # the textbook's constants, which all others start from
    "embedded": {"pairwise": "embedded"},
    "temperature": {},  # square root of the number of channels; set by the size
    "matched": {},  # as many parameters as nl+se-rk2; widths set by the size
    "costly": {},  # as many multiply-adds as nl+se-rk2; widths set by the size
    **{name: {} for name in ("half", "deep2", "deep4")},  # blocks; set by the size
    **{f"lr{rate:g}": {} for rate in (3e-4, 3e-3, 1e-2)},  # the rate of both networks; 0.001 is that of all other arms
}
BLOCKS = {"half": 0.5, "deep2": 2, "deep4": 4}  # times the blocks of the size
EPOCH = 261  # steps over the 16,700 pictures of VOC2012 in batches of 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One figure or claim of the paper."""

    name: str
    figure: str  # figure or claim of the paper
    question: str
    arms: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()  # (arm, reference); () = all others against the first
    scales: tuple[int, ...] = (2,)
    epochs: dict[int, int] = field(default_factory=lambda: {2: 100, 4: 100})  # the paper's length, by scale
    protocol: Protocol = "gan"

    def iterations(self, scale: int) -> int:
        """Return the number of steps at full length."""
        return self.epochs[scale] * EPOCH

    @property
    def comparisons(self) -> tuple[tuple[str, str], ...]:
        return self.pairs or tuple((arm, self.arms[0]) for arm in self.arms[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Sizes of networks and data: those of the paper, or small ones for a CPU."""

    name: str
    generator: dict[str, Any]
    matched: dict[int, dict[str, Any]]  # by scale; without attention, but with as many parameters as nl+se-rk2
    costly: dict[int, dict[str, Any]]  # by scale; without attention, but with as many multiply-adds as nl+se-rk2
    batch: int
    crop: int  # side of the HR patches
    discriminator: int  # width of the discriminator
    validate_side: int
    intervals: int  # number per run; each ends with a validation and a line of means
    precision: Literal["auto", "fp32"]


SIZES = {
    "full": Size(
        name="full",
        generator={"blocks": 8, "layers": 4, "growth": 32, "channels": 64},
        matched={2: {"growth": 33}, 4: {"growth": 33}},
        costly={4: {"blocks": 20, "growth": 36}},
        batch=64,
        crop=88,
        discriminator=64,
        validate_side=512,
        intervals=50,
        precision="auto",
    ),
    "small": Size(
        name="small",
        generator={"blocks": 4, "layers": 3, "growth": 16, "channels": 32},
        matched={2: {"channels": 34, "growth": 15}, 4: {"channels": 30, "growth": 19}},
        costly={4: {"blocks": 9, "growth": 17}},
        batch=8,
        crop=32,
        discriminator=16,
        validate_side=80,
        intervals=10,
        precision="fp32",
    ),
}

_ATTENTIONS = ("none", "se", "nl", "nl+se")
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            name="E7",
            figure="Fig. 7",
            question="How much does each attention improve on SRGAN, with and without Runge-Kutta?",
            arms=(
                "srgan-lt",
                *(f"{attention}-{solver}" for solver in ("rk2", "rk4", "euler") for attention in _ATTENTIONS),
            ),
            pairs=(
                *((f"{each}-{solver}", "srgan-lt") for solver in ("rk2", "rk4", "euler") for each in _ATTENTIONS),
                *((f"nl+se-{solver}", f"none-{solver}") for solver in ("rk2", "rk4", "euler")),
                *((f"nl+se-{solver}", f"se-{solver}") for solver in ("rk2", "rk4", "euler")),
            ),
        ),
        Experiment(
            name="E8",
            figure="Fig. 8",
            question="At x4, is the dual-attention Runge-Kutta network better than a plain one of equal size or cost?",
            arms=("none-euler-matched", "none-euler-costly", "nl+se-rk2", "nl+se-rk4"),
            pairs=(
                ("nl+se-rk2", "none-euler-matched"),
                ("nl+se-rk4", "none-euler-matched"),
                ("nl+se-rk2", "none-euler-costly"),
            ),
            scales=(4,),
        ),
        Experiment(
            name="E9",
            figure="Fig. 9",
            question="Does dual attention help a small RCAN trained with L1 alone, beyond its additional parameters?",
            arms=("rcan-small-3x5", "rcan-small-dual-3x5", "rcan-small-pointwise-3x5"),
            pairs=(
                ("rcan-small-dual-3x5", "rcan-small-3x5"),
                ("rcan-small-dual-3x5", "rcan-small-pointwise-3x5"),
            ),
            scales=(2, 4),
            epochs={2: 200, 4: 200},
            protocol="pixel",
        ),
        Experiment(
            name="E10",
            figure="Fig. 10",
            question="Does a solver of higher order help, and is that more than its additional computation?",
            arms=("nl+se-euler", *(f"nl+se-{solver}{order}" for solver in ("rk", "tied") for order in (2, 3, 4))),
            pairs=(
                *((f"nl+se-rk{order}", "nl+se-euler") for order in (2, 3, 4)),
                *((f"nl+se-rk{order}", f"nl+se-tied{order}") for order in (2, 3, 4)),
                ("nl+se-rk3", "nl+se-rk2"),
                ("nl+se-rk4", "nl+se-rk2"),
            ),
        ),
        Experiment(
            name="E11",
            figure="Fig. 11",
            question="Does dual attention help?",
            arms=("none-rk2", "nl+se-rk2", "none-rk4", "nl+se-rk4"),
            pairs=(("nl+se-rk2", "none-rk2"), ("nl+se-rk4", "none-rk4")),
        ),
        Experiment(
            name="E12",
            figure="Fig. 12",
            question="Is dual attention better than either attention alone?",
            arms=("nl+se-rk2", "se-rk2", "nl-rk2"),
        ),
        Experiment(
            name="C1",
            figure="claim on the order of the attentions",
            question="Is it better to attend to positions first, or to channels?",
            arms=("nl+se-rk2", "se+nl-rk2"),
        ),
        Experiment(
            name="C2",
            figure="claim on the solver's constants",
            question="Does it help to learn the solver's constants, which start as the textbook's, or to keep these?",
            arms=("nl+se-rk2-frozen", "nl+se-rk2", "nl+se-rk4-frozen", "nl+se-rk4"),
            pairs=(("nl+se-rk2", "nl+se-rk2-frozen"), ("nl+se-rk4", "nl+se-rk4-frozen")),
        ),
        Experiment(
            name="C4",
            figure="claim on stability",
            question="Is training with a solver of higher order more stable at higher learning rates?",
            arms=tuple(
                f"nl+se-{solver}{rate}"
                for solver in ("euler", "rk2", "rk4")
                for rate in ("-lr0.0003", "", "-lr0.003", "-lr0.01")
            ),
            pairs=tuple(
                (f"nl+se-{solver}{rate}", f"nl+se-euler{rate}")
                for rate in ("-lr0.0003", "", "-lr0.003", "-lr0.01")
                for solver in ("rk2", "rk4")
            ),
        ),
        Experiment(
            name="C5",
            figure="variants of the spatial attention",
            question="Are embedded or tempered logits better than the plain Gaussian ones?",
            arms=("nl+se-rk2", "nl+se-rk2-embedded", "nl+se-rk2-temperature"),
        ),
        Experiment(
            name="C6",
            figure="claim on the order of the solver",
            question="At equal computation, is a solver of higher order better than more blocks?",
            arms=("nl+se-rk2", "nl+se-euler-deep2", "nl+se-rk4", "nl+se-euler-deep4"),
            pairs=(("nl+se-rk2", "nl+se-euler-deep2"), ("nl+se-rk4", "nl+se-euler-deep4")),
        ),
        Experiment(
            name="C7",
            figure="claim on the order of the solver",
            question="Does the gain of a higher order depend on the number of blocks?",
            arms=tuple(
                f"nl+se-{solver}{depth}" for depth in ("-half", "", "-deep2") for solver in ("euler", "rk2", "rk4")
            ),
            pairs=tuple(
                (f"nl+se-{solver}{depth}", f"nl+se-euler{depth}")
                for depth in ("-half", "", "-deep2")
                for solver in ("rk2", "rk4")
            ),
        ),
        Experiment(
            name="V",
            figure="Figs. 1, 5 and 6",
            question="What do the images look like?",
            arms=("srgan-lt", "nl+se-rk2"),
            scales=(2, 4),
            epochs={2: 150, 4: 105},  # figure 5; figures 1 and 6
        ),
    )
}


def experiment(name: str) -> Experiment:
    """Return an experiment by name, in any case. Raises BadOption for an unknown name."""
    if name.upper() not in EXPERIMENTS:
        raise BadOption(f"unknown experiment {name!r}", hint=f"choose one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name.upper()]
