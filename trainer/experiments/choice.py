"""Which network to train in earnest, and how: candidates, each trained for the same time on the same images, then
PSNR-Y against the time per pixel, at every order that a candidate runs at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dagan_cli.atomic import whole_or_absent
from dagan_cli.errors import BadOption
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.generator import Generator
from trainer.bench import ROUNDS, SIDE, seconds_per_pixel, work_clock
from trainer.config import Optimiser, TrainConfig
from trainer.data.samples import Pictures, load_pictures, validation_pairs
from trainer.data.teaching import with_targets
from trainer.experiments.summary import markdown
from trainer.experiments.worth import Worth, worth
from trainer.loop import MODEL, train
from trainer.presets import preset
from trainer.record.plot import COLOURS, drawing
from trainer.state import NAME, load_state
from trainer.validate import Pairs, validate

LENGTHS = "lengths.json"
_WARM, _TIMED = 2, 4  # steps by which a candidate's speed is told


@dataclass(frozen=True, slots=True)
class Candidate:
    """The first network of its group with some choices changed."""

    name: str
    about: str
    changes: dict[str, Any]  # of the generator
    dial: bool = True  # trained with the order drawn at random
    training: dict[str, Any] = field(default_factory=dict)  # choices of the training that are changed
    taught: bool = False  # trained on a teacher's targets, too


_EULER: dict[str, Any] = {"solver": "euler", "orders": ()}
NETWORKS = (
    Candidate("light", "the released one", {}),
    Candidate("euler-only", "the same, never trained at another order", _EULER, dial=False),
    Candidate("rk4-only", "the same, never trained at another order", {"orders": ()}, dial=False),
    Candidate(
        "euler-64", "64 blocks of their own weights: the work of order 4 unshared", _EULER | {"blocks": 64}, False
    ),
    Candidate("no-attention", "neither spatial nor channel attention", {"attention": "none"}),
    Candidate("no-pooling", "spatial attention to every position of the window", {"pool": 1}),
    Candidate("window-8", "windows of half the side, pooled by 2", {"window": 8, "pool": 2}),
    Candidate("open-start", "gates start at 0.5, convolutions at random", {"identity_start": False}),
    Candidate("two-steps", "upsampled in steps of 2 with a convolution each", {"upsampler": "steps"}),
    Candidate("wide", "8 blocks of 48 channels for 16 of 32", {"blocks": 8, "channels": 48}),
    Candidate(
        "dense", "8 dense blocks, 3 layers of growth 16", {"block": "dense", "blocks": 8, "layers": 3, "growth": 16}
    ),
)
_SHARP: dict[str, Any] = {"temperature": 0.03}
ATTENTIONS = (
    Candidate("wide", "temperature 4, keys pooled by 4, windows of 16, 24 channels compared, gate from means", {}),
    Candidate("sharp", "temperature 0.25", {"temperature": 0.25}),
    Candidate("sharper", "temperature 0.03", _SHARP),
    Candidate("learned", "a learned temperature, from 0.25", {"temperature": 0.25, "learned_temperature": True}),
    Candidate("unpooled", "temperature 0.03, keys of every position", _SHARP | {"pool": 1}),
    Candidate("broad", "temperature 0.03, 48 channels compared", _SHARP | {"embedding": 48}),
    Candidate("window-24", "temperature 0.03, windows of 24", _SHARP | {"window": 24}),
    Candidate("spread", "gate from means and deviations", {"squeeze": "mean-deviation"}),
    Candidate("unattended", "no attention", {"attention": "none", "attended": None}),
)
RECIPES = (
    Candidate("original-adam", "L1 to the original, Adam", {}),
    Candidate("original-muon", "L1 to the original, Muon", {}, training={"optimiser": "muon"}),
    Candidate("teacher-adam", "0.75 L1 to the teacher + 0.25 to the original, Adam", {}, taught=True),
    Candidate("teacher-muon", "the same, Muon", {}, training={"optimiser": "muon"}, taught=True),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates that are compared with each other."""

    title: str
    preset: str  # without its scale
    batch: int
    candidates: tuple[Candidate, ...]
    optimiser: Optimiser = "adam"
    columns: tuple[str, ...] = ()  # "worth": what the attention of the trained weights is worth


