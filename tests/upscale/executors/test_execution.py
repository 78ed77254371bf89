"""Several workers do what one process does: the same files, the same report in the same order, whoever dies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dagan_cli.files import owned
from dagan_cli.upscale.events import Item
from dagan_cli.upscale.executors.units import Inputs, Look, Piece
from dagan_cli.upscale.request import Request
from tests.support.crew import Deadly, Threads
from tests.support.tiny import STEADY, clip, frames_of, left_over, picture, sound_of

TWICE = ("-n", "bicubic", "-s", "2", "--device", "cpu", *STEADY)
SEGMENT = 10  # frames
FILM = 3.0  # seconds, of 25 frames each


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Twelve images, and among them a film of eight segments."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        picture(folder / f"{'a' if number < 6 else 'z'}{number:02}.png", (12 + number, 9), seed=number)
    clip(folder / "film.mp4", "-c:v", "libx264", "-g", "12", "-bf", "2", "-c:a", "aac", seconds=FILM)
    return folder


class Pools:
    """Makes pools of threads, and keeps the last one; `deadly` says when a worker dies."""

    def __init__(self) -> None:
        self.deadly: Deadly = lambda *_: False
        self.last: Threads

    def __call__(self, request: Request, devices: tuple[str, ...]) -> Threads:
        names = tuple(f"{device} {number}" for number, device in enumerate(devices))
        self.last = Threads(request, names, self.deadly)
        return self.last


@pytest.fixture
def pools(monkeypatch) -> Pools:
    """Makes the pools of runs with several workers; segments are short."""
    pools = Pools()
    monkeypatch.setattr("dagan_cli.upscale.executors.processes.Processes", pools)
    monkeypatch.setattr("dagan_cli.upscale.used.SEGMENT", SEGMENT)
    return pools


def differing(one: Path, other: Path) -> list[str]:
    """The names of files that differ between two folders of the same names, byte for byte."""
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


def report(cli, *arguments: object) -> tuple[int, dict]:
    ran = cli(*arguments, "--json")
    return ran.code, json.loads(ran.out)


def test_results_and_report_are_those_of_one_process(cli, tmp_path, inputs, pools):
    code, alone = report(cli, inputs, *TWICE, "-o", tmp_path / "alone")
    assert code == 0
    code, shared = report(cli, inputs, *TWICE, "-o", tmp_path / "shared", "--jobs", 2)
    assert code == 0
    assert differing(tmp_path / "alone", tmp_path / "shared") == []
    varying = {"seconds", "workers", "output"}
    for one, other in zip(alone["items"], shared["items"], strict=True):
        assert one.keys() == other.keys() - {"workers"}
        assert not [key for key in one.keys() - varying if one[key] != other[key]]
    assert shared["models"] == alone["models"]
    assert shared["device"] == alone["device"] == "cpu"


def test_all_workers_take_part_and_the_report_says_who_did_what(cli, tmp_path, inputs, pools):
    _, found = report(cli, inputs, *TWICE, "-o", tmp_path / "out", "--jobs", 2)
    assert set(pools.last.units) == {"cpu 0", "cpu 1"}
    by_input = {Path(item["input"]).name: item["workers"] for item in found["items"]}
    assert {worker for name, workers in by_input.items() if name != "film.mp4" for worker in workers} <= set(
        pools.last.names
    )
    segments = [int(line.split(": ")[1].split()[0]) for line in by_input["film.mp4"]]
    assert sum(segments) == 8


def test_events_come_in_the_order_of_the_inputs(cli, tmp_path, inputs, pools):
    ran = cli(inputs, *TWICE, "-o", tmp_path / "out", "--jobs", 3, "--progress", "json")
    events = [json.loads(line) for line in ran.err.splitlines()]
    names = sorted(path.name for path in inputs.iterdir())
    assert [event["input"] for event in events if event["event"] == "start"] == names
    assert [Path(event["input"]).name for event in events if event["event"] == "item"] == names
    assert [event["index"] for event in events if event["event"] == "start"] == list(range(13))
    film = names.index("film.mp4")
    kinds = [(event["event"], event.get("unit")) for event in events]
    begun = [number for number, kind in enumerate(kinds) if kind[0] == "start"]
    of_film = events[begun[film] : begun[film + 1]]
    frames = [event["done"] for event in of_film if event["event"] == "progress"]
    assert frames == sorted(frames)
    assert frames[-1] == 75


@pytest.mark.parametrize("kind", [Inputs, Look, Piece])
def test_the_unit_of_a_worker_that_dies_is_done_by_another(cli, tmp_path, inputs, pools, kind):
    dead: list[str] = []

    def deadly(worker, unit, event):
        if isinstance(unit, kind) and not dead and (kind is Look or event is not None):
            dead.append(worker)
            return True
        return False

    cli(inputs, *TWICE, "-o", tmp_path / "alone")
    pools.deadly = deadly
    code, found = report(cli, inputs, *TWICE, "-o", tmp_path / "shared", "--jobs", 2)
    assert code == 0
    assert dead
    assert found["totals"]["done"] == 13
    assert differing(tmp_path / "alone", tmp_path / "shared") == []


def test_an_image_that_ends_every_worker_fails_alone(cli, tmp_path, inputs, pools):
    tried = []

    def deadly(worker, unit, event):
        bad = isinstance(unit, Inputs) and any(job.source.path.name == "a03.png" for job in unit.jobs)
        if bad and event is None:
            tried.append((worker, len(unit.jobs)))
        return bad and event is None

    pools.deadly = deadly
    code, found = report(cli, inputs, *TWICE, "-o", tmp_path / "out", "--jobs", 2)
    assert code == 1
    bad = [item for item in found["items"] if item["status"] == "failed"]
    assert [Path(item["input"]).name for item in bad] == ["a03.png"]
    assert "has died" in bad[0]["reason"]
    assert found["totals"]["done"] == 12
    assert [count for _, count in tried][-1] == 1  # apart from the images that were with it
    assert 3 <= len(tried) <= 4
    assert len({worker for worker, _ in tried}) == 2


def test_a_place_where_every_worker_dies_is_given_up_and_the_others_go_on(cli, tmp_path, inputs, pools):
    pools.deadly = lambda worker, unit, event: worker == "cpu 1" and event is None
    code, found = report(cli, inputs, *TWICE, "-o", tmp_path / "out", "--jobs", 2)
    assert code == 0
    assert found["totals"]["done"] == 13
    assert pools.last.hired.count("cpu 1") == 3


def test_where_every_worker_dies_all_inputs_fail(cli, tmp_path, inputs, pools):
    pools.deadly = lambda *_: True
    code, found = report(cli, inputs, *TWICE, "-o", tmp_path / "out", "--jobs", 2)
    assert code != 0
    assert found["totals"]["failed"] == 13
    assert not left_over(tmp_path / "out")


def test_a_film_that_is_stopped_goes_on_with_its_segments_in_one_process_and_in_several(
    cli, tmp_path, inputs, pools, monkeypatch
):
    film = inputs / "film.mp4"
    cli(film, *TWICE, "-o", tmp_path / "alone.mp4")
    for number, jobs in enumerate((2, 1)):
        target = tmp_path / f"out{number}.mp4"
        done: list[int] = []

        def deadly(worker, unit, event, done=done):
            if isinstance(unit, Piece) and event is None:
                done.append(unit.number)
            return len(done) > 4  # from the fifth segment on

        pools.deadly = deadly
        assert cli(film, *TWICE, "-o", target, "--jobs", 2).code == 1
        assert not target.exists()
        pools.deadly = lambda *_: False
        code, found = report(cli, film, *TWICE, "-o", target, "--jobs", jobs)
        assert code == 0
        assert found["items"][0]["resumed"] >= 2 * SEGMENT
        assert target.read_bytes() == (tmp_path / "alone.mp4").read_bytes()
        assert not left_over(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        ("in.mkv", "-c:v", "libx264", "-g", "12", "-x264-params", "open-gop=1:bframes=3"),
        (
            "in.mkv",
            "-c:v",
            "libx264",
            "-g",
            "30",
            "-x264-params",
            "intra-refresh=1",
        ),  # one clean key frame
        ("in.ts", "-c:v", "mpeg2video", "-g", "12", "-bf", "2"),  # a clock that may jump: not cut
        ("in.mp4", "-c:v", "libx264", "-g", "12", "-flags", "+ilme+ildct", "-vf", "interlace"),  # not cut
    ],
)
def test_any_film_comes_out_as_from_one_process(cli, tmp_path, pools, options):
    name, *encoding = options
    source = clip(tmp_path / name, *encoding, seconds=FILM)
    assert cli(source, *TWICE, "-o", tmp_path / "alone.mkv").code == 0
    assert cli(source, *TWICE, "-o", tmp_path / "shared.mkv", "--jobs", 2).code == 0
    assert frames_of(tmp_path / "alone.mkv") == frames_of(tmp_path / "shared.mkv")
    assert sound_of(tmp_path / "alone.mkv") == sound_of(tmp_path / "shared.mkv")


def test_a_film_that_turns_out_to_be_damaged_is_what_one_process_makes_of_it(cli, tmp_path, inputs, pools):
    film = inputs / "film.mp4"
    data = bytearray(film.read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 300, 7):
        data[place] ^= 0xFF
    film.write_bytes(data)
    _, alone = report(cli, film, *TWICE, "-o", tmp_path / "alone.mp4")
    _, shared = report(cli, film, *TWICE, "-o", tmp_path / "shared.mp4", "--jobs", 2)
    (one,), (other,) = alone["items"], shared["items"]
    for key in ("status", "reason", "frames", "resumed", "warnings"):
        assert one[key] == other[key], key
    assert other["resumed"] == 0
    assert (tmp_path / "alone.mp4").read_bytes() == (tmp_path / "shared.mp4").read_bytes()


@pytest.mark.parametrize("part", [("--start", "0.7"), ("--end", "2.1"), ("--start", "0.5", "--frames", "33")])
def test_a_part_of_a_film_comes_out_as_from_one_process(cli, tmp_path, inputs, pools, part):
    film = inputs / "film.mp4"
    assert cli(film, *TWICE, *part, "-o", tmp_path / "alone.mp4").code == 0
    assert cli(film, *TWICE, *part, "-o", tmp_path / "shared.mp4", "--jobs", 2).code == 0
    assert any(isinstance(unit, str) for unit in pools.last.units)
    assert (tmp_path / "alone.mp4").read_bytes() == (tmp_path / "shared.mp4").read_bytes()


def test_a_result_that_another_process_writes_comes_last(cli, tmp_path, inputs, pools):
    out = tmp_path / "out"
    out.mkdir()
    order: list[str] = []
    held = owned(out / "a00_x2.png")
    held.__enter__()

    def deadly(worker, unit, event):
        if isinstance(event, Item):
            order.append(event.input.name)
            if len(order) == 11:
                held.__exit__(None, None, None)
        return False

    pools.deadly = deadly
    code, found = report(cli, *sorted(inputs.glob("*.png")), *TWICE, "-o", out, "--jobs", 2)
    assert code == 0
    assert order[-1] == "a00.png"
    assert found["totals"]["done"] == 12


def test_an_error_of_the_command_ends_the_run_as_in_one_process(cli, tmp_path, inputs, pools):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"no model")
    alone = cli(inputs, "-n", model, "-s", "2", "-o", tmp_path / "out")
    shared = cli(inputs, "-n", model, "-s", "2", "-o", tmp_path / "out", "--jobs", 2)
    assert (shared.code, shared.err) == (alone.code, alone.err)
    assert shared.code == 4


def test_a_network_gives_the_same_pixels(cli, tmp_path, inputs, pools, tiny_model, monkeypatch):
    monkeypatch.setattr("dagan_cli.upscale.used.SLOW_SEGMENT", SEGMENT)
    network = ("-n", tiny_model, "-s", "2", "--device", "cpu", *STEADY)
    film, images = inputs / "film.mp4", sorted(inputs.glob("a*.png"))
    assert cli(film, *images, *network, "-o", tmp_path / "alone").code == 0
    assert cli(film, *images, *network, "-o", tmp_path / "shared", "--jobs", 2).code == 0
    assert differing(tmp_path / "alone", tmp_path / "shared") == []
    assert len(pools.last.units) == 2


def test_films_are_made_one_after_the_other_where_one_has_enough_segments(cli, tmp_path, inputs, pools):
    for name in ("film2.mp4", "film3.mp4", "film4.mp4"):
        (inputs / name).write_bytes((inputs / "film.mp4").read_bytes())
    order: list[tuple[str, int]] = []

    def deadly(worker, unit, event):
        if isinstance(unit, Piece) and event is None:
            order.append((unit.path.name, unit.number))
        return False

    pools.deadly = deadly
    assert cli(*sorted(inputs.glob("*.mp4")), *TWICE, "-o", tmp_path / "out", "--jobs", 2).code == 0
    names = [name for name, _ in dict.fromkeys(order)]
    assert len(names) == 4 * 8
    ends = [max(index for index, each in enumerate(names) if each == name) for name in sorted(set(names))]
    assert ends == sorted(ends)
    assert names.index("film3.mp4") > ends[0]


def test_an_image_of_a_worker_that_died_before_it_said_so_counts_as_done(cli, tmp_path, inputs, pools):
    """The unit is repeated, and finds the result there."""
    picture(tmp_path / "out/z08_x2.png")  # made by nobody knows whom: it stays what it is
    dead: list[Path] = []

    def deadly(worker, unit, event):
        output = event.output if isinstance(event, Item) and event.status == "done" else None
        if dead or output is None or output.suffix != ".png":
            return False
        dead.append(output)
        return True

    pools.deadly = deadly
    code, found = report(cli, inputs, *TWICE, "-o", tmp_path / "out", "--jobs", 2, "--skip-existing")
    assert code == 0
    assert dead[0].is_file()
    assert found["totals"]["done"] == 12
    (skipped,) = (item for item in found["items"] if item["status"] == "skipped")
    assert skipped["output"] == str(tmp_path / "out/z08_x2.png")
