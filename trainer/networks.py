"""Create, save and load the network that a run trains: the generator or a baseline.

A generator is stored as a model file of the tool. A baseline is stored as another kind of .safetensors, which only the
trainer reads: its header entry `dagan-baseline` is JSON, {"format": 1, "name": ..., "scale": ..., "provenance": {...}}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.model.checkpoint import load_generator, save_model
from dagan_cli.model.generator import Generator
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
    header = _header(path)
    if header is None:
        model = load_generator(path)
        return model.generator, model.provenance
    try:
        network = baseline(header["name"], header["scale"])
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        wanted = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
        provenance = dict(header["provenance"])
    except (BadOption, SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise BadModel(f"{path} is damaged: {error}", hint=HINT) from error
    found = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    if found != wanted or not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise BadModel(f"{path} does not hold the weights of {header['name']}", hint=HINT)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False), provenance


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
    return [*(earlier if isinstance(earlier, list) else ()), {"scale": scale, "degradations": degradation, **last}]


def _header(path: Path) -> dict[str, Any] | None:
    """Return the baseline entry, or None if the file has none and is to be read as a model of the tool."""
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get(ENTRY, "null"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) else None
