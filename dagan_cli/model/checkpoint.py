"""Generator <-> one .safetensors file, with its configuration and provenance in the header.

The header's `dagan` entry is JSON: {"format": 1, "config": {...}, "provenance": {...}, "digest": sha256}. The digest
covers names, shapes, types and values of all tensors, the configuration and the provenance, so a flipped bit is found
in any file, published or not; safetensors itself finds only damage to its structure. Reading a model never executes
code.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator

FORMAT = 1
LARGEST = 2**30  # bytes; a generator of the paper's family stays far below, a hostile file might not
_FOREIGN = {".pth": "PyTorch pickle", ".pt": "PyTorch pickle", ".ckpt": "PyTorch pickle", ".bin": "PyTorch pickle"}


@dataclass(frozen=True, slots=True)
class Model:
    """A generator as it came from its file."""

    generator: Generator
    sha256: str  # of the whole file
    provenance: dict[str, Any] = field(default_factory=dict)  # data, iterations, losses, seed, metrics, licence


def save_model(generator: Generator, provenance: dict[str, Any], *, half: bool = False) -> bytes:
    """The bytes of the model's file, the same for the same weights. `half` stores fp16 weights."""
    tensors = {
        name: tensor.detach().to("cpu", torch.float16 if half and tensor.ndim > 1 else torch.float32).contiguous()
        for name, tensor in sorted(generator.state_dict().items())
    }
    facts = json.loads(json.dumps({"config": generator.config.to_dict(), "provenance": provenance}))  # as read back
    header = {"format": FORMAT, **facts, "digest": _digest(tensors, facts)}
    return save(tensors, metadata={"dagan": json.dumps(header, sort_keys=True)})


def load_model(path: Path, expected: str | None = None) -> Model:
    """Read and check a model's file; weights are fp32 on the CPU. `expected` is the sha256 the file must have.

    Raises BadModel, with the next thing to try, for a missing, truncated, damaged, foreign or impossible file.
    """
    data = _read(path)
    found = sha256(data).hexdigest()
    if expected is not None and found != expected:
        raise _damaged(path, f"its sha256 is {found[:12]}..., not {expected[:12]}...")
    header = _header(path, data)
    try:
        config = GeneratorConfig.from_dict(header["config"])
    except BadOption as error:
        raise BadModel(f"{path} describes an {error}", hint=error.hint) from error
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error
    facts = {"config": header["config"], "provenance": header.get("provenance")}
    if header.get("digest") != _digest(tensors, facts):
        raise _damaged(path, "its contents do not match its own checksum")
    if config.blocks * (config.layers if config.block == "dense" else 2) > len(tensors):
        raise _damaged(path, f"{len(tensors)} tensors are too few for its {config.blocks} blocks")
    # Initial values cost 40 ms; the meta device, which would save them, takes torch two seconds to load.
    generator = Generator(config)
    _check(path, tensors, generator)
    generator.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return Model(generator.eval().requires_grad_(False), found, header.get("provenance") or {})


def convert_state(path: Path) -> bytes:
    """A training state, which is a pickle, -> the bytes of a model's file with its averaged weights.

    Only tensors and plain values are unpickled (torch's `weights_only`). Raises BadModel for anything else.
    """
    hint = "only the state.pt of a `dagan train` run can be converted"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        generator = Generator(GeneratorConfig.from_dict(state["config"]["generator"]))
        generator.load_state_dict(state["average"])
        facts = {"training": state["config"], "iterations": state["step"], "converted_from": path.name}
    except OSError as error:
        raise BadModel(f"cannot read {path}: {(error.strerror or str(error)).lower()}", hint=hint) from error
    except Exception as error:  # a pickle of any origin fails in any way
        raise BadModel(f"{path} is not a training state ({type(error).__name__})", hint=hint) from error
    facts["training"].pop("generator")
    return save_model(generator, facts)


def read_header(path: Path) -> dict[str, Any]:
    """Configuration and provenance of a model's file, without building the network. Raises BadModel."""
    return _header(path, _read(path))


def _read(path: Path) -> bytes:
    hint = "name a model from `dagan models list`, or the path of a .safetensors file"
    try:
        if path.suffix.lower() in _FOREIGN and path.is_file():
            raise BadModel(
                f"{path} is a {_FOREIGN[path.suffix.lower()]}, which can run code when it is read",
                hint=f"convert it once, if you trust it: dagan models convert {path}",
            )
        if path.stat().st_size > LARGEST:
            raise BadModel(f"{path} is larger than any dagan model", hint=hint)
        return path.read_bytes()
    except OSError as error:
        raise BadModel(f"cannot read the model {path}: {(error.strerror or str(error)).lower()}", hint=hint) from error


def _header(path: Path, data: bytes) -> dict[str, Any]:
    """The `dagan` entry of the file's header, read by hand: safetensors does not hand out metadata of bytes."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= size <= min(len(data) - 8, 100_000_000):
        raise _damaged(path, "it is not a whole safetensors file")
    try:
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
        header = json.loads(metadata.get("dagan", "null"))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise _damaged(path, "its header cannot be read") from error
    if "dagan-baseline" in metadata:
        raise BadModel(
            f"{path} is a baseline of the trainer, not a dagan model",
            hint="it is there to be compared with; use a model from `dagan models list`",
        )
    if not isinstance(header, dict) or not isinstance(header.get("config"), dict):
        raise BadModel(
            f"{path} is a safetensors file, but not a dagan model",
            hint="its header names no generator; use a model from `dagan models list`",
        )
    if header.get("format") != FORMAT:
        raise BadModel(f"{path} has format {header.get('format')!r}, not {FORMAT}", hint="update dagan")
    return header


def _check(path: Path, tensors: dict[str, Tensor], generator: Generator) -> None:
    expected = generator.state_dict()
    if missing := sorted(expected.keys() - tensors.keys()):
        raise _damaged(path, f"{len(missing)} tensors are missing, {missing[0]} first")
    if extra := sorted(tensors.keys() - expected.keys()):
        raise _damaged(path, f"{len(extra)} tensors do not belong, {extra[0]} first")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise _damaged(path, f"{name} is {tuple(tensor.shape)}, not {tuple(expected[name].shape)}")
        if tensor.dtype not in (torch.float16, torch.float32):
            raise _damaged(path, f"{name} holds {tensor.dtype}")
        if not torch.isfinite(tensor).all():
            raise _damaged(path, f"{name} holds values that are not finite")


def _digest(tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    digest = sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _damaged(path: Path, what: str) -> BadModel:
    return BadModel(f"{path} is damaged: {what}", hint="fetch it again; `dagan models list` names the published ones")
