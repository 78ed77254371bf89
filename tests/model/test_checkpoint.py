"""A model's file is read whole and right, or refused with advice; it never runs code."""

from __future__ import annotations

import json
import os
import pickle
import random
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from dagan_cli.errors import BadModel
from dagan_cli.model.checkpoint import load_model, save_model
from dagan_cli.model.config import GeneratorConfig
from dagan_cli.model.file import read_header
from dagan_cli.model.generator import Generator

CONFIG = GeneratorConfig(scale=2, blocks=1, channels=8, growth=4, layers=1, reduction=4)
FACTS = {"data": "generated", "licence": "MIT", "iterations": 20, "metrics": {"Set5": 31.25}, "orders": [1, 2]}


@pytest.fixture
def generator() -> Generator:
    return Generator(CONFIG)


@pytest.fixture
def good(generator) -> bytes:
    return save_model(generator, FACTS)


def refused(path: Path, **how: Any) -> BadModel:
    """The error that reading the file ends in, which must be one a user can act on."""
    with pytest.raises(BadModel) as caught:
        load_model(path, **how)
    assert caught.value.exit_code == 4
    assert caught.value.hint
    assert "\n" not in f"{caught.value}{caught.value.hint}"
    return caught.value


def saved(folder: Path, data: bytes, name: str = "m.safetensors") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def header_of(data: bytes) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["dagan"])


def with_header(data: bytes, header: dict[str, Any]) -> bytes:
    """The same tensors under another header."""
    return save(load(data), metadata={"dagan": json.dumps(header)})


def test_a_model_comes_back_as_it_was_saved(generator, good, tmp_path):
    model = load_model(saved(tmp_path, good))
    assert model.generator.config == CONFIG
    assert model.provenance == FACTS
    assert model.sha256 == sha256(good).hexdigest()
    before, after = generator.state_dict(), model.generator.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not model.generator.training
    assert not any(p.requires_grad for p in model.generator.parameters())


def test_the_header_can_be_read_alone(good, tmp_path):
    header = read_header(saved(tmp_path, good))
    assert header["provenance"] == FACTS
    assert GeneratorConfig.from_dict(header["config"]) == CONFIG


def test_saving_twice_gives_the_same_bytes(generator, good):
    assert save_model(generator, FACTS) == good
    assert save_model(generator.to(memory_format=torch.channels_last), dict(reversed(FACTS.items()))) == good  # type: ignore[call-overload]
    assert save_model(Generator(CONFIG), FACTS) != good


def test_half_precision_weights_come_back_as_their_nearest_half(generator, good, tmp_path):
    data = save_model(generator, FACTS, half=True)
    assert len(data) < 0.75 * len(good)
    after = load_model(saved(tmp_path, data)).generator.state_dict()
    for name, tensor in generator.state_dict().items():
        assert after[name].dtype == torch.float32
        expected = tensor.half().float() if tensor.ndim > 1 else tensor  # biases and constants stay whole
        assert torch.equal(after[name], expected), name


def test_the_expected_sha256_is_demanded(good, tmp_path):
    path = saved(tmp_path, good)
    assert load_model(path, sha256(good).hexdigest()).sha256 == sha256(good).hexdigest()
    assert "sha256" in str(refused(path, expected="0" * 64))


@pytest.mark.slow
def test_a_truncated_file_is_refused_wherever_it_ends(good, tmp_path):
    size = int.from_bytes(good[:8], "little")
    for length in (0, 1, 7, 8, 9, 100, size, size + 7, size + 8, size + 9, (size + len(good)) // 2, len(good) - 1):
        refused(saved(tmp_path, good[:length]))
    refused(saved(tmp_path, good + b"\0"))


@pytest.mark.slow
def test_any_flipped_bit_is_found(good, tmp_path):
    size = 8 + int.from_bytes(good[:8], "little")
    chance = random.Random(0)
    places = [*range(8), *chance.sample(range(8, size), 500), *chance.sample(range(size, len(good)), 150)]
    for place in places:
        damaged = bytearray(good)
        damaged[place] ^= 1 << chance.randrange(8)
        refused(saved(tmp_path, bytes(damaged)))


def test_a_changed_word_of_the_provenance_is_found(good, tmp_path):
    for old, new in ((b"31.25", b"38.25"), (b"generated", b"negerated"), (b"provenance", b"provenence")):
        assert old in good
        refused(saved(tmp_path, good.replace(old, new)))


def digest_without_provenance(tensors: dict[str, Tensor], config: dict[str, Any]) -> str:
    """A checksum that leaves the provenance out."""
    digest = sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}\n".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def test_a_checksum_that_leaves_the_provenance_out_is_refused(good, tmp_path):
    header = header_of(good)
    partial = header | {"digest": digest_without_provenance(load(good), header["config"])}
    refused(saved(tmp_path, with_header(good, partial)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("sfe1.weight"), "sfe1.weight"),
        (lambda t: t.update(extra=torch.zeros(3)), "extra"),
        (lambda t: t.update({"sfe1.bias": torch.zeros(9)}), "sfe1.bias"),
        (lambda t: t.update({"sfe1.bias": torch.zeros(2, 4)}), "sfe1.bias"),
        (lambda t: t["sfe2.weight"].view(-1)[5:6].fill_(float("nan")), "sfe2.weight"),
        (lambda t: t["fusion2.bias"][:1].fill_(float("inf")), "fusion2.bias"),
        (lambda t: t.clear(), "tensors"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(change, says, generator, tmp_path, monkeypatch):
    tensors = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    change(tensors)
    monkeypatch.setattr(generator, "state_dict", lambda: tensors)  # so that the checksum is right
    assert says in str(refused(saved(tmp_path, save_model(generator, FACTS))))


@pytest.mark.parametrize("change", [{"channels": 16}, {"scale": 4}, {"attention": "none"}, {"solver": "rk4"}])
def test_weights_of_another_architecture_are_refused(change, generator, tmp_path):
    generator.config = replace(CONFIG, **change)
    refused(saved(tmp_path, save_model(generator, FACTS)))


def test_a_configuration_far_larger_than_its_tensors_is_refused_before_it_is_built(generator, tmp_path):
    generator.config = replace(CONFIG, blocks=4096, layers=4)
    assert "too few" in str(refused(saved(tmp_path, save_model(generator, FACTS))))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"format": None},
        {"digest": None},
        {"digest": ["a"]},
        {"config": None},
        {"config": {"scale": 5}},
        {"config": {"depth": 8}},
        {"config": {"scale": "2"}},
        {"config": {"temperature": float("nan")}},
        {"config": {"orders": [[1]]}},
        {"provenance": 5},
    ],
    ids=repr,
)
def test_an_impossible_header_is_refused(change, good, tmp_path):
    refused(saved(tmp_path, with_header(good, header_of(good) | change)))


