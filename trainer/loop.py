"""The training loop: pairs -> step -> average -> validate -> save, through both phases."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import file_digest
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from dagan_cli.errors import BadModel, BadOption, DaganError
from dagan_cli.files import Folder, open_regular, owned, place_of, whole_or_absent, write_errors
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.model.generator import Generator
from trainer.budget import Stopwatch, closing_words
from trainer.config import TrainConfig
from trainer.data.batches import Ahead, Batch
from trainer.data.samples import Pictures, load_pictures, sample_batch, validation_pairs
from trainer.data.teaching import training_set
from trainer.ema import Average
from trainer.losses.perceptual import perceptual_loss
from trainer.machine import distributed
from trainer.machine.device import hardware, use_bf16
from trainer.networks import network_bytes, new_network, set_weights, start_from
from trainer.phases import AdversarialPhase, Phase, PixelPhase
from trainer.places import files_of, require_apart, require_others, require_own, require_pack_apart
from trainer.record.folder import BEST, CHECKPOINTS, MODEL, PIXEL, SAMPLES
from trainer.record.journal import Journal
from trainer.record.monitor import Means, attention_entropy, constants, write_strip
from trainer.state import NAME, Standing, has_state, load_state, save_state
from trainer.validate import scores

log = logging.getLogger(__name__)

BAD_STEPS = 10  # consecutive non-finite steps before the run returns to its last state at half the rate
ROLL_BACKS = 3  # limit per run
BAD_SHARE = 0.1  # share of non-finite steps above which a phase counts as diverged


class Diverged(DaganError):
    """The run produces non-finite values, even at lower rates or in many of its steps."""


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a run after a step."""

    step: int
    fraction: float  # completed share of the phase, 0 to 1; 0 for a phase without an end
    loss: float  # mean since the last report
    rate: float  # steps per second since the last report
    remaining: float | None  # seconds left in the phase
    psnr: float | None = None  # PSNR-Y in dB, if this step was validated
    message: str = ""
    phase: str = "pixel"
    terms: Mapping[str, float] = field(default_factory=dict)  # means since the last report, as in log.jsonl
    lpips: float | None = None  # LPIPS, if this step was validated
    note: str = ""  # at the end: what a budget was spent on, and a warning after very few steps


def train(
    config: TrainConfig,
    data: list[Path] | Pictures,
    run: Path,
    *,
    val: Path | None = None,
    start: Path | None = None,
    branch: Path | None = None,
    perceptual: Path | None = None,
    lpips: Path | None = None,
    targets: Path | None = None,
    pairs: Path | None = None,
    pack: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    report_every: float = 1.0,
) -> Iterator[Progress]:
    """Train in the folder `run`, resuming from its state if it has one; yields progress about every second.

    start: a model file whose weights are used where names and shapes agree (x4 from x2: all but the upsampler).
    branch: the folder of another run whose whole state is used, optimiser and step included, for a cooldown.
    perceptual: weights of the perceptual network of the adversarial phase. lpips: LPIPS weights for validation.
    targets: folder of a teacher's targets for the data. pairs: folder of lr, hr and optionally target, instead of data.
    pack: file of the decoded images, made if missing, from which they are mapped instead of held in memory.
    should_stop: called between steps; if it returns True, the state is saved and the generator ends.
    Raises NoInput, BadModel, BadOption, CannotWrite, Taken if another process trains in the folder, Diverged.
    """
    images = [] if isinstance(data, Pictures) else data
    require_apart(run, {"--data": images, "--val": [val], "--targets": [targets], "--pairs": [pairs]})
    require_others(files_of(run), {"--start": start, "--vgg-weights": perceptual, "--lpips": lpips})
    require_pack_apart(pack, [run], {"--data": images, "--targets": [targets], "--pairs": [pairs], "--val": [val]})
    if branch is not None and place_of(branch) == place_of(run):
        raise BadOption(
            f"--branch {branch} and --run {run} are the same folder", hint="use another --run, or leave out --branch"
        )
    try:
        with ExitStack() as stack:
            if distributed.join()[0] == 0:
                stack.enter_context(_owned_folder(run))
            started = _Run(config, data, run, val, start, branch, perceptual, lpips, targets, pairs, pack)
            stack.enter_context(closing(started.batches))
            yield from started.train(should_stop, report_every)
    finally:
        distributed.leave()


