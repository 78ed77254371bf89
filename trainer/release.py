"""Prepare a run for publication: measure the averaged weights, record the results in the header, store as fp16.

The measurements become part of the provenance: `metrics` (PSNR-Y in dB) and `lpips` by image set and order,
`microseconds` per input pixel by order, `detail`, both scores at several values of `--detail`, and `ablation`, both
scores without the attention or the trained constants.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from dagan_cli.errors import BadOption
from dagan_cli.files import whole_or_absent
from dagan_cli.metrics.fidelity import PROTOCOL
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.model.ablation import Part, changes, observed
from dagan_cli.model.blend import blend
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.config import Window
from dagan_cli.model.generator import Generator
from trainer.bench import seconds_per_pixel, work_clock
from trainer.config import Inputs
from trainer.data.samples import load_pictures, validation_pairs
from trainer.degradations import FIXED
from trainer.loop import MODEL
from trainer.machine.device import hardware
from trainer.validate import Pairs, scores

_CENTRE = 512  # side in pixels
_WHOLE = 1 << 20  # larger than any image: nothing is cropped
_POSITIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_SCORES = (("metrics", "psnr_y", 3), ("lpips", "lpips", 4))  # key in the provenance, key in the scores, decimals
_MEASURED = (
    "metrics",
    "lpips",
    "microseconds",
    "measured_on",
    "started_from",
    "mix",
    "twin",
    "fidelity_model",
    "detail",
    "ablation",
)


def release(
    source: Path,
    target: Path,
    *,
    val: Path,
    reports: list[Path],
    training_data: str | None = None,
    licence: str = "MIT",
    order: int | None = None,
    window: Window | None = None,
    lpips: Path | None = None,
    started_from: Path | None = None,
    mix: float = 1.0,
    dial: bool = False,
    fidelity: Path | None = None,
) -> dict[str, Any]:
    """Write `target` and return its catalogue entry: sha256, bytes and the measurements.

    source: a run folder, whose last average is used, or a model file. val: the folder that the weights were selected
    on; the centres of its images are measured. reports: folders to report scores on; their whole images are measured.
    A model trained on degraded images is also measured on the held-out images with both fixed degradations.
    started_from: the model whose weights the run started from. mix: interpolation from those weights to the run's (an
    average of the two can beat both: Wortsman et al., CVPR 2022). dial: measure `--detail` on the held-out images,
    between the published weights and the starting ones, or `fidelity` if the run started from another model.
    order, window: settings that the model is measured with; they become its defaults. A model trained on degraded
    images infers the degradation from its whole input, so its results would depend on the tile size: its default
    window is local. Scores are those of the stored weights, at each order of the generator, with LPIPS if its weights
    are given. Raises BadModel, BadOption, NoInput, CannotWrite.
    """
    if (mix != 1 and started_from is None) or (dial and started_from is None and fidelity is None):
        raise BadOption("--mix and --dial need a second model", hint="name it with --started-from")
    if fidelity is not None and not dial:
        raise BadOption("--fidelity-model was given without --dial", hint="add --dial")
    model = load_generator(source / MODEL if source.is_dir() else source)
    start = load_generator(started_from) if started_from is not None else None
    trained = blend(start.generator, model.generator, mix) if start is not None else model.generator
    degradation = model.provenance.get("training", {}).get("degradation", "none")
    degraded = degradation != "none" or "pairs" in model.provenance
    window = window or ("local" if degraded else "global")
    generator = Generator(replace(model.generator.config, default_order=order, default_window=window)).eval()
    generator.load_state_dict(trained.half().state_dict())
    metric = Lpips.load(lpips) if lpips is not None else None
    facts = {name: value for name, value in model.provenance.items() if name not in _MEASURED}
    facts |= {"licence": licence, "protocol": PROTOCOL}
    if training_data:
        facts["training_data"] = training_data

    held_out = _pairs(val, generator.scale, _CENTRE)
    sets = {f"val (centre {_CENTRE})": held_out}
    if degraded:
        sets |= {f"val, degraded as {kind}": _pairs(val, generator.scale, _CENTRE, kind) for kind in FIXED}
    purpose = f"val, degraded as {FIXED[0]}" if degraded else f"val (centre {_CENTRE})"
    sets |= {path.name: _pairs(path, generator.scale, _WHOLE) for path in reports}
    for name, pairs in sets.items():
        found = {_order(o): scores(generator, pairs, o, metric) for o in generator.config.orders or (None,)}
        for key, shown, digits in _SCORES:
            numbers = {each: round(values[shown], digits) for each, values in found.items() if shown in values}
            if numbers:
                facts.setdefault(key, {})[name] = numbers
    orders = generator.config.orders or (None,)
    times = seconds_per_pixel([(generator, o) for o in orders], work_clock)  # independent of other load on the machine
    facts["microseconds"] = {_order(o): round(1e6 * time, 2) for o, time in zip(orders, times, strict=True)}
    facts["measured_on"] = f"{hardware()}, fp32{'' if torch.cuda.is_available() else ', processor time'}"
    if start is not None:
        facts["started_from"] = {"sha256": start.sha256, "iterations": start.provenance.get("iterations")}
        if mix != 1:
            facts["mix"] = mix
    if dial:
        end = start if fidelity is None else load_generator(fidelity)
        assert end is not None
        if fidelity is not None:
            facts["fidelity_model"] = {"sha256": end.sha256, "iterations": end.provenance.get("iterations")}
        facts["detail"] = _detail_scores(end.generator, generator, held_out, metric)

    facts["ablation"] = {"data": purpose} | ablation(generator, sets[purpose], metric)

    data = save_model(generator, facts, half=True)
    with whole_or_absent(target) as file:
        file.write(data)
    entry = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    return entry | {key: facts[key] for key in _MEASURED if key in facts}


def _detail_scores(
    fidelity: Generator, perceptual: Generator, pairs: Pairs, metric: Lpips | None
) -> dict[str, dict[str, float]]:
    """Return the scores at the default order by value of `--detail`."""
    found = {}
    for detail in _POSITIONS:
        values = scores(blend(fidelity, perceptual, detail), pairs, perceptual.config.default_order, metric)
        found[f"{detail:g}"] = {key: round(values[key], digits) for _, key, digits in _SCORES if key in values}
    return found


def ablation(generator: Generator, pairs: Pairs, metric: Lpips | None) -> dict[str, Any]:
    """Return the scores with each part replaced by constants or left out, and what the attention did on the images.

    `rows`: order of the solver, change ("" for none), psnr_y in dB, and lpips with a metric. The attention is changed
    at the default order, the solver's constants at the highest one. `entropy`: of the softmax relative to equal
    weights, 1 = all equal. `gate_spread`: standard deviation of a gate, 0 to 1, over images and positions.
    """
    rows: list[dict[str, Any]] = []
    facts: dict[str, float | None] = {}
    default, highest = generator.order, max(generator.config.orders, default=None)

    def measure(change: str) -> None:
        values = scores(generator, pairs, generator.order, metric)
        numbers = {key: round(values[key], digits) for _, key, digits in _SCORES if key in values}
        rows.append({"order": generator.order, "change": change, **numbers})

    plan: dict[int | None, tuple[Part, ...]] = {default: ("spatial", "channel")}
    plan[highest] = (*plan.get(highest, ()), "constants")
    for order, parts in plan.items():
        if order is not None:
            generator.order = order
        with observed(generator) as found:
            measure("")
        facts = facts or {"entropy": found.entropy, "gate_spread": found.gate_spread}  # at the default order
        for change, context in changes(generator, parts, found):
            with context:
                measure(change)
    if default is not None:
        generator.order = default
    return {"rows": rows, **{name: None if value is None else round(value, 4) for name, value in facts.items()}}


def _pairs(folder: Path, scale: int, largest: int, inputs: Inputs = "clean") -> Pairs:
    return list(validation_pairs(load_pictures([folder], smallest=8 * scale), scale, largest, inputs))


def _order(order: int | None) -> str:
    return f"order {order}" if order else "psnr_y"
