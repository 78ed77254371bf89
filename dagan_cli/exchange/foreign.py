"""Import networks from PyTorch pickles: this trainer's state, RDN, and SRGAN's generator.

RDN uses the names of yjn870/RDN-pytorch, plus the attention and the Runge-Kutta constants that the paper's author
added; SRGAN's generator uses those of leftthomas/SRGAN. What the weights do not show is taken from that code: Gaussian
attention (theta and phi are in the file, but unused), spatial before channel, and Heun's rule if there is attention or,
if all three constants of the classical rule are present, that rule.

No network is built that the tensors in the file do not fill.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from dagan_cli.errors import BadModel, BadOption
from dagan_cli.model.checkpoint import Network, filled
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.pickles import KNOWN, state_dict, unpickle
from dagan_cli.model.srresnet import SrResNetConfig

_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator")  # averaged weights first
_PREFIXES = ("module.", "_orig_mod.")  # added by DataParallel and torch.compile
_NUMBER = "(0|[1-9][0-9]{0,3})"

Weights = dict[str, Tensor]


def read_pickle(path: Path) -> tuple[Network, dict[str, Any]]:
    """Read a network for inference on the CPU, and its provenance. Raises BadModel if unknown or incomplete."""
    values = unpickle(path)
    if {"config", "average", "step"} <= values.keys():
        return _training_state(path, values)
    weights = _weights(path, values)
    if "sfe1.weight" in weights:
        network = _rdn(path, weights)
    elif "block1.0.weight" in weights:
        network = _srgan(path, weights)
    else:
        raise BadModel(f"{path} holds weights of an unknown network ({min(weights)[:60]!r}, ...)", hint=KNOWN)
    return network, {"converted_from": path.name, "data": "not stated in the file", "licence": "not stated in the file"}


def _training_state(path: Path, state: dict[Any, Any]) -> tuple[Network, dict[str, Any]]:
    try:
        training = dict(state["config"])
        if training.get("baseline"):
            raise BadModel(
                f"{path} is the state of a run that trained a baseline, not a generator",
                hint="baselines are for comparison only, with the run's .safetensors files; they cannot be converted",
            )
        config = GeneratorConfig.from_dict(training.pop("generator"))
        facts = {"training": training, "iterations": state["step"], "converted_from": path.name}
        json.dumps(facts)  # they will be stored as JSON; a pickle can hold other values
    except (BadOption, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise BadModel(f"{path} is not a training state ({type(error).__name__})", hint=KNOWN) from error
    return _filled(path, config, state_dict(path, state["average"])), facts


def _weights(path: Path, values: dict[Any, Any]) -> Weights:
    """Return the state dict without the wrappers and name prefixes that training scripts add."""
    for _ in range(3):
        inner = next((values[name] for name in _WRAPPERS if isinstance(values.get(name), dict)), None)
        if inner is None:
            break
        values = inner
    weights = state_dict(path, values)
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _filled(path: Path, config: GeneratorConfig | SrResNetConfig, weights: Weights) -> Network:
    try:
        return filled(config, {name: tensor.float().contiguous() for name, tensor in weights.items()})
    except ValueError as error:
        kind = "a generator" if isinstance(config, GeneratorConfig) else "SRGAN's generator"
        raise BadModel(f"{path} does not fit {kind}: {error}", hint=KNOWN) from error


# RDN


def _rdn(path: Path, weights: Weights) -> Network:
    attention = any(".spatial_att." in name or ".se." in name for name in weights)
    blocks = _count(weights, rf"rdbs\.{_NUMBER}\.lff\.weight")
    channels = _side(path, weights, "sfe1.weight", 0)
    constants = _rk_constants(weights, attention)
    solver = next(iter(constants)).split(".")[-1] if constants else "euler"
    steps = _count(weights, rf"upscale\.{_NUMBER}\.weight")
    config = _configured(
        path,
        GeneratorConfig,
        scale=3 if _side(path, weights, "upscale.0.weight", 0) == 9 * channels else 2**steps,
        blocks=blocks,
        channels=channels,
        growth=_side(path, weights, "rdbs.0.layers.0.conv.weight", 0),
        layers=_count(weights, rf"rdbs\.0\.layers\.{_NUMBER}\.conv\.weight"),
        attention="spatial-channel" if attention else "none",
        reduction=channels // _side(path, weights, "rdbs.0.se.fc.0.weight", 0) if attention else 1,
        solver=solver,
    )
    unused = re.compile(r".*\.(spatial_att\.(theta|phi)\.(weight|bias)|one_(half|third|sixth))")
    names = {name: _renamed(path, name, _RDN, 2 * steps) for name in weights if not unused.fullmatch(name)}
    return _filled(path, config, {ours: weights[name] for name, ours in names.items()} | constants)


_F = r"blocks.\1.functions.0"
_RDN = {
    rf"rdbs\.{_NUMBER}\.layers\.{_NUMBER}\.conv\.(weight|bias)": rf"{_F}.0.layers.\2.\3",
    rf"rdbs\.{_NUMBER}\.lff\.(weight|bias)": rf"{_F}.0.fusion.\2",
    rf"rdbs\.{_NUMBER}\.spatial_att\.g\.(weight|bias)": rf"{_F}.1.g.\2",
    rf"rdbs\.{_NUMBER}\.spatial_att\.W\.(weight|bias)": rf"{_F}.1.w.\2",
    rf"rdbs\.{_NUMBER}\.se\.fc\.0\.weight": rf"{_F}.2.squeeze.weight",
    rf"rdbs\.{_NUMBER}\.se\.fc\.2\.weight": rf"{_F}.2.excite.weight",
    r"gff\.0\.(weight|bias)": r"fusion1.\1",
    r"gff\.1\.(weight|bias)": r"fusion2.\1",
    rf"upscale\.{_NUMBER}\.(weight|bias)": r"upsampler.\1.\2",
    r"output\.(weight|bias)": r"upsampler.LAST.\1",
    r"(sfe[12])\.(weight|bias)": r"\1.\2",
}


def _rk_constants(weights: Weights, attention: bool) -> Weights:
    """Return the constants of the author's blocks, by our names. His plain blocks have a constant they do not use."""
    constants = {}
    for name, half in weights.items():
        if block := re.fullmatch(rf"rdbs\.{_NUMBER}\.one_half", name):
            inner, outer = (weights.get(f"rdbs.{block[1]}.{other}") for other in ("one_third", "one_sixth"))
            if inner is not None and outer is not None:
                parts = [half.flatten(), inner.flatten(), outer.flatten()]
                constants[f"blocks.{block[1]}.constants.rk4"] = torch.cat(parts)
            elif attention:
                constants[f"blocks.{block[1]}.constants.heun"] = half
    return constants


