"""Large and endless lists of folders: read once, in little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.store import Listed
from dagan_cli.upscale.remote.sources import Entry, find


class Folder:
    """A store whose folder holds these files."""

    def __init__(self, files: Iterator[Listed]) -> None:
        self._files = files

    def names(self, folder: Address, *, recursive: bool, prefix: str = "") -> Iterator[Listed]:
        yield from self._files


def request(**options: Any) -> Any:
    plain = {"inputs": ("s3://in/x/",), "output": "s3://out/", "recursive": True, "include": (), "exclude": ()}
    return SimpleNamespace(**plain, shard=None, **options)


def found(files: Iterator[Listed]) -> Any:
    stores: Any = SimpleNamespace(of=lambda _: Folder(files))
    return find(request(template=None), stores, lambda: False)


def test_names_that_could_share_a_result_are_a_family_wherever_they_are_in_the_list():
    names = ("b.png", "a.png", "A.jpg", "x/a.png", "a.b.png", "a_x2.png", "c_x2.png")
    inputs = found(Listed(name, 1) for name in names)
    families = [[entry.relative for entry in family] for family in inputs.families()]
    assert families == [["A.jpg", "a.png"], ["a.b.png"], ["a_x2.png"], ["b.png"], ["c_x2.png"], ["x/a.png"]]
    entries = {entry.relative: entry for family in inputs.families() for entry in family}
    assert {name for name, entry in entries.items() if inputs.has_source(entry, request(template=None))} == {"a_x2.png"}


@pytest.mark.slow
def test_many_files_take_little_memory_and_others_are_only_counted():
    inputs: Any = None
    sizes: list[tuple[int, int]] = []
    for _ in range(2):  # Python's own tables, such as that of interned names, may grow in one of them
        inputs = None
        tracemalloc.start()
        inputs = found(Listed(f"{n // 100:03d}/{n:08d}.{'png' if n % 2 else 'json'}", 1000) for n in range(8000))
        sizes.append(tracemalloc.get_traced_memory())
        tracemalloc.stop()
    size, peak = min(sizes)
    assert len(inputs) == 4000
    assert inputs.reasons() == "4000 neither an image nor a video by its name"
    assert len(inputs.skipped) == 1000
    assert size < 3e6
    assert peak < 6e6
    assert isinstance(inputs.blocks[0][0], Entry)


def test_a_list_without_an_end_is_given_up(monkeypatch):
    monkeypatch.setattr("dagan_cli.upscale.remote.sources._MOST", 1000)

    def endless() -> Iterator[Listed]:
        number = 0
        while True:
            yield Listed(f"{(number := number + 1)}.json", 1)

    inputs = found(endless())
    ((_, error),) = inputs.failed
    assert str(error) == "cannot read s3://in/x: it holds more than 1,000 files"
