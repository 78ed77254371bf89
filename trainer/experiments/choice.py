"""Compare candidates for the network and its training: PSNR-Y and time per pixel after equal training time.

All candidates are trained on the same images and measured at each of their orders.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dagan_cli.errors import BadOption
from dagan_cli.files import read_regular, require_older, whole_or_absent
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.generator import Generator
from trainer.bench import ROUNDS, SIDE, seconds_per_pixel, work_clock
from trainer.config import Optimiser, TrainConfig
from trainer.data.samples import Pictures, load_pictures, validation_pairs
from trainer.data.teaching import with_targets
from trainer.experiments.summary import markdown
from trainer.experiments.worth import Worth, worth
from trainer.loop import train
from trainer.places import files_of_runs, require_apart, require_others, require_unused
from trainer.presets import preset
from trainer.record.folder import MODEL
from trainer.record.plot import COLOURS, drawing
from trainer.state import has_state, load_state
from trainer.validate import Pairs, validate

LENGTHS = "lengths.json"
BODY = "body.safetensors"  # the convolutions that all candidates start from
_WARM, _TIMED = 2, 4  # warm-up steps, and steps that are timed


@dataclass(frozen=True, slots=True)
class Candidate:
    """The first candidate of its group with some settings changed."""

    name: str
    about: str
    changes: dict[str, Any]  # changed settings of the generator
    dial: bool = True  # train with randomly drawn orders
    training: dict[str, Any] = field(default_factory=dict)  # changed training settings
    taught: bool = False  # also train on a teacher's targets


_EULER: dict[str, Any] = {"solver": "euler", "orders": ()}
NETWORKS = (
    Candidate("light", "the released network", {}),
    Candidate("euler-only", "trained only at order 1", _EULER, dial=False),
    Candidate("rk4-only", "trained only at order 4", {"orders": ()}, dial=False),
    Candidate("euler-64", "64 blocks: the compute of order 4 without weight sharing", _EULER | {"blocks": 64}, False),
    Candidate("no-attention", "without attention", {"attention": "none"}),
    Candidate("no-pooling", "spatial attention to every position of the window", {"pool": 1}),
    Candidate("window-8", "windows of 8, pooled by 2", {"window": 8, "pool": 2}),
    Candidate("open-start", "gates start at 0.5, convolutions at random", {"identity_start": False}),
    Candidate("two-steps", "upsampled in steps of 2 with a convolution each", {"upsampler": "steps"}),
    Candidate("wide", "8 blocks of 48 channels instead of 16 of 32", {"blocks": 8, "channels": 48}),
    Candidate(
        "dense", "8 dense blocks, 3 layers of growth 16", {"block": "dense", "blocks": 8, "layers": 3, "growth": 16}
    ),
)
_SHARP: dict[str, Any] = {"temperature": 0.03}
ATTENTIONS = (
    Candidate("wide", "temperature 4, keys pooled by 4, windows of 16, 24 embedding channels, gates from means", {}),
    Candidate("sharp", "temperature 0.25", {"temperature": 0.25}),
    Candidate("sharper", "temperature 0.03", _SHARP),
    Candidate("learned", "a learned temperature, starting at 0.25", {"temperature": 0.25, "learned_temperature": True}),
    Candidate("unpooled", "temperature 0.03, keys of every position", _SHARP | {"pool": 1}),
    Candidate("broad", "temperature 0.03, 48 embedding channels", _SHARP | {"embedding": 48}),
    Candidate("window-24", "temperature 0.03, windows of 24", _SHARP | {"window": 24}),
    Candidate("spread", "gates from means and deviations", {"squeeze": "mean-deviation"}),
    Candidate("unattended", "no attention", {"attention": "none", "attended": None}),
)
RECIPES = (
    Candidate("original-adam", "L1 against the original, Adam", {}),
    Candidate("original-muon", "L1 against the original, Muon", {}, training={"optimiser": "muon"}),
    Candidate("teacher-adam", "0.75 L1 against the teacher + 0.25 against the original, Adam", {}, taught=True),
    Candidate("teacher-muon", "as teacher-adam, with Muon", {}, training={"optimiser": "muon"}, taught=True),
)


@dataclass(frozen=True, slots=True)
class Group:
    """Candidates that are compared with each other."""

    title: str
    preset: str  # name without the scale
    batch: int
    candidates: tuple[Candidate, ...]
    optimiser: Optimiser = "adam"
    columns: tuple[str, ...] = ()  # "worth": contribution of the attention in the trained weights


GROUPS: dict[str, Group] = {
    "networks": Group("Comparison of networks", "psnr", 8, NETWORKS),
    "attentions": Group("Comparison of forms of attention", "wide", 4, ATTENTIONS, "muon", ("worth",)),
    "recipes": Group("Comparison of Adam and Muon, with and without a teacher", "wide", 4, RECIPES, columns=("worth",)),
}


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a candidate."""

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
    """Train every candidate for `budget` seconds of processor time, and write README.md and figure.png to `folder`.

    The first part measures once how many steps that is, and stores it in the folder. targets: a teacher's results for
    the data, for the candidates with a teacher or, if the group has none, for all. start: a model whose weights all
    candidates start from, except those of the attention, which are trained from scratch. part: as in `run_paper`.
    Yields progress lines. Raises the errors of `train`, and BadOption.
    """
    require_apart(folder, {"--data": data, "--val": [val], "--targets": [targets]})
    require_others([folder / BODY, *files_of_runs(folder)], {"--start": start})
    require_unused(folder, LENGTHS, ("README.md", "figure.png"))
    if start is not None:
        require_older(folder / BODY, "model", b'{"__metadata__":{"dagan')
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
    with whole_or_absent(folder / "README.md") as file:
        file.write(_report(chosen, results, command, start, scale, budget, base, taught).encode())
    yield f"written: {folder / 'README.md'}"


