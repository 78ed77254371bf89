"""Make a published model of a run: measure the averaged weights, write their numbers into the header, store as fp16.

What is measured goes into the provenance: `metrics` (PSNR-Y in dB) and `lpips` by set of pictures and order,
`microseconds` for each input pixel by order, and `detail`, both scores along the dial from its fidelity model.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from dagan_cli.atomic import whole_or_absent
from dagan_cli.errors import BadOption
from dagan_cli.metrics.fidelity import PROTOCOL
from dagan_cli.metrics.lpips import Lpips
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

_CENTRE = 512  # pixels a side
_WHOLE = 1 << 20  # no picture is cut
_POSITIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_SCORES = (("metrics", "psnr_y", 3), ("lpips", "lpips", 4))  # key in the provenance, among the scores, decimals
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
    """Write `target` and return its entry for a catalogue: sha256, bytes, and what was measured.

    source: a run folder, whose last average is taken, or a model file. val: the folder that the weights were chosen on;
    the centres of its images are measured. reports: folders to report scores on; their whole images are measured. A
    model trained on degraded images is also measured on the held-out images degraded in the two fixed ways.
    started_from: the model whose weights the run started with. mix: interpolation from those weights to the run's (an
    average of the two can beat both: Wortsman et al., CVPR 2022). dial: measure `--detail` on the held-out images,
    between the published weights and the starting ones, or `fidelity` where the run started with another model.
    order, window: how the model is measured, and its defaults. A model trained on degraded images reads from its whole
    input how degraded it is, so that results would depend on the size of the tile: its window is local.
    Scores are of the weights as they are stored, at each order of the generator, with LPIPS where its weights are
    given. Raises BadModel, BadOption, NoInput, CannotWrite.
    """
    if (mix != 1 and started_from is None) or (dial and started_from is None and fidelity is None):
        raise BadOption("a mix, or a dial, has two ends", hint="name the other model with --started-from")
    if fidelity is not None and not dial:
        raise BadOption("--fidelity-model is for --dial", hint="add --dial")
    model = load_generator(source / MODEL if source.is_dir() else source)
    start = load_generator(started_from) if started_from is not None else None
    trained = blend(start.generator, model.generator, mix) if start is not None else model.generator
    degradation = model.provenance.get("training", {}).get("degradation", "none")
    degraded = degradation != "none" or "pairs" in model.provenance
    window = window or ("local" if degraded else "global")
    generator = Generator(replace(model.generator.config, default_order=order, default_window=window)).eval()
    generator.load_state_dict(trained.half().state_dict())
    judge = Lpips.load(lpips) if lpips is not None else None
    facts = {name: value for name, value in model.provenance.items() if name not in _MEASURED}
    facts |= {"licence": licence, "protocol": PROTOCOL}
    if training_data:
        facts["training_data"] = training_data

    held_out = _pairs(val, generator.scale, _CENTRE)
    sets = {f"val (centre {_CENTRE})": held_out}
    if degraded:
        sets |= {f"val, degraded as {kind}": _pairs(val, generator.scale, _CENTRE, kind) for kind in FIXED}
    sets |= {path.name: _pairs(path, generator.scale, _WHOLE) for path in reports}
    for name, pairs in sets.items():
        found = {_order(o): scores(generator, pairs, o, judge) for o in generator.config.orders or (None,)}
        for key, shown, digits in _SCORES:
            numbers = {of: round(values[shown], digits) for of, values in found.items() if shown in values}
            if numbers:
                facts.setdefault(key, {})[name] = numbers
    orders = generator.config.orders or (None,)
    times = seconds_per_pixel([(generator, o) for o in orders], work_clock)  # whatever else the machine does
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
        facts["detail"] = _dial(end.generator, generator, held_out, judge)

    data = save_model(generator, facts, half=True)
    with whole_or_absent(target) as part:
        part.write_bytes(data)
    entry = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    return entry | {key: facts[key] for key in _MEASURED if key in facts}


def _dial(fidelity: Generator, perceptual: Generator, pairs: Pairs, judge: Lpips | None) -> dict[str, dict[str, float]]:
    """Scores at the default order, by the position of `--detail`."""
    found = {}
    for detail in _POSITIONS:
        values = scores(blend(fidelity, perceptual, detail), pairs, perceptual.config.default_order, judge)
        found[f"{detail:g}"] = {key: round(values[key], digits) for _, key, digits in _SCORES if key in values}
    return found


def _pairs(folder: Path, scale: int, largest: int, inputs: Inputs = "clean") -> Pairs:
    return list(validation_pairs(load_pictures([folder], smallest=8 * scale), scale, largest, inputs))


def _order(order: int | None) -> str:
    return f"order {order}" if order else "psnr_y"
