"""Images overlap: results, events and reports are those of one image at a time, in bounded memory, however it ends."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from dagan_cli.engine.options import EngineOptions
from dagan_cli.files import Folder
from dagan_cli.media import images
from dagan_cli.media.images import png
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.upscale.batch import run
from dagan_cli.upscale.events import Abandoned, Event, Item, Outlook, Start, Stopped
from dagan_cli.upscale.request import Goal, Request
from dagan_cli.upscale.running import flow
from dagan_cli.upscale.running.flow import Budget
from dagan_cli.upscale.work import Engines
from dagan_cli.upscaler import ModelChoice, Upscaler
from tests.support.tiny import clip, left_over, picture


def upscaled(
    *inputs: Path, out: Path, stop: Callable[[list[Event]], bool] = lambda _: False, scale: float = 2
) -> list[Event]:
    """Run the inputs through nearest into `out`; return all events. `stop` is asked with the events so far."""
    events: list[Event] = []
    request = Request(
        inputs=tuple(map(str, inputs)),
        output=str(out),
        goal=Goal.of(scale, None),
        model=ModelChoice("nearest"),
        engine=EngineOptions(device="cpu"),
        encoding=Encoding(preset="ultrafast"),
    )
    try:
        run(request, Engines(request, events.append), events.append, lambda: stop(events))
    except (Abandoned, Stopped) as ended:
        events.append(ended)  # type: ignore[arg-type]  # for the test
    return events


def items(events: list[Event]) -> list[Item]:
    return [event for event in events if isinstance(event, Item)]


def folder_of(path: Path, count: int = 12) -> Path:
    """Images of many sizes and kinds; one cannot be decoded, one is no image, one is an animation."""
    chance = Random(0)
    for number in range(count):
        size = chance.randrange(4, 60), chance.randrange(4, 60)
        picture(path / f"{number:02}.png", size, chance.choice(["L", "LA", "RGB", "RGBA", "I;16"]), seed=number)
    data = picture(path / "04.png", (50, 50)).read_bytes()
    (path / "04.png").write_bytes(data[:3000] + bytes(100) + data[3100:])
    (path / "06.png").write_bytes(b"no image at all")
    frames = [np.full((20, 30, 3), value, np.uint8) for value in (0, 90, 200)]
    with (path / "08.png").open("wb") as file:
        png.write_png(file, frames, [], (40.0, 50.0, 60.0))
    return path


@pytest.fixture
def delays(monkeypatch) -> None:
    """Every stage takes a random time."""
    chance = Random(1)
    open_picture, write_picture, enlarged = images.open_picture, images.write_picture, Upscaler.enlarged

    def later(function: Callable, most: float) -> Callable:
        def delayed(*arguments: object, **keywords: object) -> object:
            time.sleep(chance.uniform(0, most))
            return function(*arguments, **keywords)

        return delayed

    monkeypatch.setattr(images, "open_picture", later(open_picture, 0.01))
    monkeypatch.setattr(images, "write_picture", later(write_picture, 0.04))
    monkeypatch.setattr(Upscaler, "enlarged", later(enlarged, 0.02))


@pytest.mark.slow
@pytest.mark.usefixtures("delays")
def test_results_events_and_items_are_those_of_one_image_at_a_time(tmp_path):
    folder = folder_of(tmp_path / "in")
    together = upscaled(folder, out=tmp_path / "together")
    alone = [upscaled(path, out=tmp_path / "alone" / path.stem) for path in sorted(folder.iterdir())]

    def facts(item: Item) -> tuple:
        return item.input, item.status, item.reason, item.frames, item.in_size, item.out_size, item.warnings

    found = {item.input: facts(item) for events in alone for item in items(events)}
    order = [path for path in sorted(folder.iterdir()) if path.name != "06.png"]
    assert [facts(item) for item in items(together)] == [found[folder / "06.png"], *(found[path] for path in order)]
    assert {item.status for item in items(together)} == {"done", "failed"}
    assert all(item.seconds > 0 for item in items(together) if item.status == "done")
    work = [event.input for event in together if isinstance(event, Start | Item)][1:]
    assert work == [path for path in order for _ in range(2)]  # the start of each, and its end before the next start
    assert sum(isinstance(event, Outlook) for event in together) == 1
    made = {path.name: path.read_bytes() for path in (tmp_path / "together").iterdir()}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "alone").glob("*/*")}
    assert len(made) == 10


@pytest.mark.slow
@pytest.mark.usefixtures("delays")
def test_a_video_waits_for_the_images_before_it(tmp_path):
    for name in ("a.png", "b.png", "d.png"):
        picture(tmp_path / "in" / name)
    clip(tmp_path / "in" / "c.mkv", "-c:v", "ffv1", "-an", seconds=0.1)
    events = upscaled(tmp_path / "in", out=tmp_path / "out")
    names = [event.input.name for event in events if isinstance(event, Start | Item)]
    assert names == ["a.png", "a.png", "b.png", "b.png", "c.mkv", "c.mkv", "d.png", "d.png"]
    assert [item.status for item in items(events)] == ["done"] * 4


@pytest.mark.slow
def test_stages_of_a_fixed_time_cost_little_more_than_the_slowest(tmp_path, monkeypatch):
    sources = [picture(tmp_path / f"{number:02}.png") for number in range(20)]
    for owner, name, seconds in (
        (images, "open_picture", 0.015),
        (Upscaler, "enlarged", 0.05),
        (images, "write_picture", 0.04),
    ):
        function = getattr(owner, name)
        is_slept = lambda *a, f=function, s=seconds, **k: (time.sleep(s if len(a) else 0), f(*a, **k))[1]  # noqa: E731
        monkeypatch.setattr(owner, name, is_slept)
    engines_loaded: list[float] = []
    events = upscaled(*sources, out=tmp_path / "out", stop=lambda told: _note(told, engines_loaded))
    assert len(items(events)) == 20
    assert time.monotonic() - engines_loaded[0] < 20 * 0.08  # one at a time takes over 0.1 each


def _note(told: list[Event], when: list[float]) -> bool:
    if not when and any(isinstance(event, Start) for event in told):
        when.append(time.monotonic())
    return False


def test_images_in_flight_stay_below_the_limit_and_a_large_one_is_alone(tmp_path, monkeypatch):
    small = 40 * 40 * 3 * (1 + 4)  # bytes before and after
    monkeypatch.setattr(flow, "_MOST_BYTES", 2 * small)
    sides = [40, 40, 40, 90, 40, 40, 200, 200, 40, 40]
    sources = [picture(tmp_path / f"{number}.png", (side, side)) for number, side in enumerate(sides)]
    lock, held, seen = threading.Lock(), [], []
    open_ahead, write = flow.open_ahead, flow.Made.write

    def opened(path: Path, work: flow.Work, room: Callable) -> object:
        def noted(info: images.PictureInfo) -> Callable[[], None]:
            give = room(info)
            with lock:
                held.append(path)
                seen.append([sides[int(each.stem)] for each in held])
            return give

        return open_ahead(path, work, noted)

    def written(made: flow.Made, turn: Callable[[], None]) -> None:
        time.sleep(0.01)
        write(made, turn)
        with lock:
            held.remove(made.path)

    monkeypatch.setattr(flow, "open_ahead", opened)
    monkeypatch.setattr(flow.Made, "write", written)
    assert [item.status for item in items(upscaled(*sources, out=tmp_path / "out"))] == ["done"] * 10
    assert max(map(len, seen)) == 2  # they did overlap
    assert all(set(each) == {40} or len(each) == 1 for each in seen)


def test_a_budget_counts_bytes_and_images_and_lets_one_that_is_larger_be_alone():
    budget = Budget(count=3, size=100)
    first, second = budget.take(60), budget.take(40)
    got: list[Callable[[], None]] = []
    thread = threading.Thread(target=lambda: got.append(budget.take(500)))
    thread.start()
    first()
    time.sleep(0.02)
    assert got == []
    second()
    thread.join(5)
    assert len(got) == 1
    got[0]()
    for _ in range(3):
        budget.take(1)
    refused: list[Exception] = []

    def fourth() -> None:
        with pytest.raises(flow._Dropped) as caught:
            budget.take(1)
        refused.append(caught.value)

    thread = threading.Thread(target=fourth)
    thread.start()
    time.sleep(0.02)
    assert refused == []
    budget.close()
    thread.join(5)
    assert len(refused) == 1


@pytest.mark.parametrize(("code", "after"), [(errno.EACCES, "done"), (errno.ENOSPC, "untried")])
@pytest.mark.usefixtures("delays")
def test_an_error_of_the_disk_in_the_middle_leaves_what_one_image_at_a_time_would(tmp_path, monkeypatch, code, after):
    rename = Folder.rename

    def failing(folder: Folder, old: str, new: str, **how: bool) -> None:
        if new == "3_x2.png":
            raise OSError(code, "no", new)
        rename(folder, old, new, **how)

    monkeypatch.setattr(Folder, "rename", failing)
    sources = [picture(tmp_path / f"{number}.png", (50 - 5 * number, 20)) for number in range(8)]
    events = upscaled(*sources, out=tmp_path / "out")
    assert [item.status for item in items(events)] == [*["done"] * 3, "failed", *[after] * 4]
    made = {f"{number}_x2.png" for number in range(8) if number != 3 and (number < 3 or after == "done")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == made
    assert isinstance(events[-1], Abandoned) == (code == errno.ENOSPC)
    assert not [
        thread.name for thread in threading.enumerate() if thread.name.startswith(("dagan-read", "dagan-write"))
    ]


@pytest.mark.usefixtures("delays")
def test_a_stop_in_the_middle_leaves_whole_files_and_the_rest_untried(tmp_path):
    sources = [picture(tmp_path / f"{number:02}.png", (30, 20)) for number in range(30)]
    events = upscaled(*sources, out=tmp_path / "out", stop=lambda told: len(items(told)) >= 4)
    statuses = [item.status for item in items(events)]
    done = statuses.count("done")
    assert 4 <= done < 30
    assert statuses == ["done"] * done + ["untried"] * (30 - done)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{number:02}_x2.png" for number in range(done)}
    assert isinstance(events[-1], Stopped)
    assert left_over(tmp_path) == []


def test_memory_that_runs_out_beside_others_is_tried_again_alone(tmp_path, monkeypatch):
    enlarged, failed = Upscaler.enlarged, []

    def short(self: Upscaler, samples: np.ndarray, *others: object) -> np.ndarray:
        if samples.shape[0] == 21 and not failed:
            failed.append(True)
            raise MemoryError
        return enlarged(self, samples, *others)  # type: ignore[arg-type]

    write = flow.Made.write
    monkeypatch.setattr(flow.Made, "write", lambda made, turn: (time.sleep(0.05), write(made, turn))[1])
    monkeypatch.setattr(Upscaler, "enlarged", short)
    sources = [picture(tmp_path / f"{number}.png", (30, 20 + number)) for number in range(3)]
    assert [item.status for item in items(upscaled(*sources, out=tmp_path / "out"))] == ["done"] * 3
    assert failed == [True]


@pytest.mark.slow
def test_memory_is_flat_over_many_images(tmp_path):
    for number in range(160):
        picture(tmp_path / "in" / f"{number:03}.png", (128, 128), seed=number)
    used: dict[int, int] = {}

    def note(told: list[Event]) -> bool:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used[len(items(told))] = max(used.get(len(items(told)), 0), pages * 4096)
        return False

    upscaled(tmp_path / "in", out=tmp_path / "out", stop=note, scale=4)
    early, late = (max(size for count, size in used.items() if a <= count < b) for a, b in ((20, 60), (120, 160)))
    assert late - early < 6e6  # a hundred images of 0.8 MB each
