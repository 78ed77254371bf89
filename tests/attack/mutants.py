"""Mutate a model file, a training state or a video's journal, and look at what is made of it.

    python -m tests.attack.mutants KIND COUNT SEED FOLDER

It works in a process of its own, with little memory to spare, and prints its figures as JSON. A mutant must be refused
with an error for users, or give exactly what the original gives.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import sys
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from dagan_cli.errors import DaganError
from dagan_cli.media.video.segments import folder_of, work_folder
from dagan_cli.model.checkpoint import load_model, save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.generator import Generator
from trainer.config import TrainConfig
from trainer.ema import Average
from trainer.optimisers.build import optimiser
from trainer.state import NAME, Standing, digest_of, load_state, save_state

TO_SPARE = 2**30  # bytes of address space beyond what the process has at its start
SMALL = GeneratorConfig(scale=2, blocks=1, channels=8, block="residual", reduction=4, upsampler="direct", patch=8)
SETTINGS = {"model": "one", "size": [2, 2], "scale": 2.0}
MANY = 100_000  # levels of what is nested deeply

Chance = random.Random
Mutate = Callable[[Chance, Path], str]  # damages a file or folder in place, and says how
Read = Callable[[Path], Any]


class Less(Exception):
    """Only a part is used, and that part is as it was."""


# --- bytes


def damaged(chance: Chance, data: bytes) -> tuple[bytes, str]:
    """Some bytes are others, or are missing, or there are more; also in numbers that are written as text."""
    kind = chance.choice(
        ("bits", "bits", "run", "zeros", "cut", "insert", "delete", "swap", "repeat", "digits", "first")
    )
    if not data:
        return b"\0", "insert"
    at, length = chance.randrange(len(data)), min(len(data), chance.choice((1, 2, 8, 64, 512)))
    new = bytearray(data)
    if kind == "bits":
        for _ in range(chance.choice((1, 1, 2, 5))):
            new[chance.randrange(len(new))] ^= 1 << chance.randrange(8)
    elif kind == "run":
        new[at : at + length] = chance.randbytes(len(new[at : at + length]))
    elif kind == "zeros":
        new[at : at + length] = chance.choice((b"\0", b"\xff", b"[", b"9")) * len(new[at : at + length])
    elif kind == "cut":
        del new[at:]
    elif kind == "insert":
        new[at:at] = chance.choice((chance.randbytes(length), b"\0" * length, b"9" * length, b"[" * length))
    elif kind == "delete":
        del new[at : at + length]
    elif kind == "swap":
        other = chance.randrange(len(new))
        new[at : at + length], new[other : other + length] = new[other : other + length], new[at : at + length]
    elif kind == "repeat":
        new[at:at] = new[at : at + length] * chance.choice((1, 2, 100))
    elif kind == "digits":
        places = [i for i in range(len(new)) if 48 <= new[i] <= 57]
        for _ in range(min(len(places), chance.choice((1, 3)))):
            new[chance.choice(places)] = chance.choice(b"0123456789-e.")
    else:  # the first eight bytes are a length, or say what the file is
        new[:8] = chance.choice((0, 1, len(data), 2**20, 2**31, 2**63, 2**64 - 1)).to_bytes(8, "little")
    return bytes(new), kind


def of_bytes(chance: Chance, path: Path) -> str:
    data, kind = damaged(chance, path.read_bytes())
    path.write_bytes(data)
    return kind


# --- values


def hostile(chance: Chance) -> Any:
    """A value that no field of any of the three can have."""
    deep: Any = "deep"
    return chance.choice(
        (10**18, 2**63, 10**400, -1, -(2**62) - 5, float("nan"), "9" * 100_000, "x", deep, [[1]], {"a": 1})
    )


def in_text(values: Any) -> str:
    """JSON, in which "deep" stands for what json itself would not write."""
    return json.dumps(values).replace('"deep"', "[" * MANY + "]" * MANY)


def path_in(chance: Chance, values: Any) -> list[Any]:
    """The way to a random place in nested mappings and lists."""
    way: list[Any] = []
    while isinstance(values, (dict, list)) and values:
        way.append(chance.choice(list(values)) if isinstance(values, dict) else chance.randrange(len(values)))
        values = values[way[-1]]
        if chance.random() < 0.2:
            break
    return way


def put(values: Any, way: list[Any], new: Any) -> None:
    for key in way[:-1]:
        values = values[key]
    values[way[-1]] = new


# --- models


def make_model(folder: Path) -> Path:
    path = folder / "m.safetensors"
    torch.manual_seed(0)
    path.write_bytes(save_model(Generator(SMALL), {"data": "none", "metrics": {"Set5": 31.25}, "iterations": 20}))
    return path


def read_model(path: Path) -> Any:
    model = load_model(path)
    return model.generator.config.to_dict(), model.provenance, model.generator.state_dict()


def of_header(chance: Chance, path: Path) -> str:
    """A field of the header becomes a hostile one."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    way = path_in(chance, {name: value for name, value in header.items() if name != "__metadata__"})
    put(header, way, hostile(chance))
    text = in_text(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return "header field"


def of_facts(chance: Chance, path: Path) -> str:
    """A field of config, or the provenance as a whole, or a weight becomes a hostile one; the checksum may be right."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["dagan"])
    tensors = load(data)
    signs = chance.random() < 0.5
    which = chance.choice(("config", "config", "provenance", "format", "digest", "weight"))
    if which == "weight":
        tensor = tensors[chance.choice(list(tensors))].view(-1)
        tensor[chance.randrange(len(tensor))] = chance.choice((float("nan"), float("inf"), -float("inf")))
    elif which == "config":
        put(facts, ["config", chance.choice(list(facts["config"]))], hostile(chance))
    elif which == "provenance":
        put(facts, ["provenance"], chance.choice((5, "x", [1], float("nan"), "deep")))
    else:
        put(facts, [which], hostile(chance))
    text = in_text(facts)
    if signs and which != "digest":
        with suppress(RecursionError, ValueError):
            known = json.loads(text)
            digest = sha256(json.dumps({n: known[n] for n in ("config", "provenance")}, sort_keys=True).encode())
            for name, tensor in sorted(tensors.items()):
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
                digest.update(tensor.numpy().tobytes())
            text = in_text(facts | {"digest": digest.hexdigest()})
    path.write_bytes(save(tensors, metadata={"dagan": text}))
    return f"{which}{', signed' * signs}"


# --- states


def make_state(folder: Path) -> Path:
    torch.manual_seed(0)
    network = Generator(SMALL)
    average, by = Average(network, 0.9), optimiser(network, "adam", 1e-3, 0.99)
    network(torch.rand(1, 3, 8, 8)).square().mean().backward()
    by.step()
    rest = {
        "config": TrainConfig(generator=SMALL, iterations=5).to_dict(),
        "data": "0123456789abcdef",
        "phase": "pixel",
        "earlier": [{"scale": 2, "phase": "pixel"}],
        "generator": network.state_dict(),
        "average": average.network.state_dict(),
        "optimiser": by.state_dict(),
    }
    save_state(folder, Standing(step=1200, elapsed=3.5, best=30.0, stale=2, skipped=3, scale=0.5), rest)
    return folder / NAME


def read_state(path: Path) -> Any:
    return load_state(path.parent)


def of_parts(chance: Chance, path: Path) -> str:
    """A part of the archive is damaged, and the archive is whole again: its own checksums find nothing."""
    with zipfile.ZipFile(path) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    i = chance.randrange(len(parts)) if chance.random() < 0.5 else 0  # the first one is the pickle
    kind = chance.choice(("damage", "damage", "damage", "name", "names", "missing", "twice"))
    name, data = parts[i]
    if kind == "damage":
        parts[i] = name, damaged(chance, data)[0]
    elif kind == "name":
        parts[i] = damaged(chance, name.encode())[0].decode(errors="replace").replace("\0", "0"), data
    elif kind == "names":
        j = chance.randrange(len(parts))
        parts[i], parts[j] = (name, parts[j][1]), (parts[j][0], data)
    elif kind == "missing":
        del parts[i]
    else:
        parts.append((name, damaged(chance, data)[0]))
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names that occur twice
        for name, data in parts:
            with suppress(ValueError, OverflowError):
                archive.writestr(zipfile.ZipInfo(name), data)
    return f"part: {kind}"


def of_values(chance: Chance, path: Path) -> str:
    """A value becomes another one without a new checksum, or a hostile one with it."""
    state = torch.load(path, weights_only=True)
    signs = chance.random() < 0.5
    counters = ("step", "origin", "elapsed", "best", "stale", "scale", "skipped", "skipped_in_phase", "roll_backs")
    if signs:
        which = chance.choice((*counters, *counters, "phase", "config", "earlier", "generator", "average", "optimiser"))
        if which in ("generator", "average", "optimiser"):
            moments = state["optimiser"]["state"][0]
            tensor = moments["exp_avg"] if which == "optimiser" else state[which][chance.choice(list(state[which]))]
            tensor.view(-1)[chance.randrange(tensor.numel())] = chance.choice((float("nan"), float("inf")))
        elif which == "config":
            put(state, ["config"], chance.choice((5, "x", [1], float("nan"), nested(150))))
        else:
            value = hostile(chance)
            fair = which == "best" and isinstance(value, int)  # any finite score is one
            put(state, [which], nested(150) if value == "deep" else "x" if fair else value)
        del state["digest"]
        with suppress(RecursionError, ValueError):
            state["digest"] = digest_of(state)
        state.setdefault("digest", "0" * 64)
    else:
        way = path_in(chance, state)
        value = state
        for key in way:
            value = value[key]
        put(state, way, changed(chance, value))
    torch.save(state, path)
    return f"value{', signed' * signs}"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def changed(chance: Chance, value: Any) -> Any:
    """A value that is nearly the same."""
    if isinstance(value, torch.Tensor):
        other = value.clone()
        if other.numel():
            flat = other.reshape(-1).view(torch.uint8)
            flat[chance.randrange(len(flat))] ^= 1 << chance.randrange(8)
        return chance.choice((other, other, value.to(torch.float64), value.reshape(-1), value[None]))
    if isinstance(value, bool):
        return chance.choice((not value, int(value), None))
    if isinstance(value, (int, float)):
        return chance.choice((value + 1, -value - 1, float(value) + 0.5, str(value), 10**18, float("nan"), None))
    if isinstance(value, str):
        return chance.choice((value + "x", value[:-1], 5, None))
    if isinstance(value, dict):
        return chance.choice(({}, {**value, "more": 1}, list(value), None, nested(150)))
    if isinstance(value, (list, tuple)):
        return chance.choice(([], (*value, 1), [*value, 1], None, nested(150)))
    return chance.choice((0, "", False))


# --- journals of videos


def make_journal(folder: Path) -> Path:
    target = folder / "out.mkv"
    chance = Chance(0)
    with suppress(KeyboardInterrupt), work_folder(target, SETTINGS, resume=True) as work:
        for number in range(4):
            with work.create(number) as file:
                file.write(chance.randbytes(300))
            work.finish([number * 10 + i for i in range(3)], [1, 1, 2])
        raise KeyboardInterrupt
    return folder_of(target)


def read_journal(path: Path) -> Any:
    """The segments that a resumed run begins with. Fewer than there were are as good as none: they are made again."""
    target = path.parent / "out.mkv"
    found: list[Any] = []
    with suppress(KeyboardInterrupt), work_folder(target, SETTINGS, resume=True) as work:
        for i, segment in enumerate(work.segments):
            with work.read(i) as file:
                found.append((segment.bytes, segment.crc32, segment.pts, segment.durations, file.read()))
        raise KeyboardInterrupt
    return found


def of_journal(chance: Chance, path: Path) -> str:
    files = sorted(path.iterdir())
    file = path / "journal.jsonl" if chance.random() < 0.7 else chance.choice(files)
    return of_bytes(chance, file)


def of_entries(chance: Chance, path: Path) -> str:
    """A field of an entry becomes a hostile one; the checksums of all lines may be right."""
    journal, signs = path / "journal.jsonl", chance.random() < 0.7
    lines = journal.read_text().splitlines()
    entries = [json.loads(line.partition(" ")[2]) for line in lines]
    i = chance.randrange(len(entries))
    if i == 0:
        put(entries, [0, "settings", chance.choice(list(SETTINGS))], hostile(chance))
    else:
        field = chance.choice(("bytes", "crc32", "pts", "durations", "pts item", "durations item", "more"))
        way = [i, field.split()[0], *([chance.randrange(3)] if "item" in field else [])]
        huge = chance.choice((1 << 62, 1 << 70, -(1 << 62), float("nan"), 1.5, "x", None, True, [1], "deep", []))
        put(entries, way, huge)
    text, before = "", ""
    for entry, line in zip(entries, lines, strict=True):
        written = in_text(entry)
        before = sha256(f"{before} {written}".encode()).hexdigest()[:32] if signs else line.partition(" ")[0]
        text += f"{before} {written}\n"
    journal.write_text(text)
    return f"entry{', signed' * signs}"


KINDS: dict[str, tuple[Callable[[Path], Path], Read, tuple[Mutate, ...]]] = {
    "model": (make_model, read_model, (of_bytes, of_header, of_facts)),
    "state": (make_state, read_state, (of_bytes, of_parts, of_values)),
    "journal": (make_journal, read_journal, (of_journal, of_entries)),
}


# --- the run


def same(a: Any, b: Any) -> bool:
    """True if two values are equal, type by type, to the last bit."""
    if isinstance(a, torch.Tensor):
        if not isinstance(b, torch.Tensor) or (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        return a.contiguous().numpy().tobytes() == b.contiguous().numpy().tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


def memory() -> tuple[int, int]:
    """Peak of the resident memory since the last call of `forget`, and the address space, in bytes."""
    facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(facts["VmHWM"].split()[0]) * 1024, int(facts["VmSize"].split()[0]) * 1024


def forget() -> None:
    with suppress(OSError):  # then the peak is that of all mutants so far
        Path("/proc/self/clear_refs").write_text("5")


def main(kind: str, count: int, seed: int, folder: Path) -> None:
    torch.set_num_threads(1)
    make, read, ways = KINDS[kind]
    pristine = make(folder)
    original = read(pristine)
    is_folder = pristine.is_dir()
    files = list(pristine.iterdir()) if is_folder else [pristine]
    kept = {path: path.read_bytes() for path in files}
    forget()
    resident, address = memory()
    resource.setrlimit(resource.RLIMIT_AS, (address + TO_SPARE, address + TO_SPARE))
    wrong: list[str] = []
    refused = equal = most = 0
    slowest, how_slow, how_large, by_way = 0.0, "", "", Counter[str]()
    for number in range(count):
        chance = Chance(f"{seed} {kind} {number}")
        if is_folder:
            shutil.rmtree(pristine, ignore_errors=True)
            pristine.mkdir()
        for path, data in kept.items():
            path.write_bytes(data)
        way = ways[number % len(ways)](chance, pristine)
        what = f"{kind} {number} ({way})"
        (folder / "last").write_text(what)  # what to look at if the process dies
        forget()
        began = time.process_time()
        result: Any = None
        try:
            result = read(pristine)
        except DaganError as error:
            text = f"{error}{error.hint}"
            if "\n" in text or len(text) > 1000 + 4 * len(str(folder)) or "weights_only" in text:
                wrong.append(f"{what}: an error that is not for users: {text[:200]}")
            outcome = "refused"
        except BaseException as error:
            wrong.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
            outcome = "wrong"
        else:
            part = kind == "journal" and len(result) < len(original) and same(result, original[: len(result)])
            outcome = "refused" if part else "equal" if same(result, original) else "wrong"
            if outcome == "wrong":
                wrong.append(f"{what}: accepted, and another one")
        took, more = time.process_time() - began, memory()[0] - resident
        refused, equal = refused + (outcome == "refused"), equal + (outcome == "equal")
        by_way[f"{way}: {outcome}"] += 1
        if took > slowest:
            slowest, how_slow = took, what
        if more > most:
            most, how_large = more, what
    figures = {"tried": count, "refused": refused, "equal": equal, "wrong": wrong}
    figures |= {"slowest": slowest, "slowest mutant": how_slow, "peak": most, "largest mutant": how_large}
    print(json.dumps(figures | {"by way": dict(sorted(by_way.items()))}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