def with_facts(data: bytes, **changes: Any) -> bytes:
    """The same tensors under a header with other facts, and a checksum that is right for them."""
    header = header_of(data) | changes
    facts = json.dumps({name: header[name] for name in ("config", "provenance")}, sort_keys=True)
    digest = sha256(facts.encode())
    for name, tensor in sorted(load(data).items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return with_header(data, header | {"digest": digest.hexdigest()})


@pytest.mark.parametrize("provenance", [5, [1], "x", True, {"a": json.loads("[" * 100 + "]" * 100)}], ids=repr)
def test_a_provenance_that_is_none_is_refused_under_a_right_checksum_too(provenance, good, tmp_path):
    assert load_model(saved(tmp_path, with_facts(good, provenance={"a": 1}))).provenance == {"a": 1}
    refused(saved(tmp_path, with_facts(good, provenance=provenance)))


@pytest.mark.parametrize("name", ["scale", "blocks", "solver", "unheard", "orders", "temperature"])
@pytest.mark.parametrize("value", ["x" * 100_000, -1, 10**300, float("nan"), [["a"] * 1000], {"a": {}}], ids=range(6))
def test_a_config_of_impossible_values_is_refused_in_few_words(name, value, good, tmp_path):
    error = refused(saved(tmp_path, with_facts(good, config=header_of(good)["config"] | {name: value})))
    assert len(f"{error}{error.hint}") < 600 + len(str(tmp_path))


def test_a_config_of_many_parts_needs_as_many_tensors_before_it_is_built(tmp_path):
    config = json.loads(json.dumps(replace(CONFIG, blocks=4096, channels=4, reduction=1, block="residual").to_dict()))
    header = {"format": 1, "config": config, "provenance": {}}
    data = save({"a": torch.zeros(4096 * 9 * 32 + 9 * 16)}, metadata={"dagan": json.dumps(header)})
    began = time.process_time()
    assert "too few" in str(refused(saved(tmp_path, data)))
    assert time.process_time() - began < 1


def test_a_wrong_type_of_tensor_is_refused(good, tmp_path):
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load(good).items()}
    refused(saved(tmp_path, save(tensors, metadata={"dagan": json.dumps(header_of(good))})))


def test_a_safetensors_file_of_something_else_is_refused(tmp_path):
    for metadata in (None, {"format": "pt"}, {"dagan": "{"}, {"dagan": "[]"}, {"dagan": "[" * 100_000}):
        error = refused(saved(tmp_path, save({"weight": torch.zeros(4)}, metadata=metadata)))
        assert "not a dagan model" in str(error) or "header" in str(error)


def test_a_file_that_claims_a_huge_header_is_refused(good, tmp_path):
    for size in (len(good), 99_999_999, 2**40, 2**63, 2**64 - 1):
        refused(saved(tmp_path, size.to_bytes(8, "little") + good[8:]))


def test_a_file_larger_than_any_model_is_not_read(tmp_path):
    path = tmp_path / "huge.safetensors"
    path.touch()
    os.truncate(path, 2**40)  # sparse: it takes no room
    assert "larger" in str(refused(path))


def test_what_is_not_a_file_is_refused(tmp_path):
    assert "no such file" in str(refused(tmp_path / "missing.safetensors"))
    assert "directory" in str(refused(tmp_path))
    refused(tmp_path / "missing.pth")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("name", ["m.pth", "m.pt", "m.ckpt", "m.bin", "m.PTH", "m.safetensors", "m"])
def test_a_pickle_is_refused_unread_under_any_name(name, tmp_path):
    went_off = tmp_path / "went-off"
    data = pickle.dumps({"weight": Bomb(went_off)})
    error = refused(saved(tmp_path, data, name))
    assert not went_off.exists()
    if name.lower() not in ("m", "m.safetensors"):
        assert "dagan models convert" in error.hint
    pickle.loads(data)
    assert went_off.exists()  # the bomb was a real one


def test_a_torch_file_renamed_is_refused_unread(tmp_path):
    went_off = tmp_path / "went-off"
    path = tmp_path / "m.safetensors"
    torch.save({"weight": torch.zeros(3), "bomb": Bomb(went_off)}, path)
    refused(path)
    assert not went_off.exists()
