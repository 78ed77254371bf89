"""Units on a node that sees no file of this machine: what goes wrong costs one input, and is said in the user's words.

The node is a worker in this process that is told to see nothing; its calls are those of Ray, one after the other.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dagan_cli.engine.options import EngineOptions
from dagan_cli.errors import CannotWrite, DaganError
from dagan_cli.files import owned
from dagan_cli.media.find import Source
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.upscale.events import Abandoned, Item
from dagan_cli.upscale.executors.cluster import errands
from dagan_cli.upscale.executors.cluster.errands import Errands, Unable
from dagan_cli.upscale.executors.cluster.node import Hand, Kind, Mark
from dagan_cli.upscale.executors.cluster.places import Place
from dagan_cli.upscale.executors.cluster.pool import Cluster
from dagan_cli.upscale.executors.units import Died, Done, Inputs, Left, Message, Raised, Told
from dagan_cli.upscale.job import Job
from dagan_cli.upscale.request import Goal, Request
from dagan_cli.upscale.work import Engines, Work
from tests.support.tiny import picture, pixels
from tests.upscale.remote.conftest import left_in
from weights.choice import ModelChoice

PIECE = 50  # bytes


class Blind(Hand):
    def sees(self, marks: Sequence[Mark]) -> list[bool]:
        return [False] * len(marks)


class TaskError(Exception):
    """As Ray raises what a worker has raised: with a traceback as its text."""

    def __init__(self, cause: Exception) -> None:
        super().__init__("a\nlong\ntraceback")
        self.cause = cause


class Ray:
    """Calls of workers are done at once; what they raise is raised when it is asked for."""

    exceptions = SimpleNamespace(RayTaskError=TaskError)

    def get(self, answer: Any) -> Any:
        if isinstance(answer, TaskError):
            raise answer
        return answer


class Actor:
    def __init__(self, hand: Hand) -> None:
        self._hand = hand

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Any:
            try:
                return getattr(self._hand, name)(*arguments)
            except (OSError, DaganError) as error:
                return TaskError(error)

        method = SimpleNamespace(remote=remote)
        method.options = lambda **_: method
        return method


class Scene:
    """A node, and units of images for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.request = Request(
            inputs=(str(folder),),
            output=None,
            goal=Goal.of(2, None),
            model=ModelChoice("nearest"),
            engine=EngineOptions(device="cpu"),
            encoding=Encoding(),
        )
        self.hand = Blind(self.request, "cpu", 1)
        self.hand.ready("nearest")
        self.place = Place("node", "node", {}, 1, actor=Actor(self.hand))
        work = Work(self.request, Engines(self.request), lambda _: None, lambda: False, None)
        self.said: list[Message] = []
        self.errands = Errands(Ray(), work, lambda _, message: self.said.append(message))

    def job(self, name: str, target: str | None = None) -> Job:
        return Job(Source(self.folder / name, "picture"), self.folder / "out" / (target or name))

    def perform(self, *jobs: Job, waits: bool = False) -> dict[str, Item]:
        """Do a unit; return the results by the names of inputs."""
        self.said.clear()
        for _ in self.errands.perform(self.place, self.place, Inputs(jobs, waits)):  # type: ignore[arg-type]
            pass
        items = [message.event for message in self.said if isinstance(message, Told)]
        return {item.input.name: item for item in items if isinstance(item, Item)}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setenv("DAGAN_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setattr(errands, "_PIECE", PIECE)
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", seed=number)
    scene = Scene(tmp_path / "in")
    yield scene
    scene.hand.leave()
    assert left_in(tmp_path / "spool") == []


def require_doubled(scene: Scene, name: str, target: str | None = None) -> None:
    result = pixels(scene.folder / "out" / (target or name))
    assert (result[::2, ::2] == pixels(scene.folder / name)).all()


def test_files_are_carried_there_and_back_and_nothing_stays(scene):
    items = scene.perform(scene.job("0.png"), scene.job("1.png"))
    assert [items[name].status for name in ("0.png", "1.png")] == ["done", "done"]
    assert items["0.png"].output == scene.folder / "out" / "0.png"
    require_doubled(scene, "0.png")
    require_doubled(scene, "1.png")
    assert left_in(scene.hand.spool()) == []


def test_a_living_worker_keeps_its_files_when_another_one_comes(scene):
    kept = scene.hand.spool() / "x" / "file"
    scene.hand.store(kept, b"1")
    other = Hand(scene.request, "cpu", 1)
    with ThreadPoolExecutor(1) as pool:  # what one thread owns, another does not
        assert pool.submit(other.spool).result() != scene.hand.spool()
    assert kept.read_bytes() == b"1"
    other.leave()
    assert kept.read_bytes() == b"1"
    scene.hand.drop([kept])


def test_a_copy_that_was_broken_off_is_started_again(scene):
    broken = scene.errands.perform(scene.place, scene.place, Inputs((scene.job("0.png"),)))
    while not left_in(scene.hand.spool()):
        next(broken)
    broken.close()
    assert scene.perform(scene.job("0.png"))["0.png"].status == "done"
    require_doubled(scene, "0.png")


def test_a_file_that_gets_shorter_while_it_is_sent_ends(scene):
    source = picture(scene.folder / "0.png", (100, 100))  # more than a reader takes ahead
    unit = scene.errands.perform(scene.place, scene.place, Inputs((scene.job("0.png"),)))
    while not left_in(scene.hand.spool()):
        next(unit)
    os.truncate(source, PIECE // 2)
    for number, _ in enumerate(unit):
        assert number < 10_000
    (item,) = [message.event for message in scene.said if isinstance(message, Told) and isinstance(message.event, Item)]
    assert item.status == "failed"


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "No such file"), PermissionError(13, "Denied")])
def test_an_input_that_cannot_be_read_fails_alone(scene, monkeypatch, error):
    opened = errands.open_regular

    def refused(path: Path) -> Any:
        if path.name == "1.png":
            raise error
        return opened(path)

    monkeypatch.setattr(errands, "open_regular", refused)
    (scene.folder / "2.png").unlink()
    items = scene.perform(*(scene.job(f"{number}.png") for number in range(3)))
    assert [items[f"{number}.png"].status for number in range(3)] == ["done", "failed", "failed"]
    assert items["1.png"].reason == f"cannot read {scene.folder / '1.png'}: {error.strerror.lower()}"
    assert "cannot read" in items["2.png"].reason


