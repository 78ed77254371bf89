"""Images that are mapped from a packed file give the batches of those in memory, and no other file is taken for one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dagan_cli.commands.app import run_command
from dagan_cli.errors import BadOption, CannotWrite, NoInput, OutOfMemory
from tests.support.irregular import KINDS, at_once, irregular
from tests.trainer.data.test_samples import batch_of, noise, write
from tests.trainer.data.test_teaching import pool, taught
from tests.trainer.test_loop import CONFIG, equal, run
from trainer.data import samples
from trainer.data.packed import packed
from trainer.data.samples import Pictures, load_pictures
from trainer.data.teaching import load_pairs, with_targets
from trainer.state import load_state


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of three images, of which one is small, and of a damaged file."""
    for name, (height, width) in {"b.png": (41, 50), "deep/a.webp": (60, 33), "small.png": (9, 80)}.items():
        write(tmp_path / "data" / name, noise(height, width, seed=width))
    (tmp_path / "data" / "bad.jpg").write_text("no image")
    return tmp_path / "data"


@pytest.fixture
def pack(data: Path, tmp_path: Path) -> Path:
    """The packed file of these images."""
    load_pictures([data], 16, tmp_path / "images.pack")
    return tmp_path / "images.pack"


def refused(data: Path, pack: Path) -> str:
    """The error, whose packed file and its neighbours are left as they are."""
    before = {path: path.read_bytes() for path in pack.parent.iterdir() if path.is_file()}
    with pytest.raises(BadOption, match=f"--pack {pack}") as caught:
        load_pictures([data], 16, pack)
    assert {path: path.read_bytes() for path in pack.parent.iterdir() if path.is_file()} == before
    return str(caught.value)


def parts(pack: Path) -> tuple[bytes, bytes, list[Any]]:
    """Its header without the position, its pixels and its index, by the description of the file alone."""
    content = pack.read_bytes()
    end = int.from_bytes(content[16:24], "little")
    return content[:16], content[24:end], json.loads(content[end:])


def rewrite(pack: Path, index: Any) -> None:
    magic, pixels, _ = parts(pack)
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    pack.write_bytes(magic + (24 + len(pixels)).to_bytes(8, "little") + pixels + text)


def test_packed_images_are_those_in_memory_and_give_equal_batches(data, tmp_path):
    held = load_pictures([data, data / "b.png"], 16)
    for _ in range(2):  # as the file is made, and as it is found
        found = load_pictures([data, data / "b.png"], 16, tmp_path / "images.pack")
        assert (found.names, found.paths, found.skipped) == (held.names, held.paths, held.skipped)
        assert [np.array_equal(a, b) for a, b in zip(found.pixels, held.pixels, strict=True)] == [True] * 3
        assert found.fingerprint == held.fingerprint
        for sampling in ("detailed", "uniform"):
            for a, b in zip(*(batch_of(each, augment=True, sampling=sampling) for each in (found, held)), strict=True):
                assert torch.equal(a, b)


def test_packed_images_are_mapped_read_only_and_not_copied(data, pack):
    found = load_pictures([data], 16, pack)
    assert not any(pixels.flags.owndata or pixels.flags.writeable for pixels in found.pixels)
    with open(pack, "r+b") as file:
        file.seek(24)
        file.write(bytes([found.pixels[0].flat[0] ^ 255]))
        file.flush()
        assert found.pixels[0].flat[0] == parts(pack)[1][0]


def test_a_file_that_exists_is_used_without_decoding_and_for_any_size(data, pack, monkeypatch):
    (data.parent / "moved").mkdir()
    moved = data.rename(data.parent / "moved" / "data")
    monkeypatch.setattr(samples, "_read", lambda path: pytest.fail(f"{path} is decoded again"))
    assert load_pictures([moved], 16, pack).names == ["b.png", "a.webp"]
    assert load_pictures([moved], 8, pack).names == ["b.png", "a.webp", "small.png"]
    assert load_pictures([moved], 40, pack).names == ["b.png"]


def test_the_file_has_the_pixels_of_one_image_after_the_other_and_then_their_index(data, pack):
    magic, pixels, index = parts(pack)
    assert magic == b"dagan images 1\n\0"
    names = ["b.png", "bad.jpg", "deep/a.webp", "small.png"]
    facts = [[name, (data / name).stat().st_size, (data / name).stat().st_mtime_ns] for name in names]
    assert [entry[:3] for entry in index] == facts
    assert [entry[3:] for entry in index] == [[41, 50], ["cannot be read (UnidentifiedImageError)"], [60, 33], [9, 80]]
    decoded = [np.array(Image.open(data / name).convert("RGB")).tobytes() for name in (names[0], *names[2:])]
    assert pixels == b"".join(decoded)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda f: (f / "b.png").unlink(), "b.png is missing"),
        (lambda f: write(f / "deep/c.png", noise(50, 50)), "deep/c.png is new"),
        (lambda f: os.utime(f / "b.png", ns=(0, 1)), "b.png has changed since"),
        (lambda f: (f / "bad.jpg").write_text("still no image"), "bad.jpg has changed since"),
    ],
)
def test_a_file_of_other_images_is_refused(change: Callable[[Path], Any], what, data, pack):
    change(data)
    assert f"made from other images: {what}" in refused(data, pack)