# SRGAN


def _srgan(path: Path, weights: Weights) -> Network:
    blocks = _count(weights, rf"block{_NUMBER}\.conv1\.weight")
    trunk, tail = f"block{blocks + 2}", f"block{blocks + 3}"
    steps = _count(weights, rf"{tail}\.{_NUMBER}\.conv\.weight")
    channels = _side(path, weights, "block1.0.weight", 0)
    config = _configured(path, SrResNetConfig, scale=2**steps, blocks=blocks, channels=channels)
    folded = dict(weights)
    for number in range(2, blocks + 2):
        for part in "12":
            _fold(path, folded, f"block{number}.conv{part}", f"block{number}.bn{part}")
    if f"{trunk}.1.running_mean" in weights:
        _fold(path, folded, f"{trunk}.0", f"{trunk}.1")
        folded[f"{trunk}.1.weight"] = torch.ones(1)
    patterns = {
        r"block1\.([01])\.(weight|bias)": r"head.\1.\2",
        rf"{trunk}\.([01])\.(weight|bias)": r"trunk.\1.\2",
        rf"{tail}\.{steps}\.(weight|bias)": r"tail.LAST.\1",
    }
    patterns |= {rf"{tail}\.{i}\.conv\.(weight|bias)": rf"tail.{3 * i}.\1" for i in range(steps)}
    patterns |= {rf"{tail}\.{i}\.prelu\.weight": rf"tail.{3 * i + 2}.weight" for i in range(steps)}
    for i in range(blocks):
        block = rf"block{i + 2}"
        patterns |= {rf"{block}\.conv1\.(weight|bias)": rf"residuals.{i}.first.\1"}
        patterns |= {rf"{block}\.conv2\.(weight|bias)": rf"residuals.{i}.last.\1"}
        patterns |= {rf"{block}\.prelu\.weight": rf"residuals.{i}.slope.weight"}
    ours = {_renamed(path, name, patterns, 3 * steps): tensor for name, tensor in folded.items()}
    return _filled(path, config, ours)


def _fold(path: Path, weights: Weights, convolution: str, norm: str) -> None:
    """Fold the batch norm after a convolution into its weights, and remove the norm's tensors."""
    weights.pop(f"{norm}.num_batches_tracked", None)
    parts = [weights.pop(f"{norm}.{part}", None) for part in ("weight", "bias", "running_mean", "running_var")]
    kernel, bias = weights.get(f"{convolution}.weight"), weights.get(f"{convolution}.bias")
    if kernel is None or bias is None or any(part is None or part.shape != bias.shape for part in parts):
        raise BadModel(f"{path} is damaged: {convolution} and {norm} do not fit", hint="download it again")
    gain, shift, mean, variance = (part.double() for part in parts if part is not None)
    gain = gain / (variance + 1e-5).sqrt()  # PyTorch's default epsilon, which that code uses
    weights[f"{convolution}.weight"] = (kernel.double() * gain.view(-1, 1, 1, 1)).float()
    weights[f"{convolution}.bias"] = ((bias.double() - mean) * gain + shift).float()


# Names and shapes


def _renamed(path: Path, name: str, patterns: dict[str, str], last: int) -> str:
    """Translate a name by the pattern that matches it; no two patterns give the same name. Raises BadModel."""
    for pattern, ours in patterns.items():
        if found := re.fullmatch(pattern, name):
            return found.expand(ours).replace("LAST", str(last))
    raise BadModel(f"{path} has an unexpected tensor {name[:60]!r}", hint=KNOWN)


def _count(weights: Weights, pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in weights)


def _side(path: Path, weights: Weights, name: str, dim: int) -> int:
    """Return the length of a tensor along one dimension, at least 1. Raises BadModel."""
    tensor = weights.get(name)
    if tensor is None or tensor.ndim <= dim or not tensor.shape[dim]:
        _lacking(path, name)
    return tensor.shape[dim]


def _lacking(path: Path, name: str) -> NoReturn:
    raise BadModel(f"{path} has no {name}, or an empty one", hint=KNOWN)


def _configured(path: Path, kind: Any, **values: Any) -> Any:
    try:
        return kind(**values)
    except BadOption as error:
        raise BadModel(f"{path} holds an {error}", hint=KNOWN) from error
