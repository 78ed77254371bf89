"""Configuration of the generator: one frozen value describes every network of the paper's family."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from dagan_cli.errors import BadOption

Block = Literal["dense", "residual"]
Attention = Literal["none", "channel", "spatial", "spatial-channel", "channel-spatial"]
Pairwise = Literal["gaussian", "embedded"]
Solver = Literal["euler", "heun", "midpoint", "rk3", "rk4", "tied-euler"]
Upsampler = Literal["steps", "direct"]
Window = Literal["global", "local"]
Squeeze = Literal["mean", "mean-deviation"]

ORDER_SOLVERS: dict[int, Solver] = {1: "euler", 2: "heun", 4: "rk4"}
"""The solver of each order (`--order`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorConfig:
    """All settings of the generator's shape and arithmetic; the defaults are the paper's.

    Raises BadOption for values that are invalid or contradict each other.
    """

    scale: int = 4  # output side / input side: 2, 3, 4 or 8
    blocks: int = 8  # Runge-Kutta blocks in series, D
    channels: int = 64  # feature width, G0

    block: Block = "dense"  # f(y): dense layers with local fusion, or two plain 3x3 convolutions
    growth: int = 32  # channels each dense layer adds, G
    layers: int = 4  # dense layers per block, C_l

    attention: Attention = "spatial-channel"  # inside f, in this order
    attended: tuple[int, ...] | None = None  # numbers, from 1, of the blocks with attention; None = all
    pairwise: Pairwise = "gaussian"  # softmax over x_i.x_j, or over theta(x_i).phi(x_j)
    temperature: float = 1.0  # divisor of the logits
    learned_temperature: bool = False  # the temperature is trained, starting from `temperature`
    embedding: int | None = None  # channels of theta, phi and g; None = half of `channels`
    window: int | None = None  # attention within windows of this side, in input pixels; None = over the whole input
    pool: int = 1  # keys and values are max-pooled by this factor (the non-local paper's sub-sampling)
    reduction: int = 8  # squeeze-excitation: its bottleneck has channels / reduction
    squeeze: Squeeze = "mean"  # statistics of each channel for its gate: mean, or mean and standard deviation

    solver: Solver = "heun"
    stages: int = 2  # repetitions of the tied-Euler control, which adds compute but not order
    learned_constants: bool = True  # the solver's constants are trained, starting from the classical values
    shared_weights: bool = True  # one f for all stages of a block, or one per stage
    orders: tuple[int, ...] = ()  # orders an rk4 network was trained for, e.g. (1, 2, 4); () = only the solver's
    default_order: int | None = None  # order it runs at by default; None = the lowest, the fastest

    upsampler: Upsampler = "steps"  # convolution + shuffle per prime factor, or one to RGB at once
    image_skip: bool = False  # add the nearest-neighbour enlarged input to the output
    identity_start: bool = False  # blocks start as the identity: W = 0, gate = 1, last convolution = 0
    patch: int = 48  # side of the training patch in input pixels; determines the `local` windows
    default_window: Window = "global"  # default context of pooling and global attention

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(GeneratorConfig).items():
            _check_type(name, getattr(self, name), hint)
        _require(self.scale in (2, 3, 4, 8), f"scale = {self.scale}", "use 2, 3, 4 or 8")
        for name in ("blocks", "channels", "growth", "layers", "pool", "reduction", "stages", "patch"):
            _require(1 <= getattr(self, name) <= 4096, f"{name} = {getattr(self, name)}", "use a whole number above 0")
        _require(self.channels % 2 == 0, f"channels = {self.channels}", "use an even number: attention halves it")
        _require(self.channels >= self.reduction, f"reduction = {self.reduction}", "use at most the channels")
        _require(0 < self.temperature < 1e6, f"temperature = {self.temperature}", "use a number above 0")
        if self.attended is not None:
            rising = all(a < b for a, b in zip(self.attended, self.attended[1:], strict=False))
            good = bool(self.attended) and rising and self.attended[0] >= 1 and self.attended[-1] <= self.blocks
            _require(good, f"attended = {self.attended}", f"list blocks from 1 to {self.blocks}, in rising order")
        _require(
            self.embedding is None or 1 <= self.embedding <= self.channels,
            f"embedding = {self.embedding}",
            f"use a whole number from 1 to the channels, {self.channels}",
        )
        if self.window is not None:
            good = 1 <= self.window <= 4096 and self.window % self.pool == 0
            _require(good, f"window = {self.window}", f"use a multiple of the pooling factor, {self.pool}")
        if self.orders:
            _require(
                self.solver == "rk4" and self.shared_weights and set(self.orders) <= set(ORDER_SOLVERS),
                f"orders = {self.orders} with solver = {self.solver}",
                "orders need solver = rk4, shared_weights, and values among 1, 2, 4",
            )
            rising = all(a < b for a, b in zip(self.orders, self.orders[1:], strict=False)) and self.orders[-1] == 4
            _require(rising, f"orders = {self.orders}", "list them in rising order, 4 last, e.g. (1, 2, 4)")
        known = self.default_order is None or self.default_order in self.orders
        _require(known, f"default_order = {self.default_order}", "use one of its orders")

    @property
    def order(self) -> int | None:
        """The order that the network runs at, and is validated at, unless told otherwise; None without a choice."""
        return self.default_order or (self.orders[0] if self.orders else None)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible mapping; `from_dict` is its inverse."""
        attended = None if self.attended is None else list(self.attended)
        return asdict(self) | {"orders": list(self.orders), "attended": attended}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeneratorConfig:
        """Build from a mapping. Raises BadOption for an unknown key or an invalid value."""
        unknown = sorted(set(values) - {field.name for field in fields(cls)})
        _require(not unknown, f"unknown setting {', '.join(map(repr, unknown))}", "check the names, or update dagan")
        known: dict[str, Any] = dict(values)
        for name in ("orders", "attended"):
            given: Any = values.get(name)
            if given is None and name == "attended":
                continue
            given = () if name not in values else given
            _require(isinstance(given, (list, tuple)), f"{name} = {given!r}", "use a list of whole numbers")
            known[name] = tuple(given)
        return cls(**known)


def _require(good: bool, what: str, hint: str) -> None:
    if not good:
        raise BadOption(f"invalid generator config: {what}", hint=hint)


def _check_type(name: str, value: object, hint: Any) -> None:
    """Refuse a value of the wrong type: values come from files, and a string must not reach the arithmetic."""
    choices = get_args(hint)
    if name == "orders" or (name == "attended" and value is not None):
        good = isinstance(value, tuple) and all(type(number) is int for number in value)
        _require(good, f"{name} = {value!r}", "use a list of whole numbers")
    elif choices and all(isinstance(choice, str) for choice in choices):
        _require(value in choices, f"{name} = {value!r}", f"choose one of {', '.join(choices)}")
    elif name in ("window", "default_order", "embedding", "attended"):
        _require(value is None or type(value) is int, f"{name} = {value!r}", "use a whole number or none")
    elif hint is float:
        _require(type(value) in (int, float), f"{name} = {value!r}", "use a number")
    else:
        _require(type(value) is hint, f"{name} = {value!r}", f"use a value of type {hint.__name__}")