@contextmanager
def _owned_folder(run: Path) -> Iterator[None]:
    """Own the run among all processes; a folder in which nothing was written is removed again. Raises Taken."""
    is_new = not run.exists()
    try:
        with owned(run / NAME):
            require_own(run)
            yield
    finally:
        if is_new:
            with suppress(OSError), Folder.opened(run.parent) as parent:
                parent.remove_folder(run.name)


class _Run:
    """One run: its networks, its phase and its counters."""

    def __init__(
        self,
        config: TrainConfig,
        data: list[Path] | Pictures,
        run: Path,
        val: Path | None,
        start: Path | None,
        branch: Path | None,
        perceptual: Path | None,
        lpips: Path | None,
        targets: Path | None,
        pairs: Path | None,
        pack: Path | None,
    ) -> None:
        self.watch = Stopwatch()
        self.config, self.folder = config, run
        self.rank, self.count = distributed.join()
        _require_equal_shares(config, self.count)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        scale = config.generator.scale
        self.pictures = training_set(config, data, targets, pairs, pack)
        held_out = load_pictures([val], smallest=8 * scale) if val else None
        side, inputs = config.validate_side, config.validate_on
        self.pairs = list(validation_pairs(held_out, scale, side, inputs)) if held_out else []
        self.batches = _batches(self._make_batch, config, self.device)
        self.lpips = Lpips.load(lpips).to(self.device) if lpips is not None else None
        if config.metric == "lpips" and (self.lpips is None or not self.pairs):
            raise BadOption("metric = 'lpips' needs LPIPS weights and held-out images", hint="give --lpips and --val")
        self.half = use_bf16(config, self.device)
        self.perceptual = perceptual_loss(config.gan, perceptual, self.device)

        torch.manual_seed(config.seed)
        self.generator = new_network(config).to(self.device)
        self.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.earlier = start_from(self.generator, start) if start is not None else []  # phases before this run
        self.average = Average(self.generator, config.ema)
        compiled = torch.compile(self.generator) if config.compile else self.generator
        self.compiled = cast(Generator, compiled)
        self.phase: Phase = self._pixel_phase()
        self.at = Standing()
        self.scored: tuple[int, dict[str, float]] = (-1, {})  # step and scores of the last validation
        source = run if has_state(run) else branch
        if source is not None:
            self._restore(load_state(source), source, is_branch=source is branch)
        self.journal = Journal(run if self.rank == 0 else None)
        self.provenance = _provenance(config, self.pictures, self.device, self.half)
        if self.perceptual is not None and perceptual is not None:
            with open_regular(perceptual) as file:
                self.provenance["perceptual_sha256"] = file_digest(file, "sha256").hexdigest()
        if self.earlier:
            self.provenance["earlier"] = self.earlier
        self.provenance["parameters"] = sum(parameter.numel() for parameter in self.generator.parameters())
        given = {"val": val, "start": start, "branch": branch, "perceptual": perceptual, "lpips": lpips}
        given |= {"targets": targets, "pairs": pairs, "pack": pack}
        roots = None if isinstance(data, Pictures) else [str(root) for root in data]
        self.journal.begin("resumed" if source == run else "started", config, self.at.step, data=roots, **given)

    @property
    def fraction(self) -> float:
        """Return the completed share of the phase, by steps or by time; always below 1 for a phase without an end."""
        if self.phase.iterations is not None:
            return (self.at.step - self.at.origin) / self.phase.iterations if self.phase.iterations else 1.0
        if self.phase.budget is None:
            return 0.0
        lows = [lr for lr, _ in self.pairs]
        left = self.watch.left_for_steps(self.phase.budget, self.at, self.config, lows)
        return self.at.spent / left if left > 0 else 1.0

    def train(self, should_stop: Callable[[], bool], report_every: float) -> Iterator[Progress]:
        config, logged, in_a_row = self.config, Means(), 0
        started = reported = saved = time.monotonic()
        while True:
            self.watch.count(self.at)
            facts = (self.fraction, float(should_stop()), self.at.elapsed, self.at.spent)
            done, stop, self.at.elapsed, self.at.spent = distributed.agree(facts)
            has_begun = self.at.step > self.at.origin or self.phase.iterations == 0
            if stop or (done >= 1 and has_begun and not self._next_phase()):
                break
            done = min(done, self.fraction)
            lr, hr = self._batch(done)
            rate = self.phase.set_rate(self.at.step - self.at.origin, done, self.at.scale)
            statistics = [buffer.clone() for buffer in self.generator.buffers()]  # of the batch norms
            order = _order(config, self.phase.name, self.at.step)
            terms = self.phase.step(lr, hr, order, self.at.step - self.at.origin, self.at.step + 1)
            self.at.step += 1
            if terms is None:  # a non-finite step must not corrupt the weights
                for buffer, before in zip(self.generator.buffers(), statistics, strict=True):
                    buffer.copy_(before)
                self.at.skipped += 1
                self.at.skipped_in_phase += 1
                in_a_row += 1
                if in_a_row == BAD_STEPS:
                    self._roll_back()
                    in_a_row = 0
                    yield self._progress(float("nan"), 0.0, message="rolled back: learning rate halved")
            else:
                in_a_row = 0
                logged.add(distributed.average_terms(terms))

            now = time.monotonic()
            self.at.elapsed, started = self.at.elapsed + now - started, now
            wanted = bool(self.pairs) and self.at.step % config.validate_every == 0
            scores = self._validate() if wanted else {}
            if now - reported >= report_every or wanted:
                speed = logged.steps / max(1e-9, now - reported)
                means = logged.take()
                self._log(means, rate, scores)
                loss = means.get("loss", means.get("loss_d", float("nan")))
                yield replace(self._progress(loss, speed, scores.get("psnr_y")), terms=means, lpips=scores.get("lpips"))
                reported = time.monotonic()
            if now - saved >= config.save_every or wanted:
                self._save(scores)
                saved = time.monotonic()
            if config.patience is not None and self.at.stale >= config.patience:
                stop, done = 0.0, 1.0
                break
            started = time.monotonic()  # reporting, validating and saving are not training

        finished = not stop
        scores = self._validate() if finished and self.pairs else {}
        self.watch.count(self.at)
        self._save(scores)
        if finished:
            self._require_converged()
        message = "done" if finished else "stopped"
        self.journal.note(message, self.at.step, phase=self.phase.name, **scores)
        self.journal.report(last=True)
        last = self._progress(float("nan"), 0.0, scores.get("psnr_y"), message)
        note = closing_words(self.at, self.phase) if finished else ""
        yield replace(last, remaining=0.0, lpips=scores.get("lpips"), note=note)

    def _batch(self, done: float) -> Batch:
        """Return this process's share of the batch for this step, on the device."""
        config = self.config
        patch = next((side for share, side in reversed(config.patch_schedule) if done >= share), config.generator.patch)
        lr, hr = (distributed.share_of(part, self.rank, self.count) for part in self.batches.get(self.at.step, patch))
        return (
            lr.to(self.device, memory_format=torch.channels_last),
            hr.to(self.device, memory_format=torch.channels_last),
        )

    def _make_batch(self, step: int, patch: int) -> Batch:
        config = self.config
        return sample_batch(
            self.pictures,
            scale=config.generator.scale,
            patch=patch,
            batch=config.batch,
            augment=config.augment,
            degradation=config.degradation,
            sampling=config.sampling,
            kernel=config.kernel,
            seed=config.seed,
            step=step,
        )

    def _next_phase(self) -> bool:
        """Start the adversarial phase from the averaged weights of the pixel phase. Returns False if there is none."""
        if self.config.gan is None or self.phase.name == "adversarial":
            return False
        scores = self._validate() if self.pairs else {}
        self._save(scores)
        self._require_converged()
        self._publish(PIXEL, self._weights(scores))
        self.journal.note("the pixel phase ended", self.at.step, phase=self.phase.name, **scores)
        self.generator.load_state_dict(self.average.network.state_dict())
        self.watch.count(self.at)
        self.phase = self._adversarial_phase()
        self.at = self.at.next_phase()
        return True

    def _pixel_phase(self) -> Phase:
        return PixelPhase(self.compiled, self.average, self.config, self.half)

    def _adversarial_phase(self) -> Phase:
        assert self.config.gan is not None
        self.average.decay = self.config.gan.ema
        torch.manual_seed(self.config.seed + 1)  # the discriminator's initial weights do not depend on the pixel phase
        return AdversarialPhase(self.compiled, self.average, self.config, self.config.gan, self.perceptual, self.half)

    def _validate(self) -> dict[str, float]:
        """Score the averaged weights on the held-out images and write a strip of samples."""
        if self.scored[0] != self.at.step:
            network, order = self.average.network, self.config.generator.order
            with self.watch.validating(self.at):
                self.scored = self.at.step, scores(network, self.pairs, order, self.lpips)
                if self.rank == 0:
                    write_strip(self.folder / SAMPLES / f"{self.at.step:08d}.png", network, self.pairs, order)
        return self.scored[1]

    def _progress(self, loss: float, speed: float, psnr: float | None = None, message: str = "") -> Progress:
        left, phase = None, self.phase
        if phase.iterations is not None:
            left = (phase.iterations - self.at.step + self.at.origin) / speed if speed else None
        elif phase.budget is not None:
            left = max(0.0, phase.budget - self.at.spent)
        return Progress(self.at.step, min(1.0, self.fraction), loss, speed, left, psnr, message, phase.name)

    def _log(self, means: dict[str, float], rate: float, scores: dict[str, float]) -> None:
        if self.rank:
            return
        facts: dict[str, Any] = {"step": self.at.step, "phase": self.phase.name, "seconds": round(self.at.elapsed, 1)}
        facts |= {"lr": rate, "skipped": self.at.skipped, **means, **scores}
        if scores:
            facts["constants"] = constants(self.generator)
            facts["attention_entropy"] = attention_entropy(self.average.network, self.pairs[0][0].to(self.device) / 255)
        self.journal.log(facts)

    def _weights(self, scores: dict[str, float]) -> bytes:
        facts = {"iterations": self.at.step, "phase": self.phase.name, "seconds": round(self.at.elapsed)}
        facts |= {"val_psnr_y": scores.get("psnr_y"), **({"val_lpips": scores["lpips"]} if "lpips" in scores else {})}
        return network_bytes(self.average.network, self.config, self.provenance | facts)

    def _save(self, scores: dict[str, float]) -> None:
        """Save the averaged weights as a model, also as the best one if they are, and the state to resume from."""
        if self.rank:
            return
        weights = self._weights(scores)
        self._publish(MODEL, weights)
        if scores:
            score = -scores["lpips"] if self.config.metric == "lpips" else scores["psnr_y"]
            self.at.stale = 0 if score > self.at.best else self.at.stale + 1
            if score > self.at.best:
                self.at.best = score
                self._publish(BEST, weights)
            self._keep(weights)
        save_state(
            self.folder,
            self.at,
            {
                "config": self.config.to_dict(),
                "data": self.pictures.fingerprint,
                "phase": self.phase.name,
                "earlier": self.earlier,
                "generator": self.generator.state_dict(),
                "average": self.average.network.state_dict(),
                **self.phase.state(),
            },
        )
        self.journal.report()

    def _keep(self, weights: bytes) -> None:
        """Keep the averaged weights of the last few validations: the best-looking ones need not score best."""
        self._publish(f"{CHECKPOINTS}/{self.at.step:08d}.safetensors", weights)
        with (
            write_errors(self.folder),
            Folder.opened(self.folder) as run,
            run.inside(CHECKPOINTS) as folder,
        ):
            kept = [name for name in folder.names() if re.fullmatch(r"\d{8,}\.safetensors", name)]
            for old in sorted(kept, key=lambda name: (len(name), name))[: -self.config.keep]:
                folder.remove(old)

    def _publish(self, name: str, data: bytes) -> None:
        if self.rank == 0:
            with whole_or_absent(self.folder / name) as file:
                file.write(data)

    def _restore(self, state: dict[str, Any], source: Path, *, is_branch: bool) -> None:
        before = TrainConfig.from_dict(state["config"])
        networks = [(config.baseline, replace(config.generator, patch=1)) for config in (before, self.config)]
        if networks[0] != networks[1]:
            raise BadOption(
                f"{source} holds another generator than the configured one",
                hint="resume it with the preset or configuration it was started with, or use a new --run folder",
            )
        if state["data"] != self.pictures.fingerprint:
            raise BadOption(
                f"the images, or their teacher, are not those of {source}",
                hint="give the same --data, --targets or --pairs, or a new --run folder",
            )
        if before.optimiser != self.config.optimiser:
            raise BadOption(
                f"{source} was trained with {before.optimiser}, not with {self.config.optimiser}",
                hint=f"use --set optimiser={before.optimiser}, or take only its weights with --start",
            )
        if state.get("phase", "pixel") == "adversarial":
            kinds = [(gan.discriminator, gan.width) if gan else None for gan in (before.gan, self.config.gan)]
            if kinds[0] != kinds[1]:
                raise BadOption(
                    f"{source} is in an adversarial phase with another discriminator",
                    hint="resume it with the preset or configuration it was started with",
                )
            self.phase = self._adversarial_phase()
        self._take(state, source)
        if not is_branch and self.rank == 0 and (changes := self.config.changed_from(before)):
            log.warning("resumed with %s", ", ".join(changes))
        self.earlier = state.get("earlier", self.earlier)
        self.at = Standing.of(state)
        if is_branch:  # its time starts at 0; the data continues at the trunk's step
            self.at = Standing(step=self.at.step, origin=self.at.step)

    def _take(self, state: dict[str, Any], source: Path) -> None:
        try:
            set_weights(self.generator, state["generator"])
            set_weights(self.average.network, state["average"])
            self.phase.restore(state)
        except ValueError as error:
            raise BadModel(
                f"the state in {source} does not fit: {error}", hint="start a new run, or name another --run"
            ) from error

    def _roll_back(self) -> None:
        """Return to the last saved state at half the learning rate. Raises Diverged when that is not possible."""
        state = load_state(self.folder) if has_state(self.folder) else {}
        if self.at.roll_backs == ROLL_BACKS or state.get("phase") != self.phase.name:
            raise self._diverged(f" at step {self.at.step}")
        self._take(state, self.folder)
        self.at.roll_backs += 1
        self.at.scale *= 0.5
        self.journal.note("rolled back", self.at.step, phase=self.phase.name, rate=f"x {self.at.scale:g}")
        # The step counter continues: the same batches could diverge again.

    def _require_converged(self) -> None:
        """Raise Diverged if many steps of the phase were skipped because their losses or gradients were not finite."""
        steps, skipped = self.at.step - self.at.origin, self.at.skipped_in_phase
        if skipped > BAD_SHARE * steps:
            raise self._diverged(f": {skipped:,} of its {steps:,} steps were not finite and were skipped")

    def _diverged(self, how: str) -> Diverged:
        """Record that the phase diverged, and return the error."""
        self.journal.note("diverged", self.at.step, phase=self.phase.name, skipped=self.at.skipped_in_phase)
        self.journal.report(last=True)
        return Diverged(
            f"the {self.phase.name} phase in {self.folder} diverged{how}",
            hint="use a lower lr, precision = fp32, or a lower gan.adversarial_weight",
        )


