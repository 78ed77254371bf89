"""A job on a real Ray cluster of processes: nodes and the first process die in the middle, and nothing is lost."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dagan_cli.commands.app import run_command
from dagan_cli.upscale.executors.cluster.pool import Cluster
from tests.conftest import Cli
from tests.support.ray_cluster import RayCluster
from tests.support.tiny import STEADY, clip, command, frames_of, left_over, picture

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

SEGMENTS, FRAMES = 20, 48
IMAGES = 60


class Scene(NamedTuple):
    """A running cluster, inputs that all nodes see, inputs that only the first one sees, and the results of both."""

    cluster: RayCluster
    seen: Path
    unseen: Path
    expected: Path
    options: tuple[object, ...]


@pytest.fixture
def scene(tmp_path: Path, tiny_model: Path) -> Iterator[Scene]:
    folder = tmp_path / "cluster"
    seen, unseen, expected = (folder / name for name in ("seen", "unseen", "expected"))
    for number in range(IMAGES):
        picture(seen / f"{number:02}.png", (24, 16), seed=number)
    encoded = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "30", "-c:a", "aac")
    clip(seen / "film.mp4", *encoded, seconds=SEGMENTS * FRAMES / 25, source="testsrc2=size=32x24:rate=25")
    for name in ("00.png", "01.png", "02.png", "03.png", "film.mp4"):
        unseen.mkdir(exist_ok=True)
        shutil.copy(seen / name, unseen)
    options = ("-s", 2, "-n", tiny_model, "--device", "cpu", "--runtime", "torch", "--quiet", *STEADY)
    assert run_command(["upscale", str(seen), *map(str, options), "-o", str(expected)]) == 0
    cluster = RayCluster(folder, unseen)
    try:
        yield Scene(cluster, seen, unseen, expected, options)
    finally:
        cluster.close()


def arguments(scene: Scene, source: Path, out: Path) -> tuple[object, ...]:
    return ("upscale", source, *scene.options, "-o", out, "--cluster", scene.cluster.address)


def require_equal(expected: Path, out: Path, count: int) -> None:
    """The same files, byte for byte, and nothing else."""
    names = sorted(path.name for path in out.iterdir())
    assert len(names) == count
    for name in names:
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name
    assert left_over(out.parent) == []


def segments_in(out: Path) -> int:
    """Finished segments of a video in work."""
    return len(list(out.glob(".dagan-*.work/*.packets")))


def once(condition: Callable[[], bool], act: Callable[[], Any]) -> threading.Thread:
    """Do something in another thread as soon as a condition holds."""

    def wait() -> None:
        until = time.monotonic() + 60
        while not condition() and time.monotonic() < until:
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_job_on_a_real_cluster(scene, tmp_path, cli):
    """One test, so that one cluster serves it, also where tests are spread over several processes."""
    node = scene.cluster.add()
    if scene.cluster.hides:
        a_node_that_sees_neither_inputs_nor_outputs_gets_and_sends_their_bytes(scene, tmp_path, cli)
    a_job_survives_the_death_of_its_first_process_and_then_of_a_node(scene, node, tmp_path, cli)
    a_cluster_without_gpus_is_asked_for_one_in_vain(scene, tmp_path, cli)
    a_run_ends_with_its_report_when_the_head_node_is_gone(scene, tmp_path)


def a_node_that_sees_neither_inputs_nor_outputs_gets_and_sends_their_bytes(scene: Scene, tmp_path: Path, cli: Cli):
    out, report = scene.unseen / "out", tmp_path / "report.json"
    ran = cli(*arguments(scene, scene.unseen, out), "--report", report)
    assert ran.code == 0, ran.err
    require_equal(scene.expected, out, 5)
    told = json.loads(report.read_text())
    assert [bool(each["images"] + each["segments"]) for each in told["nodes"]] == [True, True]
    assert {Path(item["output"]).parent for item in told["items"]} == {out}


def a_job_survives_the_death_of_its_first_process_and_then_of_a_node(
    scene: Scene, node: subprocess.Popen[bytes], tmp_path: Path, cli: Cli
):
    out, report = tmp_path / "results" / "out", tmp_path / "report.json"
    process = subprocess.Popen(command(*arguments(scene, scene.seen, out)))
    once(lambda: segments_in(out) >= 3, process.kill).join()
    assert process.wait() == -signal.SIGKILL

    before = segments_in(out)
    left: list[int] = []

    def kill() -> None:
        left.append(SEGMENTS - segments_in(out))
        scene.cluster.kill(node)

    clusters: list[Cluster] = []
    begin = Cluster.__init__

    def noted(self: Cluster, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        clusters.append(self)

    def is_shared() -> bool:
        """True once both nodes have made a segment of the film."""
        return segments_in(out) >= before + 3 and sum(row["segments"] > 0 for row in clusters[0].report()) == 2

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "__init__", noted)
        killer = once(is_shared, kill)
        ran = cli(*arguments(scene, scene.seen, out), "--report", report)
        killer.join()
    assert 0 < left[0] < SEGMENTS - before
    assert ran.code == 0, ran.err
    require_equal(scene.expected, out, IMAGES + 1)
    assert len(frames_of(out / "film_x2.mp4")) == SEGMENTS * FRAMES

    told = json.loads(report.read_text())
    items = {Path(item["input"]).name: item for item in told["items"]}
    assert len(told["items"]) == len(items) == IMAGES + 1
    film = items.pop("film.mp4")
    resumed = film["resumed"] // FRAMES
    assert film["status"] == "done"
    assert film["resumed"] == resumed * FRAMES
    assert before - 1 <= resumed <= before  # one of them may not have been in the journal when the process was killed
    done = [item for item in items.values() if item["status"] == "done"]
    assert {item["status"] for item in items.values()} <= {"done", "skipped"}
    assert all(item["workers"] for item in done)
    assert len(told["nodes"]) == 2
    assert sum(each["images"] for each in told["nodes"]) == len(done)
    counts = [each.rpartition(": ")[2] for each in film["workers"]]
    assert sum(int(count.split()[0]) for count in counts) == SEGMENTS - resumed  # whoever made a copy as well
    assert all(each["segments"] for each in told["nodes"])


def a_cluster_without_gpus_is_asked_for_one_in_vain(scene: Scene, tmp_path: Path, cli: Cli):
    ran = cli(*arguments(scene, scene.seen, tmp_path / "out"), "--device", "cuda")
    assert ran.code == 2
    first, second, *_ = ran.err.splitlines()
    assert re.fullmatch(r"error: the cluster has no GPU \(\d nodes?\), and --device cuda asks for one", first)
    assert second == "  try: add nodes with GPUs (ray start --num-gpus), or use --device cpu"


def a_run_ends_with_its_report_when_the_head_node_is_gone(scene: Scene, tmp_path: Path):
    """In a process of its own, as Ray would end this one a minute later."""
    out, report = tmp_path / "head" / "out", tmp_path / "report.json"
    code = "import dagan_cli.upscale.executors.cluster.pool as pool; pool._SILENCE = 1.0; "
    code += "from dagan_cli.__main__ import program; program()"
    words = arguments(scene, scene.seen / "film.mp4", out / "film_x2.mp4")
    command = [sys.executable, "-c", code, *map(str, (*words, "--report", report))]
    killer = once(lambda: segments_in(out) >= 1, lambda: scene.cluster.kill(scene.cluster.head))
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    killer.join()
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        "error: the head node of the cluster has not answered for 1 s",
        "  try: start the cluster, and run the same command again: it continues",
    ]
    assert [item["status"] for item in json.loads(report.read_text())["items"]] == ["untried"]
    assert segments_in(out) >= 1
