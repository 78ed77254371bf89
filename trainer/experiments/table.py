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
    "rk4": {"solver": "rk4"},
    "tied2": {"solver": "tied-euler", "stages": 2},  # weights reused as often as in rk2, but in series: order 1
    "tied4": {"solver": "tied-euler", "stages": 4},
}
VARIANT: dict[str, dict[str, Any]] = {
    "": {},
    "frozen": {"learned_constants": False},
    "embedded": {"pairwise": "embedded"},
    "temperature": {},  # square root of the number of channels; set by the size
    "matched": {},  # as many parameters as nl+se-rk2; widths set by the size
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One figure or claim of the paper."""

    name: str
    figure: str  # figure or claim of the paper
    question: str
    arms: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()  # (arm, reference); () = all others against the first
    scales: tuple[int, ...] = (2,)
    iterations: dict[int, int] = field(default_factory=lambda: {2: 26_100, 4: 26_100})  # steps at full length, by scale
    protocol: Protocol = "gan"

    @property
    def comparisons(self) -> tuple[tuple[str, str], ...]:
        return self.pairs or tuple((arm, self.arms[0]) for arm in self.arms[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Sizes of networks and data: those of the paper, or small ones for a CPU."""

    name: str
    generator: dict[str, Any]
    matched: dict[int, dict[str, Any]]  # by scale; without attention, but with as many parameters
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
        batch=8,
        crop=32,
        discriminator=16,
        validate_side=80,
        intervals=10,
        precision="fp32",
    ),
}

_VISUAL = {2: 27_400, 4: 39_200}  # 105 and 150 epochs of VOC2012 at batch 64
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            name="E7",
            figure="Fig. 7",
            question="How much does each attention improve on SRGAN, with and without Runge-Kutta?",
            arms=(
                "srgan-lt",
                *(f"{attention}-rk2" for attention in ("none", "se", "nl", "nl+se")),
                *(f"{attention}-euler" for attention in ("none", "se", "nl", "nl+se")),
            ),
        ),
        Experiment(
            name="E8",
            figure="Fig. 8",
            question="At x4 and with as many parameters, is the dual-attention Runge-Kutta network better?",
            arms=("none-euler-matched", "nl+se-rk2"),
            scales=(4,),
        ),
        Experiment(
            name="E9",
            figure="Fig. 9",
            question="Does dual attention help a small RCAN, and is that more than its additional parameters?",
            arms=("rcan-small-3x5", "rcan-small-dual-3x5", "rcan-small-pointwise-3x5"),
            pairs=(
                ("rcan-small-dual-3x5", "rcan-small-3x5"),
                ("rcan-small-dual-3x5", "rcan-small-pointwise-3x5"),
            ),
            scales=(2, 4),
            iterations={2: 52_200, 4: 52_200},
            protocol="pixel",
        ),
        Experiment(
            name="E10",
            figure="Fig. 10",
            question="Does a solver of higher order help, and is that more than its additional computation?",
            arms=("nl+se-euler", "nl+se-rk2", "nl+se-rk4", "nl+se-tied2", "nl+se-tied4"),
            pairs=(
                ("nl+se-rk2", "nl+se-euler"),
                ("nl+se-rk4", "nl+se-euler"),
                ("nl+se-rk2", "nl+se-tied2"),
                ("nl+se-rk4", "nl+se-tied4"),
                ("nl+se-rk4", "nl+se-rk2"),
            ),
        ),
        Experiment(
            name="E11",
            figure="Fig. 11",
            question="Does dual attention help?",
            arms=("none-rk2", "nl+se-rk2"),
        ),
        Experiment(
            name="E12",
            figure="Fig. 12",
            question="Is dual attention better than either attention alone?",
            arms=("nl+se-rk2", "se-rk2", "nl-rk2"),
        ),
        Experiment(
            name="C1",
            figure="the claim on the order of the attentions",
            question="Is it better to attend to positions first, or to channels?",
            arms=("nl+se-rk2", "se+nl-rk2"),
        ),
        Experiment(
            name="C2",
            figure="the claim on the solver's constants",
            question="Does it help to learn the constants of the solver?",
            arms=("nl+se-rk2-frozen", "nl+se-rk2"),
        ),
        Experiment(
            name="C5",
            figure="the variants of the spatial attention",
            question="Are embedded or tempered logits better than the plain Gaussian ones?",
            arms=("nl+se-rk2", "nl+se-rk2-embedded", "nl+se-rk2-temperature"),
        ),
        Experiment(
            name="V",
            figure="Figs. 1, 5 and 6",
            question="What do the images look like?",
            arms=("srgan-lt", "nl+se-rk2"),
            scales=(2, 4),
            iterations=_VISUAL,
        ),
    )
}


def experiment(name: str) -> Experiment:
    """Return an experiment by name, in any case. Raises BadOption for an unknown name."""
    if name.upper() not in EXPERIMENTS:
        raise BadOption(f"unknown experiment {name!r}", hint=f"choose one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name.upper()]
