"""What is kept for later runs comes back whole or not at all, and never takes more room than it may."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dagan_cli.engine.cache import Cache, cache_folder

needs_permissions = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)


def cache(folder: Path, most: int = 1000) -> Cache:
    return Cache(folder / "kept", ".blob", most)


def test_what_was_put_is_returned(tmp_path):
    kept = cache(tmp_path)
    assert kept.get("a") is None
    assert kept.put("a", b"content") is None
    assert kept.put("b", b"") is None
    assert (kept.get("a"), kept.get("b")) == (b"content", b"")
    assert sorted(path.name for path in kept.folder.iterdir()) == ["a.blob", "b.blob"]


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"", lambda d: d[1:]])
def test_a_damaged_file_counts_as_missing_and_goes(tmp_path, spoil):
    kept = cache(tmp_path)
    kept.put("a", b"content")
    path = kept.folder / "a.blob"
    path.write_bytes(spoil(path.read_bytes()))
    assert kept.get("a") is None
    assert not path.exists()


def test_a_file_under_the_name_of_another_counts_as_damaged(tmp_path):
    kept = cache(tmp_path)
    kept.put("a", b"content")
    (kept.folder / "a.blob").rename(kept.folder / "b.blob")
    assert kept.get("b") is None
    assert not (kept.folder / "b.blob").exists()


def test_the_least_recently_used_make_room(tmp_path):
    kept = cache(tmp_path, 900)
    for number, name in enumerate("abc"):
        kept.put(name, bytes(200))
        os.utime(kept.folder / f"{name}.blob", (number, number))
    assert kept.get("a") == bytes(200)  # used now
    kept.put("d", bytes(200))
    assert [name for name in "abcd" if kept.get(name) is not None] == ["a", "c", "d"]
    assert kept.size() <= 900
    assert kept.put("large", bytes(1000)) == "it is larger than 0 MiB"


def test_files_of_others_stay(tmp_path):
    kept = cache(tmp_path, 300)
    kept.folder.mkdir()
    (kept.folder / "notes.txt").write_bytes(bytes(900))
    (kept.folder / "a.blob").symlink_to(kept.folder / "notes.txt")
    kept.put("b", bytes(200))
    kept.put("c", bytes(200))
    assert (kept.folder / "notes.txt").stat().st_size == 900
    assert kept.get("c") == bytes(200)


def test_a_folder_that_cannot_be_made_is_a_reason(tmp_path):
    (tmp_path / "kept").write_bytes(b"a file")
    kept = cache(tmp_path)
    assert kept.get("a") is None
    assert "kept" in (kept.put("a", b"content") or "")
    assert kept.size() == 0


@needs_permissions
def test_a_folder_that_cannot_be_written_is_a_reason(tmp_path):
    kept = cache(tmp_path)
    kept.folder.mkdir()
    kept.folder.chmod(0o500)
    assert "permission denied" in (kept.put("a", b"content") or "")
    assert kept.get("a") is None


def test_the_user_s_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("DAGAN_CACHE", "/elsewhere")
    assert cache_folder() == Path("/elsewhere")
    monkeypatch.delenv("DAGAN_CACHE")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/dagan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/dagan"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == tmp_path / "Library/Caches/dagan"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache_folder() == Path("/local/dagan/Cache")
