"""A PyTorch file is read without running its code, with no more memory than it is long, and never waits."""

from __future__ import annotations

import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

from dagan_cli.errors import BadModel
from dagan_cli.model.pickles import LONGEST, mapping_in, unpickle
from tests.support.irregular import KINDS, at_once, irregular


def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refused(path: Path) -> str:
    """Its error, which says nothing of torch's; the time and memory are those of a short look."""
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(BadModel) as caught:
        unpickle(path)
    took, most = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 1
    assert most < 100 << 20
    text = f"{caught.value} {caught.value.hint}"
    assert "\n" not in text
    assert "weights_only" not in text
    assert "torch.load" not in text
    return text


def test_a_state_dict_comes_back(tmp_path):
    torch.save({"a": torch.ones(3), "b": [1, 2.0, "c"]}, tmp_path / "a.pt")
    found = unpickle(tmp_path / "a.pt")
    assert torch.equal(found["a"], torch.ones(3))
    assert found["b"] == [1, 2.0, "c"]


def test_parts_that_overlap_are_refused_unread(tmp_path):
    """A list that names the part with the tensor twice; with a thousand times, a file of 8 MB would take 8 GB."""
    path = tmp_path / "a.pt"
    torch.save({"a": torch.zeros(2**21)}, path)
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    start, size = (int.from_bytes(data[end + at : end + at + 4], "little") for at in (16, 12))
    entries = b"PK\1\2" + data[start : start + size].split(b"PK\1\2")[-3] + data[start : start + size]
    count = (1 + int.from_bytes(data[end + 10 : end + 12], "little")).to_bytes(2, "little")
    tail = data[end : end + 8] + count * 2 + len(entries).to_bytes(4, "little") + start.to_bytes(4, "little") + b"\0\0"
    path.write_bytes(data[:start] + entries + tail)
    with zipfile.ZipFile(path) as archive:
        assert sum(part.file_size for part in archive.infolist()) > path.stat().st_size
    assert "unpacks to more" in refused(path)


def test_a_long_pickle_is_refused_unread(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({}, path)
    parts = parts_of(path)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, b"\x80\x02](" + b"}" * LONGEST + b"e." if name.endswith("data.pkl") else data)
    assert "more than weights" in refused(path)


def test_a_long_list_of_parts_is_refused_unread(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({}, path)
    with zipfile.ZipFile(path, "a") as archive:
        for i in range(200):
            archive.writestr(zipfile.ZipInfo(f"{i}" + "x" * 30_000), b"")
    assert "list of parts" in refused(path)


@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_are_opened(kind, tmp_path):
    assert "cannot read" in at_once(refused, irregular(tmp_path / "a.pt", kind))


def test_a_read_error_is_not_taken_for_damage(tmp_path, monkeypatch):
    torch.save({}, tmp_path / "a.pt")

    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(torch, "load", broken)
    with (tmp_path / "a.pt").open("rb") as file, pytest.raises(OSError, match="Input"):
        mapping_in(file, tmp_path / "a.pt")
