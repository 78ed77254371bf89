"""Workers in real processes: killed, interrupted, and left behind by a first process that was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dagan_cli.engine.options import EngineOptions
from dagan_cli.errors import BadInput
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.prefetch import processors
from dagan_cli.upscale.events import Stopped
from dagan_cli.upscale.executors.processes import Processes
from dagan_cli.upscale.executors.units import Died, Raised, WorkerDied, sendable
from dagan_cli.upscale.request import Goal, Request
from tests.support.tiny import clip, command, frames_of, left_over, picture
from weights.choice import ModelChoice

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")

TWICE = ("-n", "bicubic", "-s", "2", "--device", "cpu", "--preset", "ultrafast")
PATIENCE = 120  # seconds


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film of four segments."""
    return clip(tmp_path / "film.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "60", seconds=36)


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("upscale", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def below(process: int) -> Iterator[int]:
    """The processes that descend from one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            number = int(entry.name)
            parents[number] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    known = {process}
    while found := {child for child, parent in parents.items() if parent in known} - known:
        known |= found
        yield from found


def workers(process: int) -> list[int]:
    """The workers below one process: those that the server of forks has made."""
    return [worker for server in below(process) for worker in below(server)]


def wait_until(condition, *arguments: object) -> object:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := condition(*arguments):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{condition} never came true")


def segments(target: Path) -> int:
    return len(list(target.parent.glob(".dagan-*.work/*.packets")))


def test_a_worker_that_is_killed_costs_nothing_but_time(tmp_path):
    film = clip(tmp_path / "film.mp4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "60", seconds=72)  # long
    images = [picture(tmp_path / f"a{number}.png", (30, 20), seed=number) for number in range(6)]
    assert start(film, *images, *TWICE, "-o", tmp_path / "alone").wait(PATIENCE) == 0
    shared = tmp_path / "shared"
    run = start(film, *images, *TWICE, "-o", shared, "--jobs", "2", "--json")
    wait_until(segments, shared / "film_x2.mp4")
    os.kill(workers(run.pid)[0], signal.SIGKILL)
    out, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, said
    assert json.loads(out)["totals"]["done"] == 7
    for path in (tmp_path / "alone").iterdir():
        assert path.read_bytes() == (shared / path.name).read_bytes()
    assert not left_over(shared)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_when_the_first_process_ends_so_do_the_workers_and_the_same_command_goes_on(tmp_path, film, tiny_model, blow):
    target = tmp_path / "out.mkv"
    asked = (film, "-n", tiny_model, "-s", "2", "--device", "cpu", "--runtime", "torch", "-o", target, "--jobs", "2")
    run = start(*asked)
    wait_until(segments, target)
    ours = workers(run.pid)
    assert len(ours) == 2
    if blow == signal.SIGINT:
        os.killpg(run.pid, blow)  # as a terminal does
    else:
        os.kill(run.pid, blow)
    _, said = run.communicate(timeout=PATIENCE)
    assert run.returncode == (130 if blow == signal.SIGINT else -blow), said
    assert b"Traceback" not in said
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in ours))
    assert not target.exists()
    again = start(*asked, "--json")
    out, said = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said
    item = json.loads(out)["items"][0]
    assert item["resumed"] >= 48
    assert item["frames"] == len(frames_of(target)) == 900
    assert not left_over(tmp_path)


@pytest.mark.parametrize("error", [BadInput("odd", hint="none"), Stopped(), WorkerDied("gone")])
def test_errors_reach_the_first_process_as_they_were_raised(error):
    import pickle

    raised = pickle.loads(pickle.dumps(Raised(error))).error
    assert type(raised) is type(error)
    assert str(raised) == str(error)
    assert getattr(raised, "hint", None) == getattr(error, "hint", None)


def test_how_a_worker_has_ended_is_said_in_words():
    pool = Processes(request(), ("cpu",), serve=leave)
    try:
        for number, words in ((7, "it ended with code 7"), (-9, "SIGKILL, perhaps by the system for lack of memory")):
            pool.hire("cpu").send(number)  # type: ignore[arg-type]
            ((_, message),) = pool.wait(PATIENCE)
            assert isinstance(message, Died)
            assert words in message.reason
    finally:
        pool.close()


def request() -> Request:
    options, encoding = EngineOptions(device="cpu"), Encoding()
    return Request(
        inputs=(), output=None, goal=Goal.of(2, None), model=ModelChoice(), engine=options, encoding=encoding
    )


class Odd(Exception):
    """An error as some libraries have: it cannot be made again from what it holds."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one)


def test_an_error_that_cannot_be_sent_is_sent_in_words():
    assert str(sendable(Odd("torn", "apart"))) == "Odd('torn')"
    error = BadInput("odd", hint="none")
    assert sendable(error) is error


def test_workers_plan_with_their_share_of_the_memory(tmp_path):
    pool = Processes(request(), ("cpu", "cpu", "cuda:0"), serve=tell_shares)
    try:
        told = []
        for place in pool.places():
            pool.hire(place)
            ((_, message),) = pool.wait(PATIENCE)
            told.append(message)
        assert told == [("cpu", 2, 3, threads()), ("cpu", 2, 3, threads()), ("cuda:0", 1, 3, threads())]
    finally:
        pool.close()


def threads() -> int:
    return max(1, processors() // 3)


def tell_shares(pipe, request: Request, device: str, threads: int) -> None:
    """Be a worker that only says what it was given."""
    pipe.send((device, request.engine.on_device, request.engine.on_machine, threads))
    pipe.recv()


def leave(pipe, *_: object) -> None:
    """Be a worker that ends as it is told."""
    if (code := pipe.recv()) < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)
