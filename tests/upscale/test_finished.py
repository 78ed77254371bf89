"""A run over finished files: it opens none that is unchanged, needs little memory, and never takes one for another."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dagan_cli.media.made import index, seen
from tests.support.tiny import picture

pytestmark = pytest.mark.slow

# A run in a process of its own, which takes all files as old; it prints how many files were opened below its folder,
# and the most memory that it had, in KiB.
COUNTING = """
import os, resource, sys
from dagan_cli.media.made import index
index._SETTLED = -(10**15)
folder, opened = sys.argv.pop(1), 0
def count(event, arguments):
    global opened
    if event == "open" and not isinstance(arguments[0], int):
        opened += os.fsdecode(arguments[0]).startswith(folder)
sys.addaudithook(count)
from dagan_cli.__main__ import main
sys.argv[0] = "dagan"
try:
    main()
finally:
    print(opened, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(autouse=True)
def _own_index(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "_SETTLED", -(10**15))
    monkeypatch.setattr(seen, "_FEW", 0)


def finished(folder: Path, count: int, cli, *, beside: bool = False) -> tuple[object, ...]:
    """Make a folder of images and their results; return the arguments of the run that would make them."""
    source = picture(folder / "in" / "000000.png", (12, 9))
    target = folder / ("in" if beside else "out") / "000000_x2.png"
    arguments = ("upscale", folder / "in", "-s", 2, "-n", "nearest", *(() if beside else ("-o", folder / "out")))
    assert cli(*arguments).code == 0
    for number in range(1, count):  # equal files have equal identities
        shutil.copyfile(source, source.with_name(f"{number:06}.png"))
        shutil.copyfile(target, target.with_name(f"{number:06}_x2.png"))
    return arguments


def counted(folder: Path, arguments: tuple[object, ...]) -> tuple[int, int]:
    command = [sys.executable, "-c", COUNTING, folder, *arguments, "--report", folder / "report.json"]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    opened, memory = map(int, ran.stdout.split()[-2:])
    return opened, memory


@pytest.mark.parametrize("beside", [False, True])
def test_the_files_that_a_second_run_opens_do_not_grow_with_the_finished_ones(cli, tmp_path, beside):
    numbers = []
    for count in (150, 300):
        arguments = finished(tmp_path / str(count), count, cli, beside=beside)
        first, second = (counted(tmp_path / str(count), arguments)[0] for _ in range(2))
        assert first > 2 * count
        assert json.loads((tmp_path / str(count) / "report.json").read_text())["totals"]["skipped"] == count
        numbers.append(second)
    assert numbers[0] == numbers[1] < 250  # each run reads some by itself


def test_the_memory_for_a_finished_file_is_bounded(cli, tmp_path):
    few, many = 200, 5200
    used = []
    for count in (few, many):
        arguments = finished(tmp_path / str(count), count, cli)
        used.append(counted(tmp_path / str(count), (*arguments, "--skip-existing"))[1])
    assert (used[1] - used[0]) * 1024 / (many - few) < 3000  # bytes


def outcome(ran) -> tuple[int, str, str]:
    (item,) = json.loads(ran.out)["items"]
    return ran.code, item["status"], item["reason"].partition(" exists, ")[2]


def keeping_its_time(path: Path, content: bytes) -> None:
    """Replace the content of a file, and set its time to what it was."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_changed_after_a_run_is_noticed_by_the_next(cli, tmp_path, tiny_model):
    source, target = picture(tmp_path / "in.bmp"), tmp_path / "out.png"
    model = shutil.copy(tiny_model, tmp_path / "model.safetensors")
    ask = (source, "-n", model, "-o", target, "--json")
    skipped = 0, "skipped", ""
    assert cli(*ask, "-s", 2).code == 0
    assert [outcome(cli(*ask, "-s", 2)) for _ in range(2)] == [skipped] * 2
    content, made = source.read_bytes(), target.read_bytes()

    keeping_its_time(source, content[:-1] + bytes([content[-1] ^ 1]))
    assert outcome(cli(*ask, "-s", 2)) == (1, "failed", "but was made from another source")
    keeping_its_time(source, content)
    assert outcome(cli(*ask, "-s", 2)) == skipped

    assert outcome(cli(*ask, "-s", 3)) == (1, "failed", "but was made with --scale 2, now 3")
    assert outcome(cli(*ask, "-s", 2)) == skipped

    keeping_its_time(target, made.replace(b"--scale=2", b"--scale=4"))
    assert outcome(cli(*ask, "-s", 2))[:2] == (1, "failed")
    shutil.copyfile(source, target)
    assert outcome(cli(*ask, "-s", 2)) == (1, "failed", "and does not say that dagan made it")
    target.write_bytes(made)
    assert outcome(cli(*ask, "-s", 2)) == skipped

    data = model.read_bytes()
    keeping_its_time(model, data[:-1] + bytes([data[-1] ^ 1]))
    assert outcome(cli(*ask, "-s", 2)) == (1, "failed", "but was made with another version of model.safetensors")
    keeping_its_time(model, data)
    assert outcome(cli(*ask, "-s", 2, "-y"))[:2] == (0, "done")
    assert outcome(cli(*ask, "-s", 2)) == skipped


def test_the_name_of_a_result_follows_the_file_and_the_options_and_not_what_was_remembered(cli, tmp_path):
    source = picture(tmp_path / "in.png", mode="L")
    ask = ("upscale", source, "-n", "nearest", "--json")

    def output(*options: object) -> str:
        (item,) = json.loads(cli(*ask, *options).out)["items"]
        return Path(item["output"]).name

    for _ in range(2):
        assert output("-s", 2) == "in_x2.png"
        assert output("-s", 3) == "in_x3.png"
        assert output("-s", 2, "-f", "jpg") == "in_x2.jpg"
        assert output("-s", 2, "--name", "{stem}_{width}") == "in_24.png"
    picture(source, (50, 30), mode="L")
    assert output("-s", 2, "--name", "{stem}_{width}") == "in_100.png"
