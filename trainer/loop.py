"""The training story, top to bottom: pairs -> step -> average -> validate -> save, until the end that was asked for."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import cos, pi, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dagan_cli.errors import BadOption
from dagan_cli.media.atomic import cannot_write, whole_or_absent
from dagan_cli.model.checkpoint import load_model, save_model
from dagan_cli.model.generator import Generator
from trainer.config import TrainConfig
from trainer.data import Pictures, load_pictures, sample_batch, validation_pairs
from trainer.ema import Average
from trainer.evaluate import validate
from trainer.losses import PIXEL
from trainer.state import NAME, load_state, save_state

MODEL = "model.safetensors"  # the average of the last save
BEST = "best.safetensors"  # the average with the highest validation score
LOG = "log.jsonl"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a step."""

    step: int
    fraction: float  # of the whole run, 0 to 1; 0 for one without an end
    loss: float  # mean since the last report
    rate: float  # steps per second since the last report
    remaining: float | None  # seconds
    psnr: float | None = None  # PSNR-Y in dB, when this step was validated
    message: str = ""


def train(
    config: TrainConfig,
    data: list[Path],
    run: Path,
    *,
    val: Path | None = None,
    start: Path | None = None,
    branch: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    report_every: float = 1.0,
) -> Iterator[Progress]:
    """Train in the folder `run`, going on from its state if it has one; yields progress about every second.

    start: a model file whose weights are taken where names and shapes agree (x4 from x2: all but the upsampler).
    branch: the folder of another run whose whole state is taken, optimiser and step included, to be cooled down.
    should_stop: asked between steps; when true the state is saved and the generator ends.
    Raises NoInput, BadModel, BadOption, CannotWrite.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    patch, scale = config.generator.patch, config.generator.scale
    pictures = load_pictures(data, smallest=(patch + 8) * scale)
    pairs = list(validation_pairs(load_pictures([val], smallest=8 * scale), scale)) if val else []

    torch.manual_seed(config.seed)
    generator = Generator(config.generator).to(device)
    generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None:
        _start_from(generator, start)
    average = Average(generator, config.ema)
    optimiser = torch.optim.Adam(generator.parameters(), lr=config.lr, betas=(0.9, 0.99))
    step, elapsed, origin, best = 0, 0.0, 0, float("-inf")
    source = run if (run / NAME).exists() else branch
    if source is not None:
        state = load_state(source)
        _restore(state, source, config, pictures, generator, average, optimiser)
        step, elapsed = state["step"], state["elapsed"]
        if source is branch:  # its own clock starts here; the data goes on where the trunk stands
            elapsed, origin = 0.0, step
        else:
            origin, best = state["origin"], state["best"]

    _append(run / LOG, "")  # a folder that cannot be written to is found now, not after hours
    half = _use_bf16(config, device)
    provenance = _provenance(config, pictures, device, half)
    started = reported = saved = time.monotonic()
    total, counted = torch.zeros((), device=device), 0

    def save(psnr: float | None) -> None:
        nonlocal best, saved
        facts = provenance | {"iterations": step, "seconds": round(elapsed), "val_psnr_y": psnr}
        weights = save_model(average.network, facts)
        _publish(run / MODEL, weights)
        if psnr is not None and psnr > best:
            best = psnr
            _publish(run / BEST, weights)
        save_state(
            run,
            {
                "config": config.to_dict(),
                "data": pictures.fingerprint,
                "step": step,
                "elapsed": elapsed,
                "origin": origin,
                "best": best,
                "generator": generator.state_dict(),
                "average": average.network.state_dict(),
                "optimiser": optimiser.state_dict(),
            },
        )
        saved = time.monotonic()

    while True:
        done = _fraction(config, step - origin, elapsed)
        if done >= 1 or should_stop():
            break
        lr, hr = sample_batch(
            pictures,
            scale=scale,
            patch=patch,
            batch=config.batch,
            augment=config.augment,
            seed=config.seed,
            step=step,
        )
        lr = lr.to(device, memory_format=torch.channels_last)
        hr = hr.to(device, memory_format=torch.channels_last)
        rate = config.lr * _schedule(config, step - origin, done)
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            fake = generator(lr, _order(config, step))
        loss = PIXEL[config.loss](fake.float(), hr)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(generator.parameters(), config.clip)
        step += 1
        if torch.isfinite(norm):  # one bad step must not spoil all that went before
            optimiser.step()
            average.update(generator, step)
            total += loss.detach()
            counted += 1

        now = time.monotonic()
        elapsed, started = elapsed + now - started, now
        wanted = bool(pairs) and step % config.validate_every == 0
        psnr = validate(average.network, pairs, _default_order(config)) if wanted else None
        if now - reported >= report_every or wanted:
            mean = (total / max(1, counted)).item()
            speed = counted / (now - reported)
            total.zero_()
            remaining = _remaining(config, step - origin, elapsed, speed)
            yield Progress(step, _fraction(config, step - origin, elapsed), mean, speed, remaining, psnr)
            line = {"step": step, "seconds": round(elapsed, 1), "loss": mean, "lr": rate, "norm": norm.item()}
            _append(run / LOG, json.dumps(line | ({"psnr_y": psnr} if wanted else {})) + "\n")
            counted, reported = 0, time.monotonic()
        if now - saved >= config.save_every or wanted:
            save(psnr)
        started = time.monotonic()  # reporting, validating and saving are not training

    finished = _fraction(config, step - origin, elapsed) >= 1
    psnr = validate(average.network, pairs, _default_order(config)) if finished and pairs else None
    save(psnr)
    yield Progress(step, 1.0 if finished else done, float("nan"), 0.0, 0.0, psnr, "done" if finished else "stopped")


def _fraction(config: TrainConfig, steps: int, elapsed: float) -> float:
    """How much of the run is behind us: by steps, or by the clock; never 1 for a run without an end."""
    if config.iterations is not None:
        return steps / config.iterations
    return elapsed / config.budget if config.budget is not None else 0.0


def _schedule(config: TrainConfig, steps: int, done: float) -> float:
    """The learning rate as a share of the configured one."""
    if config.schedule == "cooldown":
        return 1 - sqrt(done)
    rise = min(1.0, (steps + 1) / config.warmup) if config.warmup else 1.0
    return rise * (0.5 * (1 + cos(pi * done)) if config.schedule == "cosine" else 1.0)


def _order(config: TrainConfig, step: int) -> int | None:
    """The solver's order for this step, drawn anew each time where the generator has a dial."""
    orders = config.generator.orders
    if not orders:
        return None
    odds = np.array(config.order_odds or [1.0] * len(orders))
    return int(np.random.default_rng([config.seed, step, 1]).choice(orders, p=odds / odds.sum()))