GROUPS: dict[str, Group] = {
    "networks": Group("Which network to train in earnest", "psnr", 8, NETWORKS),
    "attentions": Group("Which form of attention", "wide", 4, ATTENTIONS, "muon", ("worth",)),
    "recipes": Group("Whether a teacher and Muon pay", "wide", 4, RECIPES, columns=("worth",)),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a candidate."""

    candidate: Candidate
    parameters: int
    steps: int
    seconds: dict[int | None, float]  # per input pixel, by order
    psnr: dict[int | None, float]  # PSNR-Y in dB, by order
    worth: Worth | None = None  # at the first order

    def label(self, order: int | None) -> str:
        return self.candidate.name if order is None else f"{self.candidate.name}, order {order}"


def run_choice(
    data: list[Path],
    val: Path,
    folder: Path,
    *,
    scale: int,
    budget: float,
    group: str = "networks",
    targets: Path | None = None,
    start: Path | None = None,
    part: tuple[int, int] = (1, 1),
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[str]:
    """Train every candidate for `budget` seconds of processor time, and write README.md and figure into `folder`.

    targets: a teacher's results for the data: for the candidates that are compared by it, or else for all. start: a
    model whose weights all candidates begin with, but for those of its attention, which each form learns from nothing.
    How many steps that is gets measured once, by the first part, and noted in the folder. part: as in `run_paper`.
    Yields lines about what happens. Raises what `train` raises, and BadOption.
    """
    chosen = GROUPS[group]
    base = replace(
        preset(f"{chosen.preset}-x{scale}"),
        batch=chosen.batch,
        optimiser=chosen.optimiser,
        warmup=60,
        iterations=1,
        budget=None,
        keep=1,
    )
    pictures = load_pictures(data, smallest=2 * base.generator.patch * scale)
    body = None if start is None else _body(start, folder)
    taught = _taught(chosen, pictures, targets)
    if body is not None:
        for candidate in chosen.candidates:
            _require_fits(body, candidate, base)
    if targets is not None and taught is pictures:
        pictures = taught = with_targets(pictures, targets)
    steps = _lengths(folder, base, chosen, pictures, taught, budget, first=part[0] == 1)
    for number, candidate in enumerate(chosen.candidates, start=1):
        config, run = replace(_config(base, candidate), iterations=steps[candidate.name]), folder / candidate.name
        if (number - part[0]) % part[1] or _is_finished(run, config):
            continue
        yield f"[{number}/{len(chosen.candidates)}] {candidate.name}: {config.iterations} steps"
        for _ in train(config, taught if candidate.taught else pictures, run, start=body, should_stop=should_stop):
            pass
        if should_stop():
            return
    if not all(_is_finished(folder / c.name, replace(base, iterations=steps[c.name])) for c in chosen.candidates):
        yield "other parts are not finished yet: run the same command again for the table"
        return
    pairs = list(validation_pairs(load_pictures([val], smallest=8 * scale), scale, 512))
    results = _measured(folder, chosen, steps, pairs)
    _draw(results, folder / "figure.png", scale)
    command = (
        f"dagan train choose --group {group} --data DATA --val VAL --run RUN --scale {scale} --each {budget / 60:g}m"
    )
    if targets is not None:
        command += " --targets TARGETS"
    if start is not None:
        command += " --start MODEL"
    with whole_or_absent(folder / "README.md") as target:
        target.write_text(_report(chosen, results, command, start, scale, budget, base, taught))
    yield f"written: {folder / 'README.md'}"


def _body(start: Path, folder: Path) -> Path:
    """The model without its attention, as a file in the folder. Raises BadModel."""
    model = load_generator(start)
    body = Generator(replace(model.generator.config, attention="none", attended=None))
    body.load_state_dict({name: model.generator.state_dict()[name] for name in body.state_dict()})
    with whole_or_absent(folder / "body.safetensors") as part:
        part.write_bytes(save_model(body, model.provenance))
    return folder / "body.safetensors"


def _require_fits(body: Path, candidate: Candidate, base: TrainConfig) -> None:
    """Raise BadOption unless the candidate without its attention is the network of `body`."""
    plain = replace(_config(base, candidate).generator, attention="none", attended=None)
    ours, theirs = (
        {name: tensor.shape for name, tensor in network.state_dict().items() if ".constants." not in name}
        for network in (Generator(plain), load_generator(body).generator)
    )
    if ours != theirs:
        raise BadOption(f"{candidate.name} cannot begin with the given model", hint="give a --start of the same shape")


def _taught(group: Group, pictures: Pictures, targets: Path | None) -> Pictures:
    """The images with a teacher's targets, for the candidates that need them."""
    if not any(candidate.taught for candidate in group.candidates):
        return pictures
    if targets is None:
        raise BadOption("some candidates have a teacher", hint="name the folder of its results with --targets")
    return with_targets(pictures, targets)


def _config(base: TrainConfig, candidate: Candidate) -> TrainConfig:
    generator = replace(base.generator, **candidate.changes)
    odds = base.order_odds if candidate.dial else ()
    return replace(base, generator=generator, order_odds=odds, **candidate.training)


def _is_finished(run: Path, config: TrainConfig) -> bool:
    return (run / NAME).exists() and load_state(run)["step"] >= (config.iterations or 0)


def _lengths(
    folder: Path,
    base: TrainConfig,
    group: Group,
    pictures: Pictures,
    taught: Pictures,
    budget: float,
    *,
    first: bool,
) -> dict[str, int]:
    """Steps of each candidate, by name."""
    path = folder / LENGTHS
    if not path.exists():
        if not first:
            raise BadOption(f"{path} is not there yet", hint="start part 1 first: it measures how long a step takes")
        seconds = {
            candidate.name: _seconds(_config(base, candidate), taught if candidate.taught else pictures)
            for candidate in group.candidates
        }
        with whole_or_absent(path) as target:
            target.write_text(json.dumps({name: int(budget / each) for name, each in seconds.items()}))
    try:
        noted = json.loads(path.read_text())
        return {candidate.name: int(noted[candidate.name]) for candidate in group.candidates}
    except (ValueError, KeyError, TypeError) as error:
        raise BadOption(f"{path} cannot be read", hint="remove it, or use another --run folder") from error


def _seconds(config: TrainConfig, pictures: Pictures) -> float:
    """Of a step, averaged over the orders as they are drawn."""
    orders, odds = config.generator.orders, config.order_odds
    total = 0.0
    for i, share in enumerate(odds or (1.0,)):
        only = tuple(float(i == j) for j in range(len(orders))) if odds else ()
        times = []
        with TemporaryDirectory() as folder:
            trial = replace(config, iterations=_WARM + _TIMED, order_odds=only)
            for _ in train(trial, pictures, Path(folder), report_every=0.0):
                times.append(work_clock())
        total += share * (times[-2] - times[_WARM - 1]) / _TIMED
    return total


def _measured(folder: Path, group: Group, steps: dict[str, int], pairs: Pairs) -> list[Result]:
    networks = [load_generator(folder / candidate.name / MODEL).generator for candidate in group.candidates]
    points = [(network, order) for network in networks for order in network.config.orders or (None,)]
    times = seconds_per_pixel(points, work_clock)
    results = []
    for candidate, network in zip(group.candidates, networks, strict=True):
        found = {order: time for (of, order), time in zip(points, times, strict=True) if of is network}
        results.append(
            Result(
                candidate,
                sum(parameter.numel() for parameter in network.parameters()),
                steps[candidate.name],
                found,
                {order: validate(network, pairs, order) for order in found},
                worth(network, pairs, next(iter(found))) if "worth" in group.columns else None,
            )
        )
    return results


def _draw(results: list[Result], target: Path, scale: int) -> None:
    with drawing() as Figure:
        figure = Figure(figsize=(8.2, 5.2), layout="constrained")
        axes = figure.subplots()
        for i, result in enumerate(results):
            x = [1e6 * seconds for seconds in result.seconds.values()]
            colour, marker = COLOURS[i % len(COLOURS)], "o" if i < len(COLOURS) else "s"
            axes.plot(x, list(result.psnr.values()), "-", marker=marker, color=colour, markersize=4, linewidth=0.8)
            axes.annotate(
                result.candidate.name, (x[-1], list(result.psnr.values())[-1]), (5, 0), textcoords="offset points",
                fontsize=7, color=colour, va="center",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.margins(x=0.12)
        axes.set_xlabel("µs per input pixel (log), rising with the order")
        axes.set_ylabel(f"PSNR-Y, dB, held-out pictures, x{scale}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.5)
        with whole_or_absent(target) as part:
            figure.savefig(part, format="png", dpi=130)


def _report(
    group: Group,
    results: list[Result],
    command: str,
    start: Path | None,
    scale: int,
    budget: float,
    base: TrainConfig,
    pictures: Pictures,
) -> str:
    """Markdown, the best first order by order."""
    first = results[0]
    unit = min(first.seconds.values())
    rows = []
    for result in results:
        for order, psnr in result.psnr.items():
            seconds = result.seconds[order]
            rows.append(
                [
                    result.label(order),
                    result.candidate.about,
                    f"{result.parameters:,}",
                    f"{result.steps:,}",
                    f"{psnr:.3f}",
                    f"{1e6 * seconds:.2f}",
                    f"{seconds / unit:.2f}",
                    *_worth_cells(result, order),
                ]
            )
    header = ["network", "what it is", "parameters", "steps", "PSNR-Y, dB", "µs per input pixel", "relative time"]
    note = ""
    if first.worth is not None:
        header += ["spatial attention, dB", "channel attention, dB"]
        note = """
The last two columns are what the attention of the trained weights is worth at the first order: the PSNR-Y that is lost
when the softmax is replaced by the plain mean of its window, and each gate by its mean over all held-out images.
"""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "one CPU thread"
    compared = any("optimiser" in candidate.training for candidate in group.candidates)
    trained = (
        f"{'a rate of' if compared else base.optimiser.capitalize() + ' at'} {base.lr:g}, warm-up of {base.warmup} "
        f"steps, cosine, batches of {base.batch} crops of {base.generator.patch} px, {len(pictures.pixels)} pictures "
        f"(fingerprint {pictures.fingerprint}), one seed"
    )
    if start is not None:
        steps = load_generator(start).provenance.get("iterations")
        trained += "; all began with the convolutions of one model"
        trained += f" after {steps:,} steps" if isinstance(steps, int) else ""
    if pictures.teacher is not None:
        whose = "of the candidates that have a teacher " if any(c.taught for c in group.candidates) else ""
        trained += f"; {base.target_weight[0][1]:g} of the loss {whose}was to {pictures.teacher['name']}"
    return f"""# {group.title}, x{scale}

Each candidate is the first one with some choices changed, and was trained for the same **{budget / 60:.3g} minutes
of processor time** on {device}: {trained}.
PSNR-Y is that of the averaged weights on the centre 512 px of each held-out picture. Times are of one forward pass over
{SIDE} x {SIDE} input pixels, fp32, the median of {ROUNDS - 1} rounds in which the candidates took turns.

{note}
```
{command}
```

![PSNR against time per pixel](figure.png)

{markdown(header, rows)}
"""


def _worth_cells(result: Result, order: int | None) -> list[str]:
    if result.worth is None:
        return []
    if order != next(iter(result.psnr)) or result.candidate.changes.get("attention") == "none":
        return ["", ""]
    return [f"{result.worth.spatial:+.3f}", f"{result.worth.channel:+.3f}"]
