"""Shards of a folder: each input is of exactly one, whatever the machine and the order, and none is done twice."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.upscale import batch
from dagan_cli.upscale.inputs.shard import Shard
from tests.support import nursery
from tests.support.tiny import left_over, picture

NEAREST = ("-n", "nearest", "-s", 2)
COUNT = 500 if os.environ.get("DAGAN_ATTACK") else 120  # `make attack`


def items(*reports: Path) -> list[dict]:
    return [item for report in reports for item in json.loads(report.read_text())["items"]]


def pictures(folder: Path, count: int) -> list[Path]:
    return [picture(folder / f"{number % 3}" / f"{number:03}.png", (8, 8), seed=number) for number in range(count)]


def test_every_place_is_of_exactly_one_shard_and_shards_are_even():
    places = [Path(f"{number % 7}/{number}.png") for number in range(4000)]
    for count in (1, 2, 3, 64):
        shards = [Shard(index, count) for index in range(1, count + 1)]
        of = [[shard.index for shard in shards if shard.has(place)] for place in places]
        assert {len(indices) for indices in of} == {1}
        sizes = Counter(index for (index,) in of).values()
        assert len(sizes) == count
        assert max(sizes) < 1.7 * len(places) / count


def test_the_share_of_a_file_never_changes():
    """Computed with coreutils: printf a/b.png | sha256sum, the first 16 digits modulo 5, and one more."""
    assert [index for index in range(1, 6) if Shard(index, 5).has(Path("a/b.png"))] == [
        int("88f7ec7982e1b5db", 16) % 5 + 1
    ]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "a/b", "1/2/3", "-1/2", "1/-2", "", "١/٢"])
def test_what_is_no_share_is_refused(cli, tmp_path, text):
    with pytest.raises(BadOption, match="--shard"):
        Shard.of(text)
    ran = cli(picture(tmp_path / "a.png"), f"--shard={text}")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)


def test_a_shard_counts_what_it_leaves_and_reports_its_own(cli, tmp_path):
    paths = pictures(tmp_path / "in", 20)
    (tmp_path / "in" / "0" / "bad.png").write_bytes(b"not an image")
    for index in (1, 2, 3):
        ran = cli(tmp_path / "in", "-r", "-o", tmp_path / "out", *NEAREST, "--shard", f"{index}/3", "--json")
        document = json.loads(ran.out)
        own = [Path(item["input"]) for item in document["items"]]
        assert document["shard"] == f"{index}/3"
        assert f"left to other shards: {21 - len(own)} inputs" in ran.err
        paths = [path for path in paths if path not in own]
        assert all(Shard(index, 3).has(path.relative_to(tmp_path / "in")) for path in own)
    assert paths == []
    assert len(list((tmp_path / "out").rglob("*.png"))) == 20


def test_another_mount_another_order_and_a_list_of_names_have_the_same_shards(cli, tmp_path):
    pictures(tmp_path / "in", 12)
    shutil.copytree(tmp_path / "in", tmp_path / "elsewhere" / "mounted")
    found = [
        [
            Path(item["input"]).relative_to(folder).as_posix()
            for item in json.loads(cli(folder, "-r", *NEAREST, "--shard", "1/2", "--json", "-o", tmp_path / "out").out)[
                "items"
            ]
        ]
        for folder in (tmp_path / "in", tmp_path / "elsewhere" / "mounted")
    ]
    assert found[0] == found[1] != []
    names = sorted((tmp_path / "in" / "0").iterdir(), reverse=True)
    (tmp_path / "list").write_text("\n".join(map(str, names)))
    document = json.loads(cli("--files-from", tmp_path / "list", *NEAREST, "--shard", "1/2", "--json").out)
    assert [item["input"] for item in document["items"]] == [
        str(path) for path in names if Shard(1, 2).has(Path(path.name))
    ]


@pytest.mark.parametrize("options", [("-f", "webp"), ("-f", "webp", "--name", "{stem}-big"), ()])
def test_names_are_those_of_a_run_of_all(cli, tmp_path, options):
    """Inputs that would share a name are told apart, also in the shard that has only one of them."""
    for name in ("a.png", "a.bmp", "b.png", "c.png", "c.bmp", "c_png.bmp", "A.tif"):
        picture(tmp_path / "in" / name)
    for folder in ("p/x", "p/y", "q/x", "q/y"):
        picture(tmp_path / folder / f"{folder[0]}.png")
    folders = [tmp_path / folder for folder in ("in", "p/x", "p/y", "q/x", "q/y")]
    cli(*folders, *NEAREST, *options, "-o", tmp_path / "all")
    for index in (1, 2, 3):
        cli(*folders, *NEAREST, *options, "-o", tmp_path / "out", "--shard", f"{index}/3")
    names = [
        sorted(path.relative_to(tmp_path / folder).as_posix() for path in (tmp_path / folder).rglob("*.*"))
        for folder in ("all", "out")
    ]
    assert names[0] == names[1]
    assert len(names[0]) >= 9


def test_an_input_of_another_shard_is_never_overwritten(cli, tmp_path):
    paths = [picture(tmp_path / name, seed=seed) for seed, name in enumerate(("a.png", "a_x2.png"))]
    before = [path.read_bytes() for path in paths]
    for index in range(1, 9):
        cli(tmp_path, *NEAREST, "-y", "--shard", f"{index}/8")
    assert [path.read_bytes() for path in paths] == before


def test_headers_of_other_shards_are_read_only_where_names_need_them(cli, tmp_path, monkeypatch):
    for number in range(12):
        picture(tmp_path / "in" / f"{number}.png")
    picture(tmp_path / "in" / "3.bmp")
    opened = []
    header = batch._header
    monkeypatch.setattr(batch, "_header", lambda source, *rest: opened.append(source.path) or header(source, *rest))
    document = json.loads(cli(tmp_path / "in", *NEAREST, "--shard", "1/4", "--json", "-o", tmp_path / "out").out)
    own = {Path(item["input"]) for item in document["items"]}
    assert set(opened) == own | {tmp_path / "in" / "3.png", tmp_path / "in" / "3.bmp"}


def test_an_empty_shard_is_done_and_says_so(cli, tmp_path):
    source = picture(tmp_path / "a.png")
    (empty,) = (index for index in (1, 2) if not Shard(index, 2).has(Path("a.png")))
    ran = cli(source, *NEAREST, "--shard", f"{empty}/2", "--report", tmp_path / "report.json")
    assert (ran.code, items(tmp_path / "report.json")) == (0, [])
    assert f"left to other shards: 1 input\nnothing to do: shard {empty}/2 has no inputs" in ran.err
    assert cli(source, *NEAREST, "--shard", f"{empty}/2", "--dry-run").code == 0
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".png"] == ["a.png"]


def test_a_stream_has_no_shards(cli, tmp_path):
    ran = cli("-", "-o", tmp_path / "a.png", "--shard", "1/2")
    assert (ran.code, len(ran.err.splitlines())) == (2, 2)


def own_lock(*_: object) -> None:
    """Lock a file on one machine alone."""


def no_lock(*_: object) -> None:
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shards", "machines", "lock"),
    [
        (("1/2", "2/2"), 1, None),
        (("1/4", "2/4", "3/4", "4/4"), 1, None),
        (("1/1", "1/1"), 1, None),
        (("1/2", "1/2", "2/2"), 1, None),
        (("1/1", "1/1"), 1, no_lock),
        (("1/1", "1/1", "1/1"), 3, own_lock),
    ],
    ids=["two", "four", "equal", "two and equal", "without locks", "machines"],
)
def test_runs_at_the_same_time_do_each_input_exactly_once(tmp_path, shards, machines, lock):
    paths = pictures(tmp_path / "in", COUNT)
    reports = [tmp_path / f"report{number}.json" for number in range(len(shards))]
    processes = []
    for number, (shard, report) in enumerate(zip(shards, reports, strict=True)):
        settings = {"socket.gethostname": partial(str, f"host{number % machines}")}
        processes.append(
            nursery.start(
                [tmp_path / "in", "-r", "-o", tmp_path / "out", *NEAREST, "--shard", shard, "--report", report],
                report.with_suffix(".log"),
                settings | ({"fcntl.flock": lock} if lock else {}),
            )
        )
    for process in processes:
        process.join(nursery.PATIENCE)
    said = [report.with_suffix(".log").read_text() for report in reports]
    assert [process.exitcode for process in processes] == [0] * len(processes), said
    done = Counter(item["input"] for item in items(*reports) if item["status"] == "done")
    assert done == {str(path): 1 for path in paths}
    assert {item["status"] for item in items(*reports)} <= {"done", "skipped"}
    assert len(list((tmp_path / "out").rglob("*.png"))) == COUNT
    assert left_over(tmp_path) == []


def test_the_hash_of_python_has_no_say(tmp_path):
    code = "from dagan_cli.upscale.inputs.shard import *; print([Shard(1, 2).has(Path(f'{n}')) for n in range(40)])"
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