def _default_order(config: TrainConfig) -> int | None:
    """Validation runs at the dial's cheapest order; `dagan eval` measures the others."""
    return config.generator.orders[0] if config.generator.orders else None


def _remaining(config: TrainConfig, steps: int, elapsed: float, speed: float) -> float | None:
    if config.iterations is not None:
        return (config.iterations - steps) / speed if speed else None
    return max(0.0, config.budget - elapsed) if config.budget is not None else None


def _use_bf16(config: TrainConfig, device: torch.device) -> bool:
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _start_from(generator: Generator, path: Path) -> None:
    """Take every weight whose name and shape agree."""
    have = generator.state_dict()
    fitting = {
        name: tensor
        for name, tensor in load_model(path).generator.state_dict().items()
        if name in have and have[name].shape == tensor.shape
    }
    if not fitting:
        raise BadOption(f"{path} shares no weights with this generator", hint="start from a model of the same family")
    generator.load_state_dict(have | fitting)


def _restore(
    state: dict[str, Any],
    source: Path,
    config: TrainConfig,
    pictures: Pictures,
    generator: Generator,
    average: Average,
    optimiser: torch.optim.Optimizer,
) -> None:
    before = TrainConfig.from_dict(state["config"])
    if replace(before.generator, patch=1) != replace(config.generator, patch=1):
        raise BadOption(
            f"{source} holds another generator than the one asked for",
            hint="resume it with the preset or configuration it was started with, or use a new --run folder",
        )
    if state["data"] != pictures.fingerprint:
        raise BadOption(f"the pictures are not those of {source}", hint="give the same --data, or a new --run folder")
    generator.load_state_dict(state["generator"])
    average.network.load_state_dict(state["average"])
    optimiser.load_state_dict(state["optimiser"])


def _append(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
    except OSError as error:
        raise cannot_write(path, error) from error


def _publish(path: Path, data: bytes) -> None:
    with whole_or_absent(path) as part:
        part.write_bytes(data)


def _provenance(config: TrainConfig, pictures: Pictures, device: torch.device, half: bool) -> dict[str, Any]:
    hardware = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    training = config.to_dict()
    training.pop("generator")
    return {
        "training": training,
        "pictures": len(pictures.pixels),
        "data": pictures.fingerprint,
        "hardware": f"{hardware} ({platform.machine()}), {'bf16' if half else 'fp32'}",
        "torch": torch.__version__,
    }