def _body(start: Path, folder: Path) -> Path:
    """Write the model without its attention to the folder and return the file. Raises BadModel."""
    model = load_generator(start)
    body = Generator(replace(model.generator.config, attention="none", attended=None))
    body.load_state_dict({name: model.generator.state_dict()[name] for name in body.state_dict()})
    with whole_or_absent(folder / BODY) as file:
        file.write(save_model(body, model.provenance))
    return folder / BODY


def _require_fits(body: Path, candidate: Candidate, base: TrainConfig) -> None:
    """Raise BadOption unless the candidate without its attention is the network of `body`."""
    plain = replace(_config(base, candidate).generator, attention="none", attended=None)
    ours, theirs = (
        {name: tensor.shape for name, tensor in network.state_dict().items() if ".constants." not in name}
        for network in (Generator(plain), load_generator(body).generator)
    )
    if ours != theirs:
        raise BadOption(f"{candidate.name} cannot start from the --start model", hint="give a model of the same shape")


def _taught(group: Group, pictures: Pictures, targets: Path | None) -> Pictures:
    """Return the images with a teacher's targets if a candidate of the group needs them. Raises BadOption."""
    if not any(candidate.taught for candidate in group.candidates):
        return pictures
    if targets is None:
        raise BadOption("some candidates need a teacher", hint="give the folder of its results with --targets")
    return with_targets(pictures, targets)


def _config(base: TrainConfig, candidate: Candidate) -> TrainConfig:
    generator = replace(base.generator, **candidate.changes)
    odds = base.order_odds if candidate.dial else ()
    return replace(base, generator=generator, order_odds=odds, **candidate.training)


def _is_finished(run: Path, config: TrainConfig) -> bool:
    return has_state(run) and load_state(run)["step"] >= (config.iterations or 0)


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
    """Return the number of steps of each candidate, by name."""
    path = folder / LENGTHS
    if not path.exists():
        if not first:
            raise BadOption(f"{path} does not exist yet", hint="start part 1 first: it measures the time per step")
        seconds = {
            candidate.name: _seconds(_config(base, candidate), taught if candidate.taught else pictures)
            for candidate in group.candidates
        }
        with whole_or_absent(path) as file:
            file.write(json.dumps({name: int(budget / each) for name, each in seconds.items()}).encode())
    try:
        noted = json.loads(read_regular(path, 2**20))
        return {candidate.name: int(noted[candidate.name]) for candidate in group.candidates}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadOption(f"{path} is damaged", hint="remove it, or use another --run folder") from error


def _seconds(config: TrainConfig, pictures: Pictures) -> float:
    """Return the seconds of processor time per step, averaged over the orders by their odds."""
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
        axes.set_xlabel("µs per input pixel (log), increasing with the order")
        axes.set_ylabel(f"PSNR-Y, dB, held-out images, x{scale}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25, linewidth=0.5)
        with whole_or_absent(target) as file:
            figure.savefig(file, format="png", dpi=130)


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
    """Return the report as Markdown."""
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
    header = ["network", "description", "parameters", "steps", "PSNR-Y, dB", "µs per input pixel", "relative time"]
    note = ""
    if first.worth is not None:
        header += ["spatial attention, dB", "channel attention, dB"]
        note = """
The last two columns are the contribution of the attention at the first order, without retraining: the PSNR-Y that is
lost when the softmax is replaced by the mean over its window, and each gate by its mean over all held-out images.
"""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "one CPU thread"
    compared = any("optimiser" in candidate.training for candidate in group.candidates)
    trained = (
        f"{'a rate of' if compared else base.optimiser.capitalize() + ' at'} {base.lr:g}, warm-up of {base.warmup} "
        f"steps, cosine, batches of {base.batch} crops of {base.generator.patch} px, {len(pictures.pixels)} images "
        f"(fingerprint {pictures.fingerprint}), one seed"
    )
    if start is not None:
        steps = load_generator(start).provenance.get("iterations")
        trained += "; all started from the convolutions of one model"
        trained += f" after {steps:,} steps" if isinstance(steps, int) else ""
    if pictures.teacher is not None:
        whose = "of the candidates with a teacher " if any(c.taught for c in group.candidates) else ""
        trained += f"; {base.target_weight[0][1]:g} of the loss {whose}was against {pictures.teacher['name']}"
    return f"""# {group.title}, x{scale}

Each candidate is the first one with some settings changed. All were trained for **{budget / 60:.3g} minutes of
processor time** on {device}: {trained}.
PSNR-Y is that of the averaged weights on the centre 512 px of each held-out image. Times are the median over
{ROUNDS - 1} interleaved rounds of one forward pass over {SIDE} x {SIDE} input pixels, fp32.

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
