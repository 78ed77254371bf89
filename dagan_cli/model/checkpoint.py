"""Save and load a network as one .safetensors file, with its configuration and provenance in the header.

The header's `dagan` entry is JSON: {"format": 1, "config": {...}, "provenance": {...}, "digest": sha256}. The digest
covers names, shapes, types and values of all tensors, the configuration and the provenance, so a flipped bit is
detected in any file, published or not; safetensors itself detects only damage to its structure. Reading a model never
executes code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator, evaluations
from dagan_cli.model.srresnet import SrResNet, SrResNetConfig

Network = Generator | SrResNet

FORMAT = 1
LARGEST = 2**30  # bytes; generators of the paper's family are far smaller, hostile files may not be
_FOREIGN = {".pth": "PyTorch pickle", ".pt": "PyTorch pickle", ".ckpt": "PyTorch pickle", ".bin": "PyTorch pickle"}


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
    data = _read(path)
    found = sha256(data).hexdigest()
    if expected is not None and found != expected:
        raise _damaged(path, f"its sha256 is {found[:12]}..., not {expected[:12]}...")
    header = _header(path, data)
    kind = SrResNetConfig if header["config"].get("architecture") == "srresnet" else GeneratorConfig
    try:
        config = kind.from_dict(header["config"])
    except BadOption as error:
        raise BadModel(f"{path} holds an {error}", hint=error.hint) from error
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    facts = {"config": header["config"], "provenance": header.get("provenance")}
    if header.get("digest") != _digest(tensors, facts):
        raise _damaged(path, "its contents do not match its own checksum")
    try:
        generator = filled(config, tensors)
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    return Model(generator, found, header.get("provenance") or {})


def load_generator(path: Path, expected: str | None = None) -> Model[Generator]:
    """Like `load_model`, but only for models that can be trained further. Also raises BadModel for converted SRGANs."""
    model = load_model(path, expected)
    if not isinstance(model.generator, Generator):
        what = f"{path} holds a converted SRGAN without its batch norms: it can upscale, but not be trained"
        raise BadModel(what, hint="use a model of this trainer, or of `dagan models list`")
    return Model(model.generator, model.sha256, model.provenance)


def filled(config: GeneratorConfig | SrResNetConfig, tensors: dict[str, Tensor]) -> Network:
    """Build the network with these tensors as fp32 weights, for inference. Raises ValueError if they do not fit."""
    if sum(tensor.numel() for tensor in tensors.values()) < _fewest_values(config):
        raise ValueError(f"its {len(tensors)} tensors are too few or too small for its {config.blocks} blocks")
    # Initial values cost 40 ms; the meta device would avoid them, but takes torch two seconds to load.
    network = Generator(config) if isinstance(config, GeneratorConfig) else SrResNet(config)
    _check(tensors, network)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _fewest_values(config: GeneratorConfig | SrResNetConfig) -> int:
    """Return a lower bound for the network's weights, so that no network is built that the file cannot fill."""
    c = config.channels
    if isinstance(config, SrResNetConfig):
        return 9 * c * c * 2 * config.blocks
    block = 2 * c * c
    if config.block == "dense":
        n, g = config.layers, config.growth
        block = n * c * g + n * (n - 1) // 2 * g * g
    functions = 1 if config.shared_weights else evaluations(config, config.solver)
    return 9 * (c * c + config.blocks * functions * block)


def read_header(path: Path) -> dict[str, Any]:
    """Read configuration and provenance of a model's file, without building the network. Raises BadModel."""
    return _header(path, _read(path))


def _read(path: Path) -> bytes:
    hint = "use a model from `dagan models list`, or the path of a .safetensors file"
    try:
        if path.suffix.lower() in _FOREIGN and path.is_file():
            raise BadModel(
                f"{path} is a {_FOREIGN[path.suffix.lower()]}, which can run code when loaded",
                hint=f"convert it once, if you trust it: dagan models convert {path}",
            )
        if path.stat().st_size > LARGEST:
            raise BadModel(f"{path} is larger than any dagan model", hint=hint)
        return path.read_bytes()
    except OSError as error:
        raise BadModel(f"cannot read the model {path}: {(error.strerror or str(error)).lower()}", hint=hint) from error


def _header(path: Path, data: bytes) -> dict[str, Any]:
    """Parse the `dagan` entry of the file's header; safetensors does not return the metadata of bytes."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= size <= min(len(data) - 8, 100_000_000):
        raise _damaged(path, "it is not a complete safetensors file")
    try:
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
        header = json.loads(metadata.get("dagan", "null"))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise _damaged(path, "its header cannot be read") from error
    if "dagan-baseline" in metadata:
        raise BadModel(
            f"{path} is a baseline of the trainer, not a dagan model",
            hint="baselines are for comparison only; use a model from `dagan models list`",
        )
    if not isinstance(header, dict) or not isinstance(header.get("config"), dict):
        raise BadModel(
            f"{path} is a safetensors file, but not a dagan model",
            hint="its header has no generator config; use a model from `dagan models list`",
        )
    if header.get("format") != FORMAT:
        raise BadModel(f"{path} has format {header.get('format')!r}, not {FORMAT}", hint="update dagan")
    return header


def _check(tensors: dict[str, Tensor], network: Network) -> None:
    expected = network.state_dict()
    if missing := sorted(expected.keys() - tensors.keys()):
        raise ValueError(f"{len(missing)} tensors are missing, the first is {missing[0]}")
    if extra := sorted(tensors.keys() - expected.keys()):
        raise ValueError(f"{len(extra)} tensors are unexpected, the first is {extra[0][:60]!r}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}, not {tuple(expected[name].shape)}")
        if tensor.dtype not in (torch.float16, torch.float32):
            raise ValueError(f"{name} is {tensor.dtype}, not fp16 or fp32")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are not finite")


def _digest(tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    digest = sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path, what: str) -> BadModel:
    return BadModel(
        f"{path} is damaged: {what}", hint="download it again; `dagan models list` shows the published models"
    )
