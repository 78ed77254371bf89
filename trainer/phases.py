"""The two phases of a run and their training steps. Every loss term is returned separately, for the log.

The pixel phase minimises a pixel loss; the adversarial phase (SRGAN, CVPR 2017) starts from its averaged weights and
adds a discriminator. A step whose gradients are not finite changes nothing.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable
from math import cos, pi, prod, sqrt
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dagan_cli.model.generator import Generator
from trainer.config import GanConfig, TrainConfig, value_at
from trainer.discriminators import discriminator
from trainer.ema import Average
from trainer.losses.adversarial import accuracy, adversarial
from trainer.losses.terms import PIXEL, colour, fft_l1, grid, heavier_border, ldl, shifted, total_variation
from trainer.machine.cuda_graph import graphed
from trainer.machine.distributed import average_gradients, place
from trainer.networks import set_weights
from trainer.optimisers.build import Descent, optimiser, restore, set_rate

Perceptual = Callable[[Tensor, Tensor], Tensor]  # fake and real in [0, 1] -> perceptual distance
_BORDER = 2  # input pixels along each side of a crop that `border_weight` is for
Terms = dict[str, Tensor]  # by name, detached; "loss" is the total loss of the generator


class Phase(Protocol):
    """Interface of a phase; step counts are those within the phase."""

    name: str
    iterations: int | None
    budget: float | None  # seconds

    def set_rate(self, steps: int, done: float, scale: float) -> float:
        """Set the rates and weights after `steps`, at the share `done` of the phase; returns the generator's rate."""
        ...

    def step(self, lr: Tensor, hr: Tensor, order: int | None, steps: int, number: int) -> Terms | None:
        """Update the weights with one batch. steps: steps done in this phase; number: step of the run, from 1.

        hr: (N, 3, H, W), or (N, 6, H, W) with a teacher's target in the last three channels.
        Returns None, and changes no weights, if a gradient is not finite.
        """
        ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state. Raises ValueError if it does not fit."""
        ...


class PixelPhase:
    """One pixel loss, against the original and, if there is one, the teacher's target."""

    name = "pixel"

    def __init__(self, generator: Generator, average: Average, config: TrainConfig, half: bool) -> None:
        self.iterations, self.budget = config.iterations, config.budget
        self._generator, self._average, self._config, self._half = generator, average, config, half
        self._optimiser = optimiser(generator, config.optimiser, config.lr, config.beta2, _descent(config))
        self._rate = torch.zeros((), device=next(generator.parameters()).device)  # fixed for CUDA graphs, as the next
        self._target_weight = torch.zeros((), device=next(generator.parameters()).device)
        self._graphed = graphed(self._gradients, generator.parameters()) if config.cuda_graph else None

    def set_rate(self, steps: int, done: float, scale: float) -> float:
        config = self._config
        self._target_weight.fill_(value_at(config.target_weight, done))
        if config.schedule == "cooldown":
            share = 1 - sqrt(done)
        else:
            share = min(1.0, max((steps + 1) / config.warmup, 10 * done)) if config.warmup else 1.0
            share *= 0.5 * (1 + cos(pi * done)) if config.schedule == "cosine" else 1.0
        share *= prod(factor for step, factor in config.drops if steps >= step)
        rate = set_rate(self._optimiser, config.lr * share * scale)
        self._rate.fill_(rate)
        return rate

    def step(self, lr: Tensor, hr: Tensor, order: int | None, steps: int, number: int) -> Terms | None:
        if self._graphed is None:
            self._optimiser.zero_grad(set_to_none=True)
        terms = (self._graphed or self._gradients)(lr, hr, order, False)
        if not torch.isfinite(terms["norm"]):
            return None
        self._optimiser.step()
        self._average.update(self._generator, number)
        return terms

    def _gradients(self, lr: Tensor, hr: Tensor, order: int | None, _: bool) -> Terms:
        config = self._config
        terms: Terms = {}
        for small, large in _parts(lr, hr, config.accumulate):
            with _autocast(lr.device, self._half):
                fake = self._generator(small, order)
            fake = fake.float()
            if config.border_weight != 1:
                width = _BORDER * config.generator.scale
                fake, large = (heavier_border(x, config.border_weight, width) for x in (fake, large))
            references = dict(zip(("original", "target"), large.split(3, dim=1), strict=False))
            apart = {name: PIXEL[config.loss](fake, image) for name, image in references.items()}
            loss = apart["original"]
            if "target" in apart:
                loss = loss.lerp(apart["target"], self._target_weight)
            (loss / config.accumulate).backward()
            for name, term in ({"loss": loss} | (apart if len(apart) > 1 else {})).items():
                share = term.detach() / config.accumulate
                terms[name] = terms[name] + share if name in terms else share
        norm = _gathered_norm(self._generator.parameters(), config.clip)
        if config.clip_value is not None:
            limit = config.clip_value / self._rate
            for parameter in self._generator.parameters():
                if parameter.grad is not None:
                    parameter.grad.clamp_(-limit, limit)
        return terms | {"norm": norm}

    def state(self) -> dict[str, Any]:
        return {"optimiser": self._optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        restore(self._optimiser, state["optimiser"])


class AdversarialPhase:
    """One step of the generator, then one of the discriminator; perceptual = None omits that term."""

    name = "adversarial"

    def __init__(
        self,
        generator: Generator,
        average: Average,
        config: TrainConfig,
        gan: GanConfig,
        perceptual: Perceptual | None,
        half: bool,
    ) -> None:
        self.iterations, self.budget = gan.iterations, gan.budget
        device = next(generator.parameters()).device
        side = config.generator.patch * config.generator.scale
        self._generator, self._average, self._config, self._gan = generator, average, config, gan
        self._perceptual, self._half = perceptual, half
        self.discriminator = discriminator(gan.discriminator, side, gan.width).to(
            device, memory_format=torch.channels_last
        )  # type: ignore[call-overload]
        self._loss = adversarial(gan.loss)
        self._optimiser = optimiser(generator, config.optimiser, gan.lr, gan.beta2, _descent(config))
        self._optimiser_d = optimiser(self.discriminator, "adam", gan.lr_discriminator, gan.beta2)
        self._target_weight = 0.0
        self._is_adversarial = gan.adversarial_weight > 0  # otherwise the discriminator is not used
        self._offset = torch.zeros(2, dtype=torch.int64, device=device)  # fixed for CUDA graphs
        both = (*generator.parameters(), *self.discriminator.parameters())
        self._graphed = graphed(self._gradients, both) if config.cuda_graph else None

    def set_rate(self, steps: int, done: float, scale: float) -> float:
        self._target_weight = value_at(self._gan.target_weight, done)
        share = scale * 0.5 ** bisect(self._gan.halve_at, done)
        set_rate(self._optimiser_d, self._gan.lr_discriminator * share)
        return set_rate(self._optimiser, self._gan.lr * share)

    def step(self, lr: Tensor, hr: Tensor, order: int | None, steps: int, number: int) -> Terms | None:
        alone = steps < self._gan.warmup and self._is_adversarial
        if self._graphed is None:
            self._optimiser.zero_grad(set_to_none=True)
            self._optimiser_d.zero_grad(set_to_none=True)
        if self._gan.perceptual_shift:
            random = np.random.default_rng([self._config.seed, number, 2])
            self._offset.copy_(torch.from_numpy(random.integers(self._gan.perceptual_shift + 1, size=2)))
        if hr.shape[1] > 3:
            hr = self._reference(hr, number)
        terms = (self._graphed or self._gradients)(lr, hr, order, alone)
        if not torch.isfinite(terms["norm"] + terms["norm_d"]):
            return None
        if not alone:
            self._optimiser.step()
            self._average.update(self._generator, number)
        self._optimiser_d.step()
        return terms

    def _reference(self, hr: Tensor, number: int) -> Tensor:
        """Choose the reference of each crop of (N, 6, H, W) for all terms: its original or its target.

        Using both would double the work of the perceptual network and the discriminator.
        """
        rank, count = place()  # drawn for the whole batch, independently of the number of processes
        drawn = np.random.default_rng([self._config.seed, number, 3]).random(len(hr) * count) < self._target_weight
        drawn = drawn[rank * len(hr) : (rank + 1) * len(hr)]
        original, target = hr.split(3, dim=1)
        return torch.where(torch.from_numpy(drawn).to(hr.device)[:, None, None, None], target, original)

    def _gradients(self, lr: Tensor, hr: Tensor, order: int | None, alone: bool) -> Terms:
        """Accumulate the gradients of both networks for one batch; alone: of the discriminator only."""
        parts = list(_parts(lr, hr, self._config.accumulate))
        fakes, terms = [], {}
        self.discriminator.requires_grad_(False)
        for small, large in parts:
            with torch.set_grad_enabled(not alone), _autocast(lr.device, self._half):
                fake = self._generator(small, order)
            fakes.append(fake.detach())
            if not alone:
                self._add(terms, self._generator_terms(fake, small, large, order))
        self.discriminator.requires_grad_(True)
        norm = torch.zeros((), device=lr.device)
        if not alone:
            norm = _gathered_norm(self._generator.parameters(), self._gan.clip)
        if not self._is_adversarial:
            return terms | {"norm": norm, "norm_d": torch.zeros_like(norm)}
        for fake, (_, large) in zip(fakes, parts, strict=True):
            self._add(terms, self._discriminator_terms(fake, large))
        return terms | {"norm": norm, "norm_d": _gathered_norm(self.discriminator.parameters(), float("inf"))}

    def _generator_terms(self, fake: Tensor, lr: Tensor, hr: Tensor, order: int | None) -> Terms:
        """Compute the weighted terms for a part of the batch and add their gradients to the generator's."""
        gan, fp32 = self._gan, fake.float()
        terms = {"pixel": gan.pixel_weight * PIXEL[gan.pixel](fp32, hr)}
        if self._perceptual is not None:
            with _autocast(fake.device, self._half):
                crops = (shifted(x, self._offset, gan.perceptual_shift) for x in (fp32, hr))
                terms["perceptual"] = gan.perceptual_weight * self._perceptual(*crops)
        if self._is_adversarial:
            with _autocast(fake.device, self._half):
                of_fake = self.discriminator(fake)
                with torch.no_grad():
                    of_real = self.discriminator(hr)
            terms["adversarial"] = gan.adversarial_weight * self._loss.generator(of_real.float(), of_fake.float())
        if gan.tv_weight:
            terms["tv"] = gan.tv_weight * total_variation(fp32)
        if gan.fft_weight:
            terms["fft"] = gan.fft_weight * fft_l1(fp32, hr)
        if gan.colour_weight:
            terms["colour"] = gan.colour_weight * colour(fp32, lr)
        if gan.grid_weight:
            terms["grid"] = gan.grid_weight * grid(fp32, hr, fake.shape[-1] // lr.shape[-1])
        if gan.ldl_weight:
            with torch.no_grad(), _autocast(fake.device, self._half):
                mean = self._average.network(lr, order)
            terms["ldl"] = gan.ldl_weight * ldl(fp32, hr, mean.float())
        loss = torch.stack(list(terms.values())).sum() / self._config.accumulate
        loss.backward()
        offset = (fp32.detach().mean((2, 3)) - lr.mean((2, 3))).mean(0).abs().max() * 255  # in 8-bit steps
        return {name: term.detach() for name, term in terms.items()} | {"loss": loss.detach(), "rgb_offset": offset}

    def _discriminator_terms(self, fake: Tensor, hr: Tensor) -> Terms:
        with _autocast(fake.device, self._half):
            of_real, of_fake = self.discriminator(hr), self.discriminator(fake)
        of_real, of_fake = of_real.float(), of_fake.float()
        loss = self._loss.discriminator(of_real, of_fake) / self._config.accumulate
        loss.backward()
        return {
            "loss_d": loss.detach(),
            "d_real": of_real.detach().sigmoid().mean(),
            "d_fake": of_fake.detach().sigmoid().mean(),
            "d_accuracy": accuracy(of_real.detach(), of_fake.detach(), self._gan.loss),
        }

    def _add(self, terms: Terms, more: Terms) -> None:
        """Sum terms that are already divided by the number of parts, and average the others."""
        for name, term in more.items():
            share = term if name in ("loss", "loss_d") else term / self._config.accumulate
            terms[name] = terms[name] + share if name in terms else share

    def state(self) -> dict[str, Any]:
        return {
            "optimiser": self._optimiser.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimiser_d": self._optimiser_d.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        restore(self._optimiser, state["optimiser"])
        set_weights(self.discriminator, state["discriminator"])
        restore(self._optimiser_d, state["optimiser_d"])


def _parts(lr: Tensor, hr: Tensor, count: int) -> Iterable[tuple[Tensor, Tensor]]:
    return zip(lr.chunk(count), hr.chunk(count), strict=True)


def _autocast(device: torch.device, half: bool) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


def _descent(config: TrainConfig) -> Descent:
    return Descent(config.momentum, config.weight_decay, config.last_layer)


def _gathered_norm(parameters: Iterable[nn.Parameter], most: float) -> Tensor:
    """Average the gradients over all processes and clip them to `most`; returns the norm before clipping."""
    given = list(parameters)
    average_gradients(given)
    return torch.nn.utils.clip_grad_norm_(given, most)
