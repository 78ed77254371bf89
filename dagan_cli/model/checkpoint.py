"""Save and load a network as one .safetensors file, with its configuration and provenance in the header.

The header's `dagan` entry is JSON: {"format": 1, "config": {...}, "provenance": {...}, "digest": sha256}. The digest
covers names, shapes, types and values of all tensors, the configuration and the provenance, so a flipped bit is
detected in any file, published or not; safetensors itself detects only damage to its structure. Reading a model never
executes code, and a file whose header does not fit is refused before its tensors are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.file import FORMAT, damaged, header_of, opened, require_sha256
from dagan_cli.model.generator import Generator
from dagan_cli.model.header import Entry
from dagan_cli.model.rk import evaluations
from dagan_cli.model.srresnet import SrResNet, SrResNetConfig

Network = Generator | SrResNet
Config = GeneratorConfig | SrResNetConfig

N = TypeVar("N", bound=Network, covariant=True)


@dataclass(frozen=True, slots=True)
class Model(Generic[N]):
    """A network loaded from its file."""

    generator: N
    sha256: str  # of the whole file
    provenance: dict[str, Any] = field(default_factory=dict)  # data, iterations, losses, seed, metrics, licence


def save_model(generator: Network, provenance: dict[str, Any], *, half: bool = False) -> bytes:
    """Return the bytes of the model's file, the same for the same weights. `half` stores fp16 weights."""
    tensors = {
        name: tensor.detach().to("cpu", torch.float16 if half and tensor.ndim > 1 else torch.float32).contiguous()
        for name, tensor in sorted(generator.state_dict().items())
    }
    facts = json.loads(json.dumps({"config": generator.config.to_dict(), "provenance": provenance}))  # as read back
    header = {"format": FORMAT, **facts, "digest": _digest(tensors, facts)}
    return save(tensors, metadata={"dagan": json.dumps(header, sort_keys=True)})


def load_model(path: Path, expected: str | None = None) -> Model[Network]:
    """Read and check a model's file; weights are fp32 on the CPU. `expected` is the sha256 the file must have.

    Raises BadModel, with a hint, for a missing, truncated, damaged, foreign or invalid file.
    """
    with opened(path) as file:
        header, facts = header_of(path, file)
        kind = SrResNetConfig if facts["config"].get("architecture") == "srresnet" else GeneratorConfig
        try:
            config = kind.from_dict(facts["config"])
        except BadOption as error:
            raise BadModel(f"{path} holds an {str(error)[:200]}", hint=error.hint[:200]) from error
        try:
            network = _network_for(config, header.entries)
            digest = sha256()
            tensors = header.tensors(file, digest)
        except ValueError as error:
            raise damaged(path, str(error)) from error
    found = digest.hexdigest()
    require_sha256(path, found, expected)
    if facts.get("digest") != _digest(tensors, {name: facts.get(name) for name in ("config", "provenance")}):
        raise damaged(path, "its contents do not match its own checksum")
    try:
        _fill(network, tensors)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return Model(network, found, facts.get("provenance") or {})


def load_generator(path: Path, expected: str | None = None) -> Model[Generator]:
    """Like `load_model`, but only for models that can be trained further. Also raises BadModel for converted SRGANs."""
    model = load_model(path, expected)
    if not isinstance(model.generator, Generator):
        what = f"{path} holds a converted SRGAN without its batch norms: it can upscale, but not be trained"
        raise BadModel(what, hint="use a model of this trainer, or of `dagan models list`")
    return Model(model.generator, model.sha256, model.provenance)


def filled(config: Config, tensors: dict[str, Tensor]) -> Network:
    """Build the network with these tensors as fp32 weights, for inference. Raises ValueError if they do not fit."""
    network = _network_for(config, tensors)
    _fill(network, tensors)
    return network


def _network_for(config: Config, found: Mapping[str, Entry | Tensor]) -> Network:
    """Build the network, in inference mode, if tensors of these shapes and types can be its weights.

    Raises ValueError if not, and before anything is built if they are far too few: a file of a few bytes must not cost
    the memory of the largest network that its configuration can describe.
    """
    values = sum(each.numel() if isinstance(each, Tensor) else each.values for each in found.values())
    fewest_tensors, fewest_values = _fewest(config)
    if len(found) < fewest_tensors or values < fewest_values:
        raise ValueError(f"its {len(found)} tensors are too few or too small for its {config.blocks} blocks")
    # Initial values cost 40 ms; the meta device would avoid them, but takes torch two seconds to load.
    network = Generator(config) if isinstance(config, GeneratorConfig) else SrResNet(config)
    expected = network.state_dict()
    if missing := sorted(expected.keys() - found.keys()):
        raise ValueError(f"{len(missing)} tensors are missing, the first is {missing[0]}")
    if extra := sorted(found.keys() - expected.keys()):
        raise ValueError(f"{len(extra)} tensors are unexpected, the first is {extra[0][:60]!r}")
    for name, each in found.items():
        if tuple(each.shape) != tuple(expected[name].shape):
            raise ValueError(f"{name} is {tuple(each.shape)}, not {tuple(expected[name].shape)}")
        if each.dtype not in (torch.float16, torch.float32):
            raise ValueError(f"{name} is {each.dtype}, not fp16 or fp32")
    return network.eval().requires_grad_(False)


def _fill(network: Network, tensors: dict[str, Tensor]) -> None:
    """Set the weights. Raises ValueError for values that are not finite."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are not finite")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    network.requires_grad_(False)


def _fewest(config: Config) -> tuple[int, int]:
    """Return lower bounds for the network's tensors and values, so that none is built that the file cannot fill."""
    c = config.channels
    if isinstance(config, SrResNetConfig):
        return 5 * config.blocks, 9 * c * c * 2 * config.blocks
    tensors, block = 4, 2 * c * c
    if config.block == "dense":
        n, g = config.layers, config.growth
        tensors, block = 2 * n + 2, n * c * g + n * (n - 1) // 2 * g * g
    functions = 1 if config.shared_weights else evaluations(config, config.solver)
    return config.blocks * functions * tensors, 9 * (c * c + config.blocks * functions * block)


def _digest(tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    digest = sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