def test_a_result_that_cannot_be_written_fails_alone(scene):
    (scene.folder / "out").write_bytes(b"a file, no folder")
    job = scene.job("0.png")
    other = Job(job.source, scene.folder / "elsewhere" / "0.png")
    second = Job(Source(scene.folder / "1.png", "picture"), other.target)
    items = scene.perform(job, second)
    assert (items["0.png"].status, items["1.png"].status) == ("failed", "done")
    assert "bug" not in items["0.png"].reason


def test_a_result_that_was_refused_here_is_not_in_the_way_of_another_of_its_name(scene, monkeypatch):
    scene.place.shared[scene.folder / "out"] = scene.place.shared[scene.folder / "other"] = False
    whole = errands.whole_or_absent

    def refused(target: Path, **how: Any) -> Any:
        if target.parent.name == "out":
            target.mkdir(parents=True)
        return whole(target, **how)

    monkeypatch.setattr(errands, "whole_or_absent", refused)
    assert scene.perform(scene.job("0.png"))["0.png"].status == "failed"
    job = Job(Source(scene.folder / "1.png", "picture"), scene.folder / "other" / "0.png")
    assert scene.perform(job)["1.png"].status == "done"


def test_a_full_disk_here_ends_the_batch(scene, monkeypatch):
    def refused(target: Path, **_: Any) -> Any:
        raise CannotWrite(f"cannot write {target}: full", hint="free some space", ends_the_batch=True)

    monkeypatch.setattr(errands, "whole_or_absent", refused)
    assert scene.perform(scene.job("0.png"))["0.png"].status == "failed"
    ended = scene.said[-1]
    assert isinstance(ended, Raised)
    assert isinstance(ended.error, Abandoned)


def test_what_another_process_has_made_meanwhile_is_skipped(scene):
    job = scene.job("0.png")
    with owned(job.target):
        pass
    assert scene.perform(job)["0.png"].status == "done"
    before = job.target.stat()
    items = scene.perform(job, scene.job("1.png"), waits=True)
    assert (items["0.png"].status, items["1.png"].status) == ("skipped", "done")
    assert job.target.stat() == before
    assert scene.said[-1] == Done(Left((), scene.said[-1].answer.used))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the disk of the node be full."""

    def store(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return lambda: monkeypatch.setattr(Blind, "store", store)


def test_a_node_whose_disk_is_full_loses_its_unit_and_no_input_fails(scene, full):
    full()
    with pytest.raises(Unable, match=r"^No space left on device$"):
        scene.perform(scene.job("0.png"))
    assert scene.said == []


@pytest.mark.parametrize("kind", [Kind("cpu", "float32", "torch", "torch 2.11"), None])
def test_such_a_node_is_given_another_chance_if_it_has_worked_and_is_left_out_if_it_cannot_even_start(kind):
    said: list[object] = []
    pool = Cluster.__new__(Cluster)
    pool._ray = SimpleNamespace(exceptions=SimpleNamespace(RayError=TaskError), kill=lambda _: None)
    pool._said, pool._problems = [], []
    pool._work = SimpleNamespace(tell=said.append)  # type: ignore[assignment]

    def errand() -> Iterator[None]:
        raise Unable("No space left on device")
        yield

    place = Place("node (1)", "node", {}, 1, kind=kind, errand=errand(), member=object())  # type: ignore[arg-type]
    pool._step(place)
    reason = "node node cannot hold the files of a unit: no space left on device"
    assert [message for _, message in pool._said] == [Died(reason)]
    assert (place.errand, place.member) == (None, None)
    assert place.is_refused == (kind is None)
    assert [str(problem) for problem in pool._problems] == [reason] * (kind is None)
    assert len(said) == (kind is None)