def test_the_order_of_the_folders_matters(data, pack):
    load_pictures([data / "deep", data / "b.png"], 16, two := pack.with_name("two"))
    with pytest.raises(BadOption, match="their order has changed"):
        load_pictures([data / "b.png", data / "deep"], 16, two)


@pytest.mark.parametrize("content", [b"", b"P6 4 4 255\n", b"dagan images 2\n\0" + bytes(100), b"dagan images 1\n\0"])
def test_another_file_is_refused_and_left_alone(content, data, tmp_path):
    (tmp_path / "images.pack").write_bytes(content)
    assert "is not a file of packed images" in refused(data, tmp_path / "images.pack")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_and_never_waited_for(kind, data, tmp_path):
    irregular(tmp_path / "images.pack", kind)
    with pytest.raises(BadOption, match="cannot read --pack"):
        at_once(load_pictures, [data], 16, tmp_path / "images.pack")


def test_a_truncated_file_is_refused_wherever_it_ends(data, pack):
    whole = pack.read_bytes()
    for length in (24, 1000, len(parts(pack)[1]) + 24, len(whole) - 1):
        pack.write_bytes(whole[:length])
        assert "is damaged" in refused(data, pack)
    pack.write_bytes(whole + b"]")
    assert "is damaged" in refused(data, pack)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry[:3],
        lambda entry: [*entry, 3],
        lambda entry: [*entry[:3], 82, 25.0],
        lambda entry: [*entry[:3], -41, -50],
        lambda entry: [*entry[:3], 0, 50],
        lambda entry: [*entry[:3], 41, 51],
        lambda entry: [*entry[:3], 41, 49],
        lambda entry: [*entry[:3], 2**62, 2**62],
        lambda entry: [*entry[:3], True, 2050],
        lambda entry: [*entry[:3], None],
        lambda entry: [None, *entry[1:]],
        lambda entry: {"name": entry[0]},
    ],
)
def test_an_index_that_does_not_fit_the_pixels_is_refused(change: Callable[[list[Any]], Any], data, pack):
    first, *others = parts(pack)[2]
    rewrite(pack, [change(first), *others])
    assert "is damaged" in refused(data, pack)


@pytest.mark.parametrize("index", [b"", b"[" * 10**5, b"{}", b"\xff\xff", b"1" * 10**4, b"[]"])
def test_what_is_no_index_is_refused(index, data, pack):
    rewrite(pack, index)
    assert "is damaged" in refused(data, pack)


def test_an_index_outside_the_file_or_longer_than_any_is_not_read(data, pack, monkeypatch):
    whole = pack.read_bytes()
    for end in (0, 23, len(whole) + 1, 2**64 - 1):
        pack.write_bytes(whole[:16] + end.to_bytes(8, "little") + whole[24:])
        assert "is damaged" in refused(data, pack)
    pack.write_bytes(whole)
    os.truncate(pack, 2**27)  # sparse: it takes no room
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail(f"{len(text)} bytes are parsed"))
    with pytest.raises(BadOption, match="is damaged"):
        load_pictures([data], 16, pack)


def test_packing_that_fails_leaves_no_file(data, tmp_path):
    def read(path: Path) -> np.ndarray:
        if path.name == "2":
            raise MemoryError
        return noise(20, 20)

    for i in range(4):
        (tmp_path / str(i)).touch()
    before = set(tmp_path.iterdir())
    with pytest.raises(MemoryError):
        packed(tmp_path / "images.pack", [(tmp_path / str(i), str(i)) for i in range(4)], read)
    assert set(tmp_path.iterdir()) == before


def test_few_decoded_images_wait_to_be_written(tmp_path):
    alive, most, lock = 0, 0, threading.Lock()

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= self.base is None

    def read(path: Path) -> np.ndarray:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return Counted((16, 16, 3), np.uint8)

    (tmp_path / "image").touch()
    found = packed(tmp_path / "images.pack", [(tmp_path / "image", str(i)) for i in range(200)], read)
    assert len(found) == 200
    assert 1 <= most < 20


