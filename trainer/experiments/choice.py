"""Which network to train in earnest: candidates around the released one, each trained for the same time on the same
pictures, then PSNR-Y against the time per pixel, at every order that a candidate runs at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dagan_cli.errors import BadOption
from dagan_cli.media.atomic import whole_or_absent
from dagan_cli.model.checkpoint import load_generator
from trainer.config import TrainConfig
from trainer.data import Pictures, load_pictures, validation_pairs
from trainer.evaluate import Pairs, validate
from trainer.experiments.summary import markdown
from trainer.loop import MODEL, train
from trainer.plot import COLOURS, drawing
from trainer.presets import preset
from trainer.speed import ROUNDS, SIDE, seconds_per_pixel, work_clock
from trainer.state import NAME, load_state

LENGTHS = "lengths.json"
_WARM, _TIMED = 2, 4  # steps by which a candidate's speed is told


@dataclass(frozen=True, slots=True)
class Candidate:
    """The released network with some of its choices changed."""

    name: str
    about: str
    changes: dict[str, Any]
    dial: bool = True  # trained with the order drawn at random


_EULER: dict[str, Any] = {"solver": "euler", "orders": ()}
CANDIDATES = (
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


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a candidate."""

    candidate: Candidate
    parameters: int
    steps: int
    seconds: dict[int | None, float]  # per input pixel, by order
    psnr: dict[int | None, float]  # PSNR-Y in dB, by order

    def label(self, order: int | None) -> str:
        return self.candidate.name if order is None else f"{self.candidate.name}, order {order}"


def run_choice(
    data: list[Path],
    val: Path,
    folder: Path,
    *,
    scale: int,
    budget: float,
    part: tuple[int, int] = (1, 1),
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[str]:
    """Train every candidate for `budget` seconds of processor time, and write README.md and figure into `folder`.

    How many steps that is gets measured once, by the first part, and noted in the folder. part: as in `run_paper`.
    Yields lines about what happens. Raises what `train` raises, and BadOption.
    """
    base = replace(preset(f"psnr-x{scale}"), batch=8, warmup=60, iterations=1, budget=None, keep=1)
    pictures = load_pictures(data, smallest=2 * base.generator.patch * scale)
    steps = _lengths(folder, base, pictures, budget, first=part[0] == 1)
    for number, candidate in enumerate(CANDIDATES, start=1):
        config, run = replace(_config(base, candidate), iterations=steps[candidate.name]), folder / candidate.name
        if (number - part[0]) % part[1] or _is_finished(run, config):
            continue
        yield f"[{number}/{len(CANDIDATES)}] {candidate.name}: {config.iterations} steps"
        for _ in train(config, pictures, run, should_stop=should_stop):
            pass
        if should_stop():
            return
    if not all(_is_finished(folder / c.name, replace(base, iterations=steps[c.name])) for c in CANDIDATES):
        yield "other parts are not finished yet: run the same command again for the table"
        return
    pairs = list(validation_pairs(load_pictures([val], smallest=8 * scale), scale, 512))
    results = _measured(folder, steps, pairs)
    _draw(results, folder / "figure.png", scale)
    with whole_or_absent(folder / "README.md") as target:
        target.write_text(_report(results, scale, budget, base, pictures))
    yield f"written: {folder / 'README.md'}"


def _config(base: TrainConfig, candidate: Candidate) -> TrainConfig:
    generator = replace(base.generator, **candidate.changes)
    return replace(base, generator=generator, order_odds=base.order_odds if candidate.dial else ())


def _is_finished(run: Path, config: TrainConfig) -> bool:
    return (run / NAME).exists() and load_state(run)["step"] >= (config.iterations or 0)


def _lengths(folder: Path, base: TrainConfig, pictures: Pictures, budget: float, *, first: bool) -> dict[str, int]:
    """Steps of each candidate, by name."""
    path = folder / LENGTHS
    if not path.exists():
        if not first:
            raise BadOption(f"{path} is not there yet", hint="start part 1 first: it measures how long a step takes")
        seconds = {candidate.name: _seconds(_config(base, candidate), pictures) for candidate in CANDIDATES}
        with whole_or_absent(path) as target:
            target.write_text(json.dumps({name: int(budget / each) for name, each in seconds.items()}))
    try:
        noted = json.loads(path.read_text())
        return {candidate.name: int(noted[candidate.name]) for candidate in CANDIDATES}
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


def _measured(folder: Path, steps: dict[str, int], pairs: Pairs) -> list[Result]:
    networks = [load_generator(folder / candidate.name / MODEL).generator for candidate in CANDIDATES]
    points = [(network, order) for network in networks for order in network.config.orders or (None,)]
    times = seconds_per_pixel(points, work_clock)
    results = []
    for candidate, network in zip(CANDIDATES, networks, strict=True):
        found = {order: time for (of, order), time in zip(points, times, strict=True) if of is network}
        results.append(
            Result(
                candidate,
                sum(parameter.numel() for parameter in network.parameters()),
                steps[candidate.name],
                found,
                {order: validate(network, pairs, order) for order in found},
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


def _report(results: list[Result], scale: int, budget: float, base: TrainConfig, pictures: Pictures) -> str:
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
                ]
            )
    header = ["network", "what it is", "parameters", "steps", "PSNR-Y, dB", "µs per input pixel", "relative time"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "one CPU thread"
    trained = (
        f"Adam at {base.lr:g}, warm-up of {base.warmup} steps, cosine, batches of {base.batch} crops of "
        f"{base.generator.patch} px, {len(pictures.pixels)} pictures (fingerprint {pictures.fingerprint}), one seed"
    )
    return f"""# Which network to train in earnest, x{scale}

Each candidate is the released network with one choice changed, and was trained for the same **{budget / 60:.3g} minutes
of processor time** on {device}: {trained}.
PSNR-Y is that of the averaged weights on the centre 512 px of each held-out picture. Times are of one forward pass over
{SIDE} x {SIDE} input pixels, fp32, the median of {ROUNDS - 1} rounds in which the candidates took turns.

```
dagan train choose --data DATA --val VAL --run RUN --scale {scale} --each {budget / 60:g}m
```

![PSNR against time per pixel](figure.png)

{markdown(header, rows)}
"""
