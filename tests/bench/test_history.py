"""The last result of the same measurement: kept, compared, and never trusted blindly."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from dagan_cli.bench.history import Last, compare
from dagan_cli.version import __version__

WHAT = {"model": "dagan-x4", "order": 1, "size": "128x128", "device": "CPU", "runtime": "torch", "threads": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path))
    return tmp_path / "bench"


def test_the_next_run_meets_the_last_one():
    assert compare(20.0, WHAT) is None
    assert compare(30.0, WHAT) == Last(date.today().isoformat(), __version__, 20.0)
    last = compare(33.0, WHAT)
    assert last is not None
    assert last.rate == 30.0
    assert last.compared(33.0) == f"last time ({date.today()}, dagan {__version__}): now 1.10 times as fast"


@pytest.mark.parametrize("name", WHAT)
def test_only_the_same_is_compared(name):
    compare(20.0, WHAT)
    assert compare(20.0, WHAT | {name: "another"}) is None


def test_what_was_measured_on_a_busy_machine_is_not_kept(folder):
    compare(20.0, WHAT, keep=False)
    assert not folder.exists()


@pytest.mark.parametrize("content", [b"", b"{}", b"nonsense", b'{"day": "d", "dagan": "1", "rate": 0}'])
def test_a_damaged_file_counts_as_missing(folder, content):
    compare(20.0, WHAT)
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert compare(20.0, WHAT) is None
    assert compare(20.0, WHAT) is not None


def test_a_whole_file_without_sense_counts_as_missing(folder, monkeypatch):
    monkeypatch.setattr(json, "dumps", lambda *_, **__: '["no result"]')
    compare(20.0, WHAT)
    assert compare(20.0, WHAT) is None


def test_a_folder_that_cannot_be_written_costs_only_the_comparison(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path / "file"))
    assert compare(20.0, WHAT) is None
    assert compare(20.0, WHAT) is None
