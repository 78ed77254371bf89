"""Save and load the state of a run; a resumed run continues exactly as an uninterrupted one.

state.pt is a file of torch.save with plain values and tensors. Its `digest` covers everything else in it, so damage of
any kind is found when it is read. The state before it stays in the folder as state.before.pt: a process killed while
it saves leaves one of the two whole, and so does damage to one of them.
"""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from dagan_cli.errors import BadModel
from dagan_cli.files import Folder, open_regular, whole_or_absent
from dagan_cli.model.header import Hash
from dagan_cli.model.pickles import is_archive, mapping_in

NAME = "state.pt"
BEFORE = "state.before.pt"
FORMAT = 2  # the first one with a digest; former states have neither of the two
_HINT = "start a new run, or name another --run"
_MOST = 10**12  # of every counter, and of seconds
_LONGEST = 2**17  # bytes of all that is not a tensor
_DEEPEST = 12  # levels of mappings and lists
_ALWAYS = {"config", "data", "step", "elapsed", "origin", "best", "generator", "average", "optimiser"}
_LATER = {"phase", "earlier", "stale", "scale", "skipped", "roll_backs"}  # which the first states did not have
_COUNTED = {"spent", "validating"}  # which states of this format may lack
_OF_DISCRIMINATOR = {"discriminator", "optimiser_d"}
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)  # int64: counted batches


