"""The header of a safetensors file is read first and alone, and nothing that it declares is believed."""

from __future__ import annotations

import json
import os
import random
import time
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from safetensors.torch import load, save

from dagan_cli.errors import BadModel
from dagan_cli.metrics.lpips import Lpips
from dagan_cli.model.checkpoint import load_model
from dagan_cli.model.file import read_header
from dagan_cli.model.header import LONGEST, MOST, Header
from tests.support.irregular import KINDS, at_once, irregular
from trainer.networks import load_network

TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
TENSORS = {
    **{f"of {dtype}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in TYPES},
    "none": torch.zeros(0, 4),
    "one": torch.tensor(3.0),
}


def file_of(path: Path, header: Any, data: bytes = b"", size: int | None = None) -> Path:
    """A file with any header: bytes, or what JSON can hold."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if size is None else size).to_bytes(8, "little") + text + data)
    return path


def opened(path: Path) -> BinaryIO:
    return path.open("rb")


def entry(dtype: object = "F32", shape: object = (1,), place: object = (0, 4), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": place, **more}


def test_all_tensors_come_back_as_the_library_wrote_them_and_the_whole_file_is_hashed(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(save(TENSORS, metadata={"a": "b"}))
    digest = sha256()
    with opened(path) as file:
        header = Header.read(file)
        found = header.tensors(file, digest)
    assert header.metadata == {"a": "b"}
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert digest.hexdigest() == sha256(path.read_bytes()).hexdigest()
    found["of torch.float32"].add_(1)  # they are writable, and each has a memory of its own
    assert torch.equal(found["of torch.float64"], TENSORS["of torch.float64"])


def test_names_may_be_in_another_order_than_the_bytes(tmp_path):
    header = {"b": entry(place=(4, 8)), "a": entry(place=(0, 4))}
    data = torch.tensor([1.0, 2.0]).numpy().tobytes()
    with opened(file_of(tmp_path / "m.safetensors", header, data)) as file:
        found = Header.read(file).tensors(file)
    assert (found["a"].item(), found["b"].item()) == (1.0, 2.0)


DEEP = "[" * 200_000 + "]" * 200_000
NINES = "9" * 5000
WRONG = {
    "not JSON": b"{",
    "a list": [],
    "a number": b"10",
    "not UTF-8": b'{"\xff": 1}',
    "nested deeply": DEEP.encode(),
    "nested deeply in a shape": f'{{"a": {{"dtype": "F32", "shape": {DEEP}, "data_offsets": [0, 4]}}}}'.encode(),
    "a name twice": b'{"a": %s, "a": %s}' % (json.dumps(entry()).encode(), json.dumps(entry()).encode()),
    "infinite": b'{"a": {"dtype": "F32", "shape": [Infinity], "data_offsets": [0, 4]}}',
    "no mapping": {"a": 3},
    "no dtype": {"a": {"shape": [1], "data_offsets": [0, 4]}},
    "more than is known": {"a": entry(more=1)},
    "an unknown dtype": {"a": entry("F99")},
    "a dtype that is a list": {"a": entry([])},
    "a negative side": {"a": entry(shape=[-1])},
    "a huge side": {"a": entry(shape=[2**62, 2**62])},
    "a side of many digits": f'{{"a": {{"dtype": "F32", "shape": [{NINES}], "data_offsets": [0, 4]}}}}'.encode(),
    "a side that is a fraction": {"a": entry(shape=[1.0])},
    "a side that is a truth": {"a": entry(shape=[True])},
    "a side that is a text": {"a": entry(shape="1")},
    "nine dimensions": {"a": entry(shape=[1] * 9)},
    "no shape": {"a": entry(shape=None)},
    "one offset": {"a": entry(place=[4])},
    "offsets in reverse": {"a": entry(place=[4, 0])},
    "offsets below zero": {"a": entry(place=[-4, 0])},
    "another size": {"a": entry(place=[0, 3])},
    "a gap before it": {"a": entry(place=[1, 5])},
    "an overlap": {"a": entry(), "b": entry()},
    "a gap between": {"a": entry(), "b": entry(place=[5, 9])},
    "a later end than the file's": {"a": entry(shape=[2], place=[0, 8])},
    "an earlier end than the file's": {"a": entry("U8", place=[0, 1])},
    "no tensors, but bytes": {},
    "metadata that are a list": {"__metadata__": [], "a": entry()},
    "metadata that are no texts": {"__metadata__": {"dagan": {}}, "a": entry()},
    "many tensors": {f"{i}": entry("U8", [0], [0, 0]) for i in range(MOST + 1)} | {"a": entry()},
    "a mebibyte of lists": b"[" + b"[]," * (LONGEST // 3 - 1) + b"0]",
    "a mebibyte of mappings": b'{"a":[' + b"{}," * (LONGEST // 3 - 4) + b"0]}",
    "more than a mebibyte": b'{"a":' + b" " * LONGEST + b"1}",
}


READERS = (load_model, read_header, load_network, Lpips.load)


LONG = ("a mebibyte of lists", "a mebibyte of mappings", "many tensors")


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow) if k in LONG else k for k in WRONG])
def test_whatever_a_header_holds_it_is_refused_at_once_and_with_little_memory(kind, tmp_path):
    path = file_of(tmp_path / "m.safetensors", WRONG[kind], bytes(4))
    for reader in READERS:
        began = time.process_time()
        with pytest.raises(BadModel) as refused:
            reader(path)
        assert time.process_time() - began < 1
        assert len(str(refused.value)) < 300 + len(str(path))
        assert "\n" not in str(refused.value)
    tracemalloc.start()
    with opened(path) as file, pytest.raises(ValueError, match=r"^(it|its) "):
        Header.read(file)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10 << 20


def test_the_tensors_of_a_file_with_another_header_are_not_read(tmp_path):
    """A sparse file of nearly a GiB, which would take seconds and all that memory to read."""
    path = tmp_path / "m.safetensors"
    size = 2**30 - 2**20
    header = {"a": entry("U8", [size], [0, size]), "__metadata__": {"dagan": json.dumps({"format": 1, "config": {}})}}
    os.truncate(file_of(path, header), 8 + len(json.dumps(header)) + size)
    tracemalloc.start()
    began = time.process_time()
    for reader in (load_model, load_network):
        with pytest.raises(BadModel):
            reader(path)
    read_header(path)
    assert time.process_time() - began < 2
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_of_a_file_that_is_another_one_by_now_nothing_is_made_up(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(save({"a": torch.ones(100_000)}))
    with opened(path) as file:
        header = Header.read(file)
        os.truncate(path, path.stat().st_size - 100)
        with pytest.raises(ValueError, match="became shorter"):
            header.tensors(file)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(reader, kind, tmp_path):
    with pytest.raises(BadModel) as refused:
        at_once(reader, irregular(tmp_path / "m.safetensors", kind))
    assert refused.value.hint


@pytest.mark.slow
def test_a_mutated_header_declares_what_the_library_reads_or_is_refused(tmp_path):
    """The oracle is the library: what is accepted here, it reads the same."""
    good = save(TENSORS, metadata={"a": "b"})
    length = 8 + int.from_bytes(good[:8], "little")
    chance, path, accepted = random.Random(0), tmp_path / "m.safetensors", 0
    for _ in range(600):
        data = bytearray(good)
        for _ in range(chance.choice((1, 1, 2))):
            data[chance.randrange(length)] = chance.choice(b'0123456789[]{},":FIU\x00 ')
        path.write_bytes(data)
        try:
            with opened(path) as file:
                header = Header.read(file)
                found = header.tensors(file)
        except ValueError:
            continue
        accepted += 1
        theirs = load(bytes(data))
        assert {name: bytes_of(tensor) for name, tensor in found.items()} == {
            name: bytes_of(tensor) for name, tensor in theirs.items()
        }
    assert 0 < accepted < 300


def bytes_of(tensor: torch.Tensor) -> tuple[object, ...]:
    flat = tensor.reshape(-1)
    return tensor.dtype, tensor.shape, flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