def _batches(make: Callable[[int, int], Batch], config: TrainConfig, device: torch.device) -> Ahead:
    """Make batches ahead of time on a GPU machine, or on the CPU if codecs leave some cores idle."""
    if device.type == "cuda":
        return Ahead(make, threads=4, depth=8)
    return Ahead(make, threads=0 if config.degradation == "none" else 1, depth=1)


def _require_equal_shares(config: TrainConfig, count: int) -> None:
    if config.batch % (count * config.accumulate):
        raise BadOption(
            f"batch = {config.batch} is not divisible by {count} processes x accumulate = {config.accumulate}",
            hint=f"use a multiple of {count * config.accumulate}",
        )


def _order(config: TrainConfig, phase: str, step: int) -> int | None:
    """Draw the solver order of this step by the phase's odds; None for a generator with a single order."""
    orders = config.generator.orders
    if not orders:
        return None
    of_phase = config.gan.order_odds if config.gan is not None and phase == "adversarial" else ()
    odds = np.array(of_phase or config.order_odds or [1.0] * len(orders))
    return int(np.random.default_rng([config.seed, step, 1]).choice(orders, p=odds / odds.sum()))


def _provenance(config: TrainConfig, pictures: Pictures, device: torch.device, half: bool) -> dict[str, Any]:
    training = config.to_dict()
    training.pop("generator")
    return {
        "training": training,
        "pictures": len(pictures.pixels),
        "data": pictures.fingerprint,
        **({"pairs": True} if pictures.low is not None else {}),
        **({"teacher": pictures.teacher} if pictures.teacher is not None else {}),
        "hardware": f"{hardware(device)}, {'bf16' if half else 'fp32'}",
        "torch": torch.__version__,
    }
