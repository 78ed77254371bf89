"""The configuration of a training run, as frozen values set by a TOML file or the command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from math import inf
from typing import Any, Literal, get_args, get_type_hints

from dagan_cli.errors import BadOption
from dagan_cli.model.config import GeneratorConfig

Loss = Literal["l1", "charbonnier", "mse", "euclidean"]
Schedule = Literal["cosine", "constant", "cooldown"]
Precision = Literal["auto", "fp32", "bf16"]
Discriminator = Literal["leftthomas", "srgan", "vgg128", "unet"]
Adversarial = Literal["sigmoid", "bce", "hinge", "lsgan", "ragan"]
Backbone = Literal["vgg19-distilled", "vgg19", "vgg16", "lpips-squeeze", "none"]
Strength = Literal["none", "mild", "medium", "strong"]
Metric = Literal["psnr_y", "lpips"]
Optimiser = Literal["adam", "muon", "sgd"]
Inputs = Literal["clean", "web", "video"]
Sampling = Literal["detailed", "uniform"]
Kernel = Literal["matlab", "pil"]
_MOST_ODDS = 1e9  # of one order; sums far above would not be finite
Ramp = tuple[tuple[float, float], ...]  # (share of the phase, value at that point); linear in between


@dataclass(frozen=True, slots=True, kw_only=True)
class GanConfig:
    """The adversarial phase, which starts from the averaged weights of the pixel phase."""

    discriminator: Discriminator = "unet"
    width: int = 64  # channels of unet and leftthomas at full resolution
    loss: Adversarial = "bce"
    iterations: int | None = None  # the phase ends after this number of steps ...
    budget: float | None = None  # ... or after this many seconds
    lr: float = 1e-4  # rate of the generator
    lr_discriminator: float = 1e-4
    beta2: float = 0.99  # decay of the mean of squares in both Adam optimisers
    halve_at: tuple[float, ...] = (0.5, 0.75, 0.9)  # shares of the phase after which both rates are halved
    order_odds: tuple[float, ...] = ()  # relative frequency of each order; () = that of the pixel phase
    target_weight: Ramp = ((0.0, 0.75),)  # probability that a crop's reference is the teacher's target, if there is one
    warmup: int = 100  # steps in which only the discriminator is trained
    ema: float = 0.999
    clip: float = 1.0  # gradient norm limit of the generator; the discriminator is not clipped

    pixel: Loss = "l1"
    pixel_weight: float = 1e-2
    adversarial_weight: float = 5e-3
    perceptual: Backbone = "vgg19-distilled"  # perceptual network; its weights are given by path
    perceptual_weight: float = 1.0
    perceptual_shift: int = 0  # random crop offset of its inputs, 0 to this many pixels, redrawn each step
    layers: dict[str, float] = field(default_factory=dict)  # its layers and their weights; {} = default of the network
    tv_weight: float = 0.0  # total variation
    ldl_weight: float = 0.0  # locally discriminative learning (Liang et al., CVPR 2022)
    fft_weight: float = 0.0  # L1 between Fourier coefficients
    colour_weight: float = 0.0  # low-pass difference from the input
    grid_weight: float = 0.0  # penalty on patterns that repeat with every input pixel

    def __post_init__(self) -> None:
        _check_choices(GanConfig, self, ("discriminator", "loss", "perceptual", "pixel"))
        for name in ("lr", "lr_discriminator", "clip"):
            _require_number(name, getattr(self, name), above=True)
        for name in ("pixel", "adversarial", "perceptual", "tv", "ldl", "fft", "colour", "grid"):
            _require_number(f"{name}_weight", getattr(self, f"{name}_weight"))
        for name, least in (("warmup", 0), ("width", 1), ("perceptual_shift", 0)):
            value = getattr(self, name)
            _require(
                type(value) is int and value >= least, f"{name} = {value!r}", f"use a whole number from {least} up"
            )
        _check_end(self)
        _check_average("ema", self.ema)
        _check_average("beta2", self.beta2)
        _check_ramp("target_weight", self.target_weight)
        ends = self.iterations is not None or self.budget is not None
        _require(ends, "gan has no end: neither iterations nor budget is set", "set gan.budget or gan.iterations")
        rising = all(type(a) in (int, float) and 0 < a < 1 for a in self.halve_at) and list(self.halve_at) == sorted(
            self.halve_at
        )
        _require(rising, f"halve_at = {self.halve_at}", "use rising shares between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run. Raises BadOption when values are invalid or contradict each other."""

    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    baseline: str | None = None  # a network of trainer.baselines to train with the generator's scale and patch
    batch: int = 16  # patches per step
    accumulate: int = 1  # parts that a batch is split into to save memory; the gradients are those of the whole batch
    loss: Loss = "l1"
    border_weight: float = 1.0  # factor of the pixel phase's differences within two input pixels of a crop's border
    target_weight: Ramp = ((0.0, 0.75),)  # share of the loss against the teacher's target, if there is one
    optimiser: Optimiser = "adam"  # or muon: Muon for the 3x3 kernels between features, Adam for the rest; or sgd
    lr: float = 1e-3  # learning rate after the warm-up
    beta2: float = 0.99  # decay of the mean of squares in Adam
    momentum: float = 0.9  # of SGD
    weight_decay: float = 0.0  # of SGD
    last_layer: float = 1.0  # rate of the last layer with SGD, as a share of that of the others
    warmup: int = 300  # steps of linear increase, a tenth of the phase at most
    drops: tuple[tuple[int, float], ...] = ()  # (step, factor): the rate is multiplied by it from that step on
    schedule: Schedule = "cosine"  # cosine to zero; constant, for runs without an end; 1 - sqrt cooldown of such a run
    iterations: int | None = None  # the phase ends after this number of steps, 0 skips it ...
    budget: float | None = (
        None  # ... or after this many seconds of all that it does; the schedule follows the one given
    )
    ema: float = 0.999  # decay of the running average of the weights, which is validated and released
    clip: float = 1.0  # gradients are scaled down to this norm
    clip_value: float | None = None  # each number of a gradient is limited to this / learning rate (VDSR)
    order_odds: tuple[float, ...] = ()  # relative frequency of each order of the generator; () = equal
    augment: bool = True  # random flips and rotations by 90 degrees
    sampling: Sampling = "detailed"  # detailed: large images and detail more often; uniform: each image once an epoch
    kernel: Kernel = "matlab"  # downscales the original: MATLAB's bicubic of the image, or Pillow's of the crop alone
    degradation: Strength = "none"  # degradation of the low-resolution images; none = bicubic only
    patch_schedule: tuple[tuple[float, int], ...] = ()  # (share of the phase, patch side from that point on)
    seed: int = 0
    precision: Precision = "auto"  # auto: bf16 autocast if the hardware supports it
    compile: bool = False  # torch.compile of the generator
    cuda_graph: bool = False  # record the kernels of a step once and launch them as one graph
    validate_every: int = 1000  # steps
    validate_on: Inputs = "clean"  # inputs of the validation: bicubic only, or with one of the fixed degradations
    validate_side: int = 512  # pixels; the centre crop of each held-out image has at most this side
    metric: Metric = "psnr_y"  # metric that selects the best weights
    patience: int | None = None  # stop after this many validations without improvement
    keep: int = 3  # checkpoints of the last validations to keep, in addition to the best
    save_every: float = 300.0  # seconds between checkpoints
    gan: GanConfig | None = None  # the adversarial phase, which follows the pixel phase

    def __post_init__(self) -> None:
        choices = (
            "loss",
            "schedule",
            "precision",
            "degradation",
            "metric",
            "optimiser",
            "validate_on",
            "sampling",
            "kernel",
        )
        _check_choices(TrainConfig, self, choices)
        _check_ramp("target_weight", self.target_weight)
        for name in ("batch", "accumulate", "validate_every", "validate_side", "keep"):
            value = getattr(self, name)
            _require(type(value) is int and value > 0, f"{name} = {value!r}", "use a whole number above 0")
        _require(self.batch % self.accumulate == 0, f"accumulate = {self.accumulate}", "use a divisor of the batch")
        for name in ("lr", "clip", "save_every", *(["clip_value"] if self.clip_value is not None else [])):
            _require_number(name, getattr(self, name), above=True)
        _require_number("border_weight", self.border_weight, above=True)
        _require_number("weight_decay", self.weight_decay)
        _require_number("last_layer", self.last_layer)
        if self.iterations != 0:  # 0 skips the pixel phase
            _check_end(self)
        for name in ("warmup", "seed"):
            value = getattr(self, name)
            _require(type(value) is int and value >= 0, f"{name} = {value!r}", "use a whole number from 0 up")
        _check_average("ema", self.ema)
        _check_average("beta2", self.beta2)
        _check_average("momentum", self.momentum)
        _check_drops(self.drops)
        for name in ("augment", "compile", "cuda_graph"):
            _require(type(getattr(self, name)) is bool, f"{name} = {getattr(self, name)!r}", "use true or false")
        good = self.kernel == "matlab" or self.degradation == "none"
        _require(
            good, "kernel = 'pil' with a degradation", "use kernel = matlab: degradations have kernels of their own"
        )
        good = self.patience is None or (type(self.patience) is int and self.patience > 0)
        _require(good, f"patience = {self.patience!r}", "use a whole number above 0")
        for share, patch in self.patch_schedule:
            good = type(patch) is int and patch > 0 and type(share) in (int, float) and 0 <= share < 1
            _require(good, f"patch_schedule = {self.patch_schedule}", "use pairs such as [[0, 32], [0.5, 48]]")
        good = self.iterations != 0 or self.gan is not None
        _require(good, "iterations = 0 without an adversarial phase", "set iterations, or add [gan]")
        endless = self.gan is not None and self.schedule == "constant" and self.iterations is None
        _require(not endless, "gan follows a pixel phase without an end", "set iterations, or use another schedule")
        for odds in (self.order_odds, self.gan.order_odds if self.gan is not None else ()):
            good = len(odds) == len(self.generator.orders)
            good = good and all(type(share) in (int, float) and 0 <= share < _MOST_ODDS for share in odds)
            _require(
                not odds or (good and sum(odds) > 0),
                f"order_odds = {odds}",
                f"give one number from 0 up for each of the generator's orders, {self.generator.orders}, not all 0",
            )
        if self.baseline is not None:
            _check_baseline(self.baseline, self.generator)
        if self.schedule != "constant":
            ends = self.iterations is not None or self.budget is not None
            _require(ends, f"schedule = {self.schedule!r} without an end", "give a --budget or --iterations")
        if self.gan is not None:
            shift, side = self.gan.perceptual_shift, self.generator.patch * self.generator.scale
            _require(2 * shift <= side, f"perceptual_shift = {shift}", f"use at most half a patch of {side} pixels")
        window = self.generator.window
        if window is not None:
            for patch in (self.generator.patch, *(patch for _, patch in self.patch_schedule)):
                _require(patch % window == 0, f"patch = {patch}", f"use a multiple of the attention window, {window}")

    def to_dict(self) -> dict[str, Any]:
        """Return a mapping of JSON values; `from_dict` is the inverse."""
        plain = _with_lists(asdict(self)) | {"generator": self.generator.to_dict()}
        return plain | ({"gan": _with_lists(asdict(self.gan))} if self.gan is not None else {})

    def changed_from(self, before: TrainConfig) -> list[str]:
        """Return a phrase for each value that differs, such as "gan.lr = 0.0002 instead of 0.0001"."""
        return list(_changes(before.to_dict(), self.to_dict()))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Build from a mapping read from TOML or JSON. Raises BadOption, with the closest name, for an unknown key."""
        _known(values, cls, "")
        generator, gan = values.get("generator", {}), values.get("gan")
        _known(generator, GeneratorConfig, "generator.")
        if gan is not None:
            _known(gan, GanConfig, "gan.")
            gan = GanConfig(**gan | _as_tuples(gan, ("halve_at", "order_odds", "target_weight")))
        lists = _as_tuples(values, ("order_odds", "patch_schedule", "target_weight", "drops"))
        built: dict[str, Any] = {**values, **lists, "generator": GeneratorConfig.from_dict(generator), "gan": gan}
        return cls(**built)


def _changes(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from _changes(old, value, f"{prefix}{name}.")
        elif value != old:
            yield f"{prefix}{name} = {value} instead of {old}"


def _known(values: dict[str, Any], kind: type, prefix: str) -> None:
    _require(isinstance(values, dict), f"{prefix.rstrip('.')} = {values!r}", "write it as a [table]")
    names = [item.name for item in fields(kind)]
    for key in values:
        near = get_close_matches(key, names, n=1) or names[:1]
        _require(key in names, f"unknown key {prefix}{key}", f"did you mean {prefix}{near[0]}?")


def _check_choices(kind: type, config: Any, names: tuple[str, ...]) -> None:
    hints = get_type_hints(kind)
    for name in names:
        value, choices = getattr(config, name), get_args(hints[name])
        _require(value in choices, f"{name} = {value!r}", f"choose one of {', '.join(choices)}")


def _check_baseline(name: Any, generator: GeneratorConfig) -> None:
    from trainer.baselines import names

    near = get_close_matches(str(name), names(), n=1, cutoff=0)[0]
    _require(name in names(), f"unknown baseline {name!r}", f"did you mean {near}?")
    least = name.startswith("mdsr") and generator.scale == 8
    _require(not least, f"baseline = {name!r} does not support scale 8", "use 2, 3 or 4")
    found = f"baseline = {name!r} with orders = {generator.orders}"
    _require(not generator.orders, found, "leave out orders: a baseline has no solver")


_PAIRS = {"patch_schedule": "[[0, 32], [0.5, 48]]", "target_weight": "[[0, 0.75], [1, 0]]", "drops": "[[200000, 0.5]]"}


def _as_tuples(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the named values that are present, as tuples. Raises BadOption for a value of another form."""
    found: dict[str, Any] = {}
    for name in names:
        if name not in values:
            continue
        given = values[name]
        how = f"pairs such as {_PAIRS[name]}" if name in _PAIRS else "a list of numbers"
        _require(isinstance(given, (list, tuple)), f"{name} = {given!r}", f"use {how}")
        found[name] = tuple(tuple(item) if isinstance(item, list) else item for item in given)
        if name in _PAIRS:
            pairs = all(isinstance(item, tuple) and len(item) == 2 for item in found[name])
            _require(pairs, f"{name} = {given!r}", f"use pairs such as {_PAIRS[name]}")
    return found