def test_those_that_start_together_pack_once_and_share_the_file(data, tmp_path):
    decoded, found = [], []

    def read(path: Path) -> np.ndarray:
        decoded.append(path)
        return noise(20, 20)

    def ask() -> None:
        found.append(packed(tmp_path / "images.pack", [(data / "b.png", "b.png")], read))

    together = [threading.Thread(target=ask) for _ in range(3)]
    for each in together:
        each.start()
    for each in together:
        each.join()
    assert decoded == [data / "b.png"]
    assert [np.array_equal(one[0], noise(20, 20)) for one in found] == [True] * 3


def test_a_folder_without_images_leaves_no_file(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(NoInput):
        load_pictures([tmp_path / "data"], 16, tmp_path / "images.pack")
    assert not (tmp_path / "images.pack").exists()


def test_a_file_that_cannot_be_written_is_an_error(data, tmp_path):
    with pytest.raises(CannotWrite):
        load_pictures([data], 16, data / "b.png" / "images.pack")


def test_images_beyond_the_free_memory_are_refused_before_any_is_decoded(data, tmp_path, monkeypatch):
    kept = 3 * (41 * 50 + 60 * 33)  # bytes; the others are too small, and damaged
    monkeypatch.setattr(samples, "free_host_memory", lambda: kept * 4 // 3 + 1)
    held = load_pictures([data], 16)
    monkeypatch.setattr(samples, "free_host_memory", lambda: kept * 4 // 3 - 4)
    assert load_pictures([data], 16, tmp_path / "images.pack").fingerprint == held.fingerprint
    monkeypatch.setattr(samples, "_read", lambda path: pytest.fail(f"{path} is decoded"))
    with pytest.raises(OutOfMemory, match="4 images take") as caught:
        load_pictures([data], 16)
    assert "--pack" in caught.value.hint


def same(a: Pictures, b: Pictures) -> bool:
    batches = zip(batch_of(a, augment=True), batch_of(b, augment=True), strict=True)
    return a.fingerprint == b.fingerprint and all(torch.equal(x, y) for x, y in batches)


def test_targets_and_pairs_are_packed_next_to_it(tmp_path):
    taught(tmp_path, noise(50, 40), noise(48, 60, seed=1))
    pack = tmp_path / "taught.pack"
    held = with_targets(load_pictures([tmp_path / "data"], 16), tmp_path / "targets")
    for _ in range(2):
        found = with_targets(load_pictures([tmp_path / "data"], 16, pack), tmp_path / "targets", pack)
        assert same(found, held)
        assert not any(pixels.flags.owndata for pixels in found.targets or [])
    pairs, pack = pool(tmp_path / "pool", noise(20, 24)), tmp_path / "pairs.pack"
    assert same(load_pairs(pairs, 2, 16, pack), load_pairs(pairs, 2, 16))
    names = ["pairs.pack", "pairs.pack.lr", "pairs.pack.target", "taught.pack", "taught.pack.target"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == names


@pytest.mark.slow
def test_a_run_continues_with_and_without_the_file_as_one_that_never_stopped(data, tmp_path):
    config = replace(CONFIG, iterations=4)
    write(data / "c.png", noise(100, 90))
    run(config, data, tmp_path / "held")
    run(config, data, tmp_path / "run", 2, pack=tmp_path / "images.pack")
    run(config, data, tmp_path / "run", 1)
    run(config, data, tmp_path / "run", pack=tmp_path / "images.pack")
    assert equal(load_state(tmp_path / "run"), load_state(tmp_path / "held"))


@pytest.mark.slow
def test_the_command_lines_take_the_file_but_not_among_images_nor_in_place_of_a_run_s(data, tmp_path, capsys):
    write(data / "c.png", noise(100, 90))
    where = ["--data", str(data), "--run", str(tmp_path / "run")]
    train = ["train", "--preset", "smoke", "--set", "iterations=1", "--progress", "none", *where]
    paper = ["train", "paper", "E9", "--size", "small", "--val", str(data / "b.png"), *where]
    for name in (data / "x.pack", data / "deep/x.pack", data / "b.png"):
        for command in (train, paper):
            assert run_command([*command, "--pack", str(name)]) == 2
            assert f"--pack {name} is in --data {data}" in capsys.readouterr().err
    for name in ("model.safetensors", "checkpoints/x.pack", "state.pt"):
        assert run_command([*train, "--pack", str(tmp_path / "run" / name)]) == 2
        assert "is a file that the run itself writes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run_command([*train, "--pack", str(tmp_path / "new" / "x.pack")]) == 0
    assert (tmp_path / "new" / "x.pack").exists()
