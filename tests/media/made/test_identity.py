"""A source is known by its content: copies are the same source, and a change anywhere in a small file is another."""

from __future__ import annotations

import os
import shutil

import pytest

from dagan_cli.media.made.identity import identity_of

MIB = 1 << 20


def test_a_copy_under_another_name_and_time_is_the_same_source(tmp_path):
    (tmp_path / "a").write_bytes(b"pixels")
    shutil.copyfile(tmp_path / "a", tmp_path / "b")
    os.utime(tmp_path / "b", (1, 1))
    assert identity_of(tmp_path / "a") == identity_of(tmp_path / "b") == identity_of(b"pixels")


@pytest.mark.parametrize("content", [b"pixelt", b"pixels ", b""])
def test_another_byte_or_length_is_another_source(content):
    assert identity_of(content) != identity_of(b"pixels")


@pytest.mark.parametrize("place", [0, 9 * MIB + 5, 16 * MIB - 1])
def test_up_to_16_mib_every_byte_counts(place):
    content = bytearray(16 * MIB)
    before = identity_of(bytes(content))
    content[place] = 1
    assert identity_of(bytes(content)) != before


@pytest.mark.parametrize("place", [0, MIB - 1, 20_000 * MIB, 40_000 * MIB - 1, 40_000 * MIB - MIB])
def test_of_a_long_file_blocks_from_the_first_to_the_last_are_read_and_no_more(tmp_path, place, monkeypatch):
    path = tmp_path / "film"
    with open(path, "wb") as file:
        file.truncate(40_000 * MIB)  # 39 GiB of nothing: reading it all would take longer than the test may
    before = identity_of(path)
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(b"\1" * 64)
    changed = identity_of(path) != before
    assert changed == (place != 20_000 * MIB)  # between two blocks
    assert identity_of(path).startswith(f"{path.stat().st_size}-")