@dataclass(slots=True)
class Standing:
    """The counters of a run. Raises ValueError for counters that no run can have."""

    step: int = 0  # steps done
    origin: int = 0  # steps done before this phase, or before this branch
    elapsed: float = 0.0  # seconds of steps in this phase
    spent: float = 0.0  # seconds of all that this phase did: steps, validations, saving, and what was loaded before
    validating: float = 0.0  # those of validations
    best: float = float("-inf")  # best validation score of this phase
    stale: int = 0  # validations since the best one
    scale: float = 1.0  # factor of the learning rate, halved at each roll-back
    skipped: int = 0  # number of non-finite steps
    skipped_in_phase: int = 0  # number of them in this phase
    roll_backs: int = 0

    def __post_init__(self) -> None:
        for name in ("step", "origin", "stale", "skipped", "skipped_in_phase", "roll_backs"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= _MOST:
                raise ValueError(f"{name} is not a whole number from 0 to 10^12")
        if self.origin > self.step or self.skipped_in_phase > self.skipped:
            raise ValueError("its counters contradict each other")
        for name in ("elapsed", "spent", "validating"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= _MOST:
                raise ValueError(f"{name} is not a number of seconds")
        if not _is_number(self.best) or self.best != self.best:
            raise ValueError("best is not a number")
        if not _is_number(self.scale) or not 0 < self.scale <= 1:
            raise ValueError("scale is not a number above 0 and up to 1")

    @classmethod
    def of(cls, state: dict[str, Any]) -> Standing:
        """Read the counters from a saved state; counters that older runs did not have start at their defaults."""
        known = {each.name: state[each.name] for each in fields(cls) if each.name in state}
        return cls(**{"spent": known.get("elapsed", 0.0)} | known)

    def next_phase(self) -> Standing:
        """The counters at the start of the next phase."""
        return Standing(step=self.step, origin=self.step, skipped=self.skipped, roll_backs=self.roll_backs)


def has_state(run: Path) -> bool:
    """True if the run folder holds a state to resume from."""
    return (run / NAME).exists() or (run / BEFORE).exists()


def save_state(run: Path, at: Standing, rest: dict[str, Any]) -> None:
    """Write the counters and `rest` as state.pt; the former state becomes state.before.pt. Raises CannotWrite."""
    state = _Copy().of({"format": FORMAT, **asdict(at), **rest})
    data = BytesIO()  # torch.save raises an unspecific RuntimeError on a full disk
    torch.save(state | {"digest": digest_of(state)}, data)
    with whole_or_absent(run / NAME) as file:
        file.write(data.getbuffer())
        file.flush()
        os.fsync(file.fileno())  # the former state is not moved away before this one is safe
        with Folder.opened(run) as folder, suppress(FileNotFoundError):
            folder.rename(NAME, BEFORE)


def load_state(run: Path) -> dict[str, Any]:
    """Return the last saved state of a run folder, on the CPU. Raises BadModel for a damaged or foreign file.

    If there is no state.pt, because a process was killed while it saved, it is the state before it.
    """
    missing = None
    for path in (run / NAME, run / BEFORE):
        try:
            return _read(path)
        except FileNotFoundError as error:
            missing = missing or error
        except _Damaged as error:
            hint = _way_back(run) if path.name == NAME else _HINT
            raise BadModel(f"{path} is damaged: {error}", hint=hint) from error
    assert missing is not None
    raise _unreadable(run / NAME, missing) from missing


class _Damaged(Exception):
    """The file is not what a run saved; the message says why."""


def _read(path: Path) -> dict[str, Any]:
    """Read and check a state. Raises FileNotFoundError, BadModel if it cannot be opened, _Damaged."""
    try:
        with open_regular(path) as file:
            return _checked(_mapping(file, path), os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise _Damaged(str(error)) from error


def _unreadable(path: Path, error: OSError) -> BadModel:
    return BadModel(f"cannot resume from {path}: {(error.strerror or str(error)).lower()}", hint=_HINT)


def _way_back(run: Path) -> str:
    """Return what to try after damage: the state before it, if that one is whole."""
    try:
        step = _read(run / BEFORE)["step"]
    except (BadModel, FileNotFoundError, _Damaged):
        return _HINT
    names = shlex.join(["mv", str(run / BEFORE), str(run / NAME)])
    return f"go on from the state before it, of step {step}: {names}"


def _mapping(file: BinaryIO, path: Path) -> dict[Any, Any]:
    if not is_archive(file):
        raise ValueError("it is not a complete PyTorch file")
    try:
        return mapping_in(file, path, spare=_LONGEST)
    except BadModel as error:
        raise ValueError("it is not a complete PyTorch file of plain values") from error


def _checked(found: dict[Any, Any], most: int) -> dict[str, Any]:
    """Return the state if it is exactly what a run can have saved; `most`: bytes of all tensors. Raises ValueError."""
    phase = found.get("phase", "pixel")
    if phase not in ("pixel", "adversarial"):
        raise ValueError("it has no known phase")
    every = _ALWAYS | (_OF_DISCRIMINATOR if phase == "adversarial" else set())
    if found.keys() & {"format", "digest"}:
        if type(found.get("format")) is not int or found["format"] != FORMAT:
            raise ValueError("its format is unknown; a newer dagan may read it")
        needed = every | _LATER | {"skipped_in_phase", "format", "digest"}
        known = needed | _COUNTED
    else:
        known, needed = every | _LATER, every
    if missing := sorted(needed - found.keys()):
        raise ValueError(f"it has no {missing[0]}")
    if found.keys() - known:
        raise ValueError("it holds more than the state of a run")
    state = _Copy(most).of(found)
    if "digest" in state and state.pop("digest") != digest_of(state):
        raise ValueError("its contents do not match its checksum")
    _check_values(state)
    return state


def _check_values(state: dict[str, Any]) -> None:
    Standing.of(state)
    if not isinstance(state["config"], dict):
        raise ValueError("it has no config")
    if not isinstance(state["data"], str) or not 0 < len(state["data"]) <= 100:
        raise ValueError("it does not name its data")
    earlier = state.get("earlier", [])
    if not isinstance(earlier, list) or not all(isinstance(phase, dict) for phase in earlier):
        raise ValueError("its earlier phases are not a list")
    for name in ("generator", "average", "discriminator"):
        tensors = state.get(name, {})
        if not isinstance(tensors, dict) or not all(isinstance(each, Tensor) for each in tensors.values()):
            raise ValueError(f"its {name} is not a network's weights")
    for name in ("generator", "average", "optimiser", *_OF_DISCRIMINATOR):
        if not all(bool(tensor.isfinite().all()) for tensor in _tensors(state.get(name))):
            raise ValueError(f"its {name} holds values that are not finite")


class _Copy:
    """Copy a state into plain mappings, lists, numbers, texts and tensors with storage of their own.

    A file can hold much that is equal to these at first sight, and behaves in another way: tensors that share their
    storage are trained together, and a view can be larger than all memory. Raises ValueError.
    """

    def __init__(self, most: int | None = None) -> None:
        self._left = most  # bytes of tensors

    def of(self, value: Any, levels: int = _DEEPEST) -> Any:
        """Return the copy of a value with at most so many levels."""
        if value is None or type(value) in (bool, int, float, str):
            if type(value) is int and abs(value) >= 2**63:
                raise ValueError("it holds a number that is too large")
            return value
        if isinstance(value, Tensor):
            return self._tensor(value)
        if not levels or not isinstance(value, (dict, list, tuple)):
            raise ValueError("it holds more than plain values")
        if isinstance(value, dict):
            if not all(type(key) in (int, str) for key in value):
                raise ValueError("it holds more than plain values")
            return {key: self.of(item, levels - 1) for key, item in value.items()}
        return (list if isinstance(value, list) else tuple)(self.of(item, levels - 1) for item in value)

    def _tensor(self, tensor: Tensor) -> Tensor:
        ordinary = type(tensor) is Tensor and tensor.layout == torch.strided and tensor.dtype in _DTYPES
        if not ordinary or tensor.is_nested or tensor.is_meta or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise ValueError("it holds tensors of an unknown kind")
        if self._left is not None:
            self._left -= tensor.nbytes
            if self._left < 0:
                raise ValueError("its tensors are larger than the file")
        return tensor.detach().cpu().resolve_neg().clone(memory_format=torch.preserve_format)


def digest_of(state: dict[str, Any]) -> str:
    """Return the sha256 of all keys, types, values, shapes and bytes of a state that is made of plain values."""
    digest = sha256()
    _feed(digest, state)
    return digest.hexdigest()


def _feed(digest: Hash, value: Any) -> None:
    """Hash a value so that two values have the same bytes only if they are equal, type by type."""
    if isinstance(value, Tensor):
        digest.update(f"tensor {value.dtype} {tuple(value.shape)}\n".encode())
        if value.numel():
            flat = value.contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        digest.update(f"dict {len(value)}\n".encode())
        for key in sorted(value, key=lambda key: (type(key).__name__, key)):
            _feed(digest, key)
            _feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        digest.update(f"{type(value).__name__} {len(value)}\n".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, str):
        data = value.encode(errors="surrogatepass")
        digest.update(f"str {len(data)}\n".encode() + data)
    else:
        digest.update(f"{type(value).__name__} {value!r}\n".encode())


def _tensors(value: Any) -> list[Tensor]:
    """Return all floating tensors in a value."""
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in _tensors(item)]


def _is_number(value: object) -> bool:
    return type(value) in (int, float)
