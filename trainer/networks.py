"""Create, save and load the network that a run trains: the generator or a baseline.

A generator is stored as a model file of the tool. A baseline is stored as another kind of .safetensors, which only the
trainer reads: its header entry `dagan-baseline` is JSON, {"format": 1, "name": ..., "scale": ..., "provenance": {...}}.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.torch import save
from torch import nn

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.files import open_regular
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.file import LARGEST
from dagan_cli.model.generator import Generator
from dagan_cli.model.header import Header
from trainer.baselines import Baseline, baseline
from trainer.config import TrainConfig

ENTRY = "dagan-baseline"
HINT = "give a model file of a `dagan train` run"


def new_network(config: TrainConfig) -> Baseline:
    """Create the configured network with random weights, in training mode."""
    scale = config.generator.scale
    return Generator(config.generator) if config.baseline is None else baseline(config.baseline, scale)


def network_bytes(network: Baseline, config: TrainConfig, provenance: dict[str, Any]) -> bytes:
    """Return the contents of a weights file, fp32. RDN is a `Generator` and is stored as one."""
    if isinstance(network, Generator):
        return save_model(network, provenance)
    header = {"format": 1, "name": config.baseline, "scale": network.scale, "provenance": provenance}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(network.state_dict().items())}
    return save(tensors, metadata={ENTRY: json.dumps(header, sort_keys=True)})


def load_network(path: Path) -> tuple[Baseline, dict[str, Any]]:
    """Load a generator or a baseline for use on the CPU, and its provenance. Raises BadModel."""
    found = _baseline_in(path)
    if found is not None:
        return found
    model = load_generator(path)
    return model.generator, model.provenance


def start_from(network: Baseline, path: Path) -> list[dict[str, Any]]:
    """Copy every weight whose name and shape agree; returns their training history, first phase first.

    Raises BadModel, and BadOption if no weight fits.
    """
    have = network.state_dict()
    source, facts = load_network(path)
    fitting = {
        name: tensor
        for name, tensor in source.state_dict().items()
        if name in have and have[name].shape == tensor.shape
    }
    if not fitting:
        raise BadOption(f"{path} shares no weights with this generator", hint="start from a model of the same family")
    network.load_state_dict(have | fitting)
    return _history(facts, source.scale)


def set_weights(network: nn.Module, tensors: Any) -> None:
    """Set all weights and buffers of a network. Raises ValueError unless names, shapes and types are those it has."""
    own = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
    if not isinstance(tensors, dict) or {name: (each.shape, each.dtype) for name, each in tensors.items()} != own:
        raise ValueError("it holds the weights of another network")
    network.load_state_dict(tensors)


def _history(facts: dict[str, Any], scale: int) -> list[dict[str, Any]]:
    """Return the training that a file declares, phase by phase. The contents are untrusted."""
    earlier, training = facts.get("earlier"), facts.get("training")
    degradation = training.get("degradation", "none") if isinstance(training, dict) else "none"
    degradation = "pairs" if facts.get("pairs") else degradation
    last = {
        name: facts[name]
        for name in ("phase", "iterations", "seconds", "note", "teacher")
        if facts.get(name) is not None
    }
    gan = training.get("gan") if isinstance(training, dict) else None
    if last.get("phase") == "adversarial" and isinstance(gan, dict) and gan.get("adversarial_weight") == 0:
        last["phase"] = "perceptual"  # no discriminator took part
    before = [phase for phase in earlier if isinstance(phase, dict)] if isinstance(earlier, list) else []
    return [*before, {"scale": scale, "degradations": degradation, **last}]


def _baseline_in(path: Path) -> tuple[Baseline, dict[str, Any]] | None:
    """Load a baseline; None if the file is to be read as a model of the tool, which has its own errors."""
    with suppress(OSError, ValueError), open_regular(path) as file:
        header = Header.read(file)
        if ENTRY in header.metadata and os.fstat(file.fileno()).st_size <= LARGEST:
            return _baseline_of(path, file, header)
    return None


def _baseline_of(path: Path, file: BinaryIO, header: Header) -> tuple[Baseline, dict[str, Any]]:
    try:
        facts = header.json(ENTRY)
        network = baseline(facts["name"], facts["scale"])
        wanted = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in network.state_dict().items()}
        fits = {name: (entry.shape, entry.dtype) for name, entry in header.entries.items()} == wanted
        tensors = header.tensors(file) if fits else {}
        provenance = dict(facts["provenance"])
    except (BadOption, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadModel(f"{path} is damaged: {str(error)[:200]}", hint=HINT) from error
    if not fits or not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise BadModel(f"{path} does not hold the weights of {facts['name']}", hint=HINT)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False), provenance
