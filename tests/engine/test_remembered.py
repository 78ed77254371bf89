"""Measurements that are kept for later runs: found again, and of no harm whatever the cache holds."""

from __future__ import annotations

import json
import math
import os
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from dagan_cli.engine.cache import Cache
from dagan_cli.engine.measuring.reach import Reach
from dagan_cli.engine.measuring.remembered import MOST_KEPT, remembered
from dagan_cli.model.footprint import Footprint

OF = {"network": "abc, spandrel 1", "device": "cpu", "dtype": torch.float32, "multiple": 4, "smallest": 1}
COST = Footprint(1234.5, 6e6, 7.5)
REACH = Reach(16, 8)


class Measured:
    """A measurement that counts how often it is made."""

    def __init__(self, found):
        self.found = found
        self.times = 0

    def __call__(self):
        self.times += 1
        return self.found


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "measured"


@pytest.mark.parametrize("found", [COST, REACH, Reach(None, 4)], ids=repr)
def test_a_measurement_is_made_once(folder, found):
    measured = Measured(found)
    assert [remembered(type(found), OF, measured) for _ in range(3)] == [found] * 3
    assert measured.times == 1
    (file,) = folder.iterdir()
    assert file.stat().st_size < 1000


@pytest.mark.parametrize("name", OF)
def test_it_is_made_again_for_anything_else_that_it_depends_on(folder, name):
    remembered(Footprint, OF, Measured(COST))
    assert remembered(Footprint, OF | {name: 2}, Measured(Footprint(1.0))) == Footprint(1.0)


def test_a_network_without_a_name_is_measured_each_time(folder):
    measured = Measured(COST)
    assert [remembered(Footprint, None, measured) for _ in range(2)] == [COST] * 2
    assert measured.times == 2
    assert not folder.exists()


def test_another_version_of_torch_may_need_other_memory(folder, monkeypatch):
    remembered(Footprint, OF, Measured(COST))
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert remembered(Footprint, OF, Measured(Footprint(1.0))) == Footprint(1.0)


@pytest.mark.parametrize("found", [None, Footprint(math.inf)], ids=repr)
def test_nothing_is_kept_when_memory_ran_out(folder, found):
    measured = Measured(found)
    for _ in range(2):
        assert remembered(Footprint, OF, measured) == found
    assert measured.times == 2


def kept_values(folder: Path, change) -> None:
    """Change what was kept, under a valid digest, as whoever can write the cache could."""
    (file,) = folder.iterdir()
    cache = Cache(folder, ".json", MOST_KEPT)
    content = json.loads(cache.get(file.stem) or b"")
    assert cache.put(file.stem, change(content)) is None


@pytest.mark.parametrize(
    "values",
    [
        {"rim": -1, "grid": 8},
        {"rim": 10**9, "grid": 8},
        {"rim": 16.5, "grid": 8},
        {"rim": True, "grid": 8},
        {"rim": 16, "grid": 0},
        {"rim": 16, "grid": 6},  # no multiple of 4, which the network needs
        {"rim": 16, "grid": 10**9},
        {"rim": 16, "grid": "8"},
        {"rim": 16},
        {"rim": 16, "grid": 8, "more": 1},
        [16, 8],
        None,
    ],
    ids=repr,
)
def test_a_reach_that_cannot_be_is_measured_again(folder, values):
    remembered(Reach, OF, Measured(REACH))
    kept_values(folder, lambda content: json.dumps(content | {"values": values}).encode())
    measured = Measured(REACH)
    assert remembered(Reach, OF, measured) == REACH
    assert measured.times == 1


@pytest.mark.parametrize("cost", [0, -1.0, "12", None, True, float("inf"), float("nan"), [1]], ids=repr)
def test_costs_that_cannot_be_are_measured_again(folder, cost):
    remembered(Footprint, OF, Measured(COST))

    def changed(content):
        content["values"]["bytes_per_pixel"] = cost
        return json.dumps(content).encode()

    kept_values(folder, changed)
    assert remembered(Footprint, OF, Measured(COST)) == COST


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"of": 1, "values": 2}', b"9" * 5000]
)
def test_content_of_any_other_kind_is_ignored_and_replaced(folder, content):
    remembered(Footprint, OF, Measured(COST))
    kept_values(folder, lambda _: content)
    measured = Measured(COST)
    for _ in range(2):
        assert remembered(Footprint, OF, measured) == COST
    assert measured.times == 1


def test_a_measurement_of_another_network_under_its_name_is_ignored(folder):
    remembered(Footprint, OF, Measured(COST))
    kept_values(folder, lambda content: json.dumps(content | {"of": content["of"] | {"network": "other"}}).encode())
    assert remembered(Footprint, OF, Measured(Footprint(1.0))) == Footprint(1.0)


@pytest.mark.parametrize("spoil", [lambda data: data[:-3], lambda data: data[:60] + b"!" + data[61:], lambda _: b""])
def test_a_damaged_file_is_ignored_and_replaced(folder, spoil):
    remembered(Footprint, OF, Measured(COST))
    (file,) = folder.iterdir()
    before = sha256(file.read_bytes()).digest()
    file.write_bytes(spoil(file.read_bytes()))
    assert remembered(Footprint, OF, Measured(COST)) == COST
    assert sha256(file.read_bytes()).digest() == before


@pytest.mark.parametrize("cache", [os.devnull, "file"])
def test_a_cache_that_cannot_be_written_only_means_measuring_again(tmp_path, monkeypatch, cache):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path / cache))
    measured = Measured(COST)
    assert [remembered(Footprint, OF, measured) for _ in range(2)] == [COST] * 2
    assert measured.times == 2
