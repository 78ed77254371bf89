"""Make a published model of a run: measure the averaged weights, write their numbers into the header, store as fp16."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from dagan_cli.lpips import Lpips
from dagan_cli.media.atomic import whole_or_absent
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.generator import Generator
from dagan_cli.protocol import PROTOCOL
from trainer.data import load_pictures, validation_pairs
from trainer.evaluate import scores
from trainer.loop import MODEL

_WHOLE = 1 << 20  # pixels a side: no picture is cut


def release(
    source: Path,
    target: Path,
    *,
    val: Path,
    reports: list[Path],
    training_data: str | None = None,
    licence: str = "MIT",
    order: int | None = None,
    lpips: Path | None = None,
) -> dict[str, Any]:
    """Write `target` and return its entry for a catalogue: sha256, bytes, and what was measured.

    source: a run's folder, of which the last average is taken, or a model file. val: the folder the weights were chosen
    on, of which the centres are measured; reports: folders that are only reported, of which the whole pictures are.
    Measured is PSNR-Y in dB, and LPIPS where its weights are given, at each order of the generator, of the weights as
    they are stored. Raises BadModel, NoInput, CannotWrite.
    """
    model = load_generator(source / MODEL if source.is_dir() else source)
    generator = Generator(replace(model.generator.config, default_order=order)).eval()
    generator.load_state_dict(model.generator.half().state_dict())
    judge = Lpips.load(lpips) if lpips is not None else None
    facts = {name: value for name, value in model.provenance.items() if name not in ("metrics", "lpips")}
    facts |= {"licence": licence, "protocol": PROTOCOL}
    if training_data:
        facts["training_data"] = training_data
    for name, folder, largest in [("val (centre 512)", val, 512), *((path.name, path, _WHOLE) for path in reports)]:
        measured = _measured(generator, folder, largest, judge)
        for key, shown, digits in (("metrics", "psnr_y", 3), ("lpips", "lpips", 4)):
            numbers = {of: round(found[shown], digits) for of, found in measured.items() if shown in found}
            if numbers:
                facts.setdefault(key, {})[name] = numbers
    data = save_model(generator, facts, half=True)
    with whole_or_absent(target) as part:
        part.write_bytes(data)
    entry = {"sha256": sha256(data).hexdigest(), "bytes": len(data)}
    return entry | {key: facts[key] for key in ("metrics", "lpips") if key in facts}


def _measured(generator: Generator, folder: Path, largest: int, judge: Lpips | None) -> dict[str, dict[str, float]]:
    """Scores at each of the generator's orders, by name: {"order 1": {"psnr_y": 31.2}}."""
    pictures = load_pictures([folder], smallest=8 * generator.scale)
    pairs = list(validation_pairs(pictures, generator.scale, largest))
    orders = generator.config.orders or (None,)
    return {f"order {o}" if o else "psnr_y": scores(generator, pairs, o, judge) for o in orders}
