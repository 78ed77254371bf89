"""What other programs do to a measurement: it is seen, and nothing is concluded from it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dagan_cli.bench import busy
from dagan_cli.bench.busy import Busy, Watch

CORES = 2


class Machine:
    """A /proc/stat of two cores whose clock and counters the test moves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stat = folder / "stat"
        self.now, self.own = 100.0, 0.0
        self.counts = {"user": 1000, "nice": 500, "system": 300, "stolen": 0}
        self.each_second: dict[str, float] = {}
        monkeypatch.setattr(busy, "_cores", lambda: set(range(CORES)))
        monkeypatch.setattr(busy.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(busy.time, "sleep", self.pass_time)
        monkeypatch.setattr(busy, "_own", lambda: (self.own, 0.0))
        self._write()

    def pass_time(self, seconds: float, own: float = 0.0) -> None:
        """Let time pass in which other programs use the cores of `each_second`, and this one `own`."""
        self.now += seconds
        self.own += own * seconds
        for name, cores in self.each_second.items():
            self.counts[name] += round(100 * cores * seconds)
        self.counts["user"] += round(100 * own * seconds)
        self._write()

    def _write(self) -> None:
        user, nice, system, stolen = self.counts.values()
        first = f"cpu0 {user} {nice} {system} 9999 5 0 0 {stolen} 0 0"
        self.stat.write_text(f"cpu  1 1 1 1 1 1 1 1 0 0\n{first}\ncpu1 0 0 0 9999 0 0 0 0 0 0\nintr 5 0 0\n")


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_what_this_program_uses_is_not_counted(machine):
    watch = Watch(machine.stat)
    machine.pass_time(10, own=1.9)
    found = watch.result()
    assert found.others == pytest.approx(0, abs=0.02)
    assert not found.is_busy
    assert found.lines == []


@pytest.mark.parametrize("counter", ["user", "system", "stolen"])
def test_programs_that_come_during_the_measurement_are_seen(machine, counter):
    watch = Watch(machine.stat)
    machine.each_second = {counter: 1.8}
    machine.pass_time(10, own=0.2)
    found = watch.result()
    assert found.others == pytest.approx(1.8, abs=0.02)
    (line,) = found.lines
    assert line == "the machine is busy: 1.8 of 2 cores are in use by other programs; numbers would mislead"
    assert found.to_dict() == {"cores": 2, "busy_cores": 1.8, "low_priority_cores": 0.0}


def test_programs_that_ended_before_it_are_seen(machine):
    machine.each_second = {"user": 1.0}
    watch = Watch(machine.stat)
    machine.each_second = {}
    machine.pass_time(10, own=2)
    assert watch.result().is_busy


def test_programs_of_low_priority_are_named_and_not_counted(machine):
    watch = Watch(machine.stat)
    machine.each_second = {"nice": 1.5}
    machine.pass_time(10)
    found = watch.result()
    assert not found.is_busy
    assert found.lines == ["programs of low priority use 1.5 cores, and make way"]


@pytest.mark.parametrize(
    ("cores", "others", "is_busy"),
    [(1, 0.4, False), (2, 0.5, False), (2, 0.51, True), (16, 3.9, False), (16, 4.1, True)],
)
def test_a_quarter_of_the_cores_and_half_a_core_may_be_in_use(cores, others, is_busy):
    assert Busy(cores, others).is_busy == is_busy


@pytest.mark.parametrize("text", [None, "", "cpu0 0 0 0 0 0 0 0 0 0 0\n"])
def test_without_the_counters_the_load_of_the_system_stands_for_them(tmp_path, monkeypatch, text):
    """None: no Linux. Zeros: a sandbox that hides them."""
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    monkeypatch.setattr(busy, "_cores", lambda: {0, 1})
    monkeypatch.setattr(os, "getloadavg", lambda: (1.7, 0.0, 0.0))
    assert Watch(stat).result() == Busy(2, 1.7)


@pytest.mark.slow
@pytest.mark.skipif(not busy.STAT.is_file(), reason="needs /proc/stat")
def test_a_real_program_is_seen_and_its_low_priority_too():
    loop = [sys.executable, "-c", "while True: pass"]
    with_it: list[Busy] = []
    for start in ([], ["nice", "-n", "19"]):
        with subprocess.Popen([*start, *loop]) as process:
            try:
                time.sleep(0.2)  # it starts
                watch = Watch(seconds=0.3)
                time.sleep(0.3)
                with_it.append(watch.result())
            finally:
                process.kill()
    normal, low = with_it
    assert normal.others > 0.3
    assert low.low > 0.05