def _with_lists(values: dict[str, Any]) -> dict[str, Any]:
    """Convert tuples to lists, as JSON requires."""

    def plain(value: Any) -> Any:
        return [plain(item) for item in value] if isinstance(value, tuple) else value

    return {name: plain(value) for name, value in values.items()}


def value_at(ramp: Ramp, done: float) -> float:
    """Return the value of a ramp at the share `done` of its phase; it is constant outside the first and last point."""
    (before, value), *_ = ramp
    for share, next_value in ramp:
        if done < share:
            between = (done - before) / (share - before) if share > before else 1.0
            return value + between * (next_value - value) if done > before else value
        before, value = share, next_value
    return value


def _check_ramp(name: str, ramp: Ramp) -> None:
    numbers = all(type(x) in (int, float) and 0 <= x <= 1 for pair in ramp for x in pair)
    good = bool(ramp) and numbers and all(len(pair) == 2 for pair in ramp)
    good = good and [share for share, _ in ramp] == sorted(share for share, _ in ramp)
    _require(good, f"{name} = {ramp}", f"use pairs of rising shares and weights from 0 to 1, such as {_PAIRS[name]}")


def _check_drops(drops: tuple[tuple[int, float], ...]) -> None:
    steps = [step for step, _ in drops]
    good = all(type(step) is int and step > 0 for step in steps) and steps == sorted(steps)
    good = good and all(type(factor) in (int, float) and 0 < factor < inf for _, factor in drops)
    _require(good, f"drops = {drops}", f"use pairs of rising steps and factors, such as {_PAIRS['drops']}")


def _check_end(config: TrainConfig | GanConfig) -> None:
    for name in ("iterations", "budget"):
        value = getattr(config, name)
        if value is not None:
            _require_number(name, value, above=True)


def _check_average(name: str, decay: float) -> None:
    good = type(decay) in (int, float) and 0 <= decay < 1
    _require(good, f"{name} = {decay!r}", "use a number from 0 to below 1")


def _require_number(name: str, value: Any, *, above: bool = False) -> None:
    good = type(value) in (int, float) and 0 <= value < inf and not (above and value == 0)
    _require(good, f"{name} = {value!r}", f"use a number {'above 0' if above else 'from 0 up'}")


def _require(good: bool, problem: str, hint: str) -> None:
    if not good:
        raise BadOption(f"invalid training config: {problem}", hint=hint)
