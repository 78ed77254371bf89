"""Simulate what 1, 8, 100 and 1,000 GPUs do to a library of films, with the real scheduler and a clock of its own.

    python docs/experiments/farms/simulate.py [--figures FOLDER]

The units, who gets which, what is repeated and what is copied are decided by `Crew`, and where decoding begins by
`Timeline`, both of dagan. Simulated are the workers, the storage, and the part of `Film` and `_Execution` that waits
in threads: when a film is opened, how many segments it hands out, and that it takes them in one by one.
"""

from __future__ import annotations

import argparse
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import inf
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

from dagan_cli.media.video.segments import SEGMENT
from dagan_cli.media.video.split.timeline import Timeline
from dagan_cli.upscale.executors import crew as crews
from dagan_cli.upscale.executors.crew import Crew, Member, Task
from dagan_cli.upscale.executors.execution import _LIKELY, _PULSE, FILMS
from dagan_cli.upscale.executors.film import _AHEAD
from dagan_cli.upscale.executors.units import Died, Done, Look, Message, Piece, Unit

MB, GB = 1e6, 1e9
NOTHING: Any = None
Segment = tuple[int, int]  # film, number


@dataclass(frozen=True, slots=True, kw_only=True)
class Farm:
    """What is simulated. Times marked * are measured (README.md), all others are assumptions."""

    gpus: int
    films: int = 30
    frames: int = 144_000  # of a film: 100 minutes
    seed: int = 1

    network: float = 60.0  # frames/s of a GPU, 1080p to 4K
    cores: int = 16  # of a worker
    decode: float = 152.0  # * frames/s
    encode: float = 1.75  # * frames/s of a core
    source: float = 8.0 / 8 * MB / 24  # bytes of a frame
    result: float = 15.6 / 8 * MB / 24  # * bytes of a frame
    keys: int = 250  # frames between key frames, at most; scenes begin with others

    open: float = 0.05  # * seconds to open the film for a segment
    start: float = 15.0  # seconds until a worker has its model
    storage: float = 10 * GB  # bytes/s of the shared storage, both ways
    link: float = 1.25 * GB  # bytes/s of the coordinator's network, each way

    plan: float = 4.2e-6  # * seconds per frame
    check: float = 2486 * MB  # * bytes/s, a segment that is taken in is read and checked
    sync: float = 0.036  # * seconds until it is on the disk and in the journal
    join: float = 414 * MB  # * bytes/s of a film that is joined
    unit: float = 4e-4  # * seconds of the scheduler for a unit, with 1,000 workers
    message: float = 5e-5  # * seconds of the scheduler for a message, with 1,000 workers
    tells: float = 2.0  # messages of a worker in a second; inf: one for each frame

    slow: float = 0.0  # share of the workers that take `slowness` times as long
    slowness: float = 3.0
    hours: float = inf  # until a worker dies, on average
    copies: bool = True
    all_at_once: bool = False  # all films are opened at the start, as in an earlier version
    price: float = 3.0  # dollars of a GPU for an hour


@dataclass(slots=True)
class Server:
    """Serves one request after the other."""

    rate: float  # bytes/s
    free: float = 0.0
    busy: float = 0.0  # seconds

    def serve(self, now: float, size: float) -> float:
        """Return when a request that comes now has been served."""
        took = size / self.rate
        self.busy += took
        self.free = max(now, self.free) + took
        return self.free


@dataclass(eq=False, slots=True)
class Worker:
    """A member of the crew."""

    name: str
    farm: Simulation
    pace: float  # times as long as others
    is_new: bool = True

    def send(self, unit: Unit) -> None:
        self.farm.begin(self, unit)

    def stop(self) -> None:
        pass


class Simulation:
    """A pool of workers whose `wait` lets the time pass, and the films that they make."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.now = 0.0
        self.random = Random(farm.seed)
        self.crew = Crew(self, clock=lambda: self.now)
        self.storage = Server(farm.storage)
        self.link_in, self.link_out = Server(farm.link), Server(farm.link)
        self.computing = self.working = self.run_up = 0.0  # seconds of all GPUs, of all workers, and of these ahead
        self.scheduling = 0.0  # seconds of the scheduler
        self.done: dict[Segment, int] = {}  # how often a film's segment was taken in
        self.finished: list[float] = []  # when films were
        self.deaths = self.copies = 0
        self.reads = {"plan": 0.0, "take in": 0.0, "join": 0.0}  # bytes that the coordinator reads
        self.trace = [(0.0, 0)]  # workers that are busy, over time
        self._names = [f"gpu {number}" for number in range(farm.gpus)]
        slow = round(farm.slow * farm.gpus)
        self._slow = set(self.random.sample(self._names, slow))
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._said: list[tuple[Member, Message]] = []
        self._submitted = False
        self._busy = 0
        self._running: set[Segment] = set()  # segments that workers have
        fastest = min(farm.network, farm.encode * farm.cores, farm.decode)
        told = inf if farm.tells < inf else 1 / (farm.message * farm.gpus)  # frames/s that the scheduler hears of
        self.pace = min(fastest, told)  # frames/s of a worker
        self._todo = deque(range(farm.films))
        self._open = 0
        self._threads = 0
        self.opening = 0
        self._queue: deque[Film] = deque()

    def places(self) -> list[str]:
        return self._names

    def hire(self, place: str) -> Worker:
        return Worker(place, self, self.farm.slowness if place in self._slow else 1.0)

    def close(self) -> None:
        pass

    def wait(self, seconds: float) -> list[tuple[Member, Message]]:
        """Let the time pass until a worker says something, or there is something new to hand out."""
        until = self.now + max(seconds, 0.5)
        while self._events and not self._said:
            if self._submitted:
                self._submitted = False
                self.now += _PULSE / 2  # it is noticed by the next look
                return []
            if self._busy < self.farm.gpus and self._events[0][0] > until:
                self.now = until
                return []
            when, _, event = heappop(self._events)
            self.now = max(self.now, when)
            event()
        said, self._said = self._said, []
        took = len(said) * self.farm.unit / max(0.1, 1 - self._talk())
        self.scheduling += took
        self.now += took
        return said

    def _talk(self) -> float:
        """Return the share of its time that the scheduler spends on messages."""
        farm = self.farm
        return min(1.0, self._busy * farm.message * min(farm.tells, self.pace))

    def at(self, when: float, event: Callable[[], None]) -> None:
        self._count += 1
        heappush(self._events, (when, self._count, event))

    def submit(self, unit: Unit) -> Task:
        self._submitted = True
        return self.crew.submit(unit, lambda *_: None)

    def run(self) -> Simulation:
        """Do all the work, as `_Execution.run` does."""
        likely = 0 if self.farm.all_at_once else _LIKELY
        while self._open or self._todo:
            while self._todo and self.crew.appetite > likely * self.opening:
                self._open += 1
                self.opening += 1
                self._queue.append(Film(self, self._todo.popleft()))
            while self._queue and self._threads < FILMS:
                self._threads += 1
                self._queue.popleft().plan()
            self.crew.pump(_PULSE)
        return self

    def end(self) -> None:
        self._open -= 1
        self._threads -= 1
        self.finished.append(self.now)

    def begin(self, worker: Worker, unit: Unit) -> None:
        """Let a worker do a unit: read and decode, the network, encode, write."""
        farm, key = self.farm, None
        self._change(1)
        seconds = farm.open + (farm.start if worker.is_new else 0.0)
        worker.is_new = False
        size, read = 0.0, self.now
        if isinstance(unit, Piece):
            key = (int(unit.path.name), unit.number)
            self.copies += key in self._running
            self._running.add(key)
            frames, ahead = len(unit.stretch.times), unit.stretch.times[0] - (unit.stretch.key or 0)
            read = self.storage.serve(self.now, (frames + ahead) * farm.source)
            seconds += ahead / farm.decode * worker.pace + frames / self.pace * worker.pace
            self.run_up += ahead / farm.decode * worker.pace
            self.computing += frames / farm.network
            size = frames * farm.result
        life = self.random.expovariate(1 / (farm.hours * 3600)) if farm.hours < inf else inf
        if life < seconds:
            self.deaths += 1
            self.at(self.now + life, lambda: self._say(worker, Died("the node is gone"), key))
            return
        self.at(max(read, self.now + seconds), lambda: self._write(worker, size, key))

    def _write(self, worker: Worker, size: float, key: Segment | None) -> None:
        when = self.storage.serve(self.now, size) if size else self.now
        self.at(when, lambda: self._say(worker, Done(NOTHING), key))

    def _say(self, worker: Worker, message: Message, key: Segment | None) -> None:
        self._change(-1)
        if key is not None:
            self._running.discard(key)
        self._said.append((worker, message))

    def _change(self, step: int) -> None:
        """Count the workers that are busy."""
        since, busy = self.trace[-1]
        self.working += busy * (self.now - since)
        self.scheduling += self._talk() * (self.now - since)
        self._busy += step
        self.trace.append((self.now, self._busy))


class Film:
    """A film on its way, by the rules of `executors.film`."""

    def __init__(self, farm: Simulation, number: int) -> None:
        self._farm = farm
        self._name = Path(str(number))
        self._number = number
        self._running = 0
        self._done: list[int] = []  # segments that wait to be taken in
        self._is_busy = False
        numbers, place, keys = range(farm.farm.frames), 0, array("q")
        random = Random(number)
        while place < farm.farm.frames:
            keys.append(place)
            place += min(farm.farm.keys, 1 + int(random.expovariate(1 / 120)))
        self._timeline = Timeline(array("q", numbers), None, keys)
        self._missing = -(-farm.farm.frames // SEGMENT)
        self._left = iter(range(self._missing))

    def plan(self) -> None:
        """Read all packets, then let a worker choose the model."""
        sim, farm = self._farm, self._farm.farm
        read = self._carry(farm.frames * farm.source, sim.link_in)
        sim.reads["plan"] += farm.frames * farm.source
        sim.at(max(read, sim.now + farm.frames * farm.plan), self._look)

    def _look(self) -> None:
        self._farm.submit(Look(self._name)).answer.add_done_callback(lambda _: self._seen())

    def _seen(self) -> None:
        self._farm.opening -= 1
        self._hand_out()

    def _carry(self, size: float, link: Server) -> float:
        """Return when the coordinator has read or written so many bytes."""
        return max(self._farm.storage.serve(self._farm.now, size), link.serve(self._farm.now, size))

    def _hand_out(self) -> None:
        while self._running < _AHEAD * self._farm.crew.size:
            index = next(self._left, None)
            if index is None:
                return
            self._running += 1
            piece = Piece(
                path=self._name,
                plan=NOTHING,
                choice=NOTHING,
                signature="",
                stretch=self._timeline.stretch(index * SEGMENT, SEGMENT),
                folder=self._name,
                number=index,
            )
            task = self._farm.submit(piece)
            task.answer.add_done_callback(lambda answer, index=index: self._ended(index, answer))

    def _ended(self, index: int, answer: Any) -> None:
        answer.result()
        self._done.append(index)
        if not self._is_busy:
            self._take_in()

    def _take_in(self) -> None:
        """Take in what is done, one by one, then hand out as many."""
        sim, farm, batch = self._farm, self._farm.farm, self._done
        self._done, self._is_busy = [], True
        when = sim.now
        for index in batch:
            sim.done[self._number, index] = sim.done.get((self._number, index), 0) + 1
            size = SEGMENT * farm.result
            sim.reads["take in"] += size
            when = max(when + farm.sync + size / farm.check, self._carry(size, sim.link_in))
        sim.at(when, lambda: self._taken(len(batch)))

    def _taken(self, count: int) -> None:
        self._running -= count
        self._missing -= count
        self._is_busy = False
        self._hand_out()
        if self._done:
            self._take_in()
        elif not self._missing:
            self._join()

    def _join(self) -> None:
        sim, size = self._farm, self._farm.farm.frames * self._farm.farm.result
        sim.reads["join"] += size
        end = max(self._carry(size, sim.link_in), self._carry(size, sim.link_out), sim.now + size / sim.farm.join)
        sim.at(end, sim.end)


@contextmanager
def copying(is_on: bool) -> Iterator[None]:
    """Let the crew give copies of late segments to idle workers, or not."""
    before = crews._SLOW
    crews._SLOW = before if is_on else inf
    try:
        yield
    finally:
        crews._SLOW = before


def simulate(farm: Farm) -> Simulation:
    """Return a simulation that has ended."""
    with copying(farm.copies):
        return Simulation(farm).run()


BASE = Farm(gpus=1)
SIZES = (1, 8, 100, 1000)
SETUPS = {
    "10 Gbit/s": BASE,
    "100 Gbit/s": replace(BASE, link=12.5 * GB),
    "100 Gbit/s, veryfast": replace(BASE, link=12.5 * GB, encode=4.68, result=15.2 / 8 * MB / 24),
    "100 Gbit/s, veryfast, storage 1 GB/s": replace(
        BASE, link=12.5 * GB, encode=4.68, result=15.2 / 8 * MB / 24, storage=GB
    ),
}
ONE_FILM = replace(BASE, gpus=100, films=1, link=12.5 * GB)
UNEVEN = {
    "all alike": ONE_FILM,
    "2 % are 3 times slower, no copies": replace(ONE_FILM, slow=0.02, copies=False),
    "2 % are 3 times slower": replace(ONE_FILM, slow=0.02),
    "10 % are 6 times slower, no copies": replace(ONE_FILM, slow=0.1, slowness=6.0, copies=False),
    "10 % are 6 times slower": replace(ONE_FILM, slow=0.1, slowness=6.0),
    "each dies every 2 hours": replace(ONE_FILM, hours=2.0),
    "each dies every 12 minutes": replace(ONE_FILM, hours=0.2),
    "each dies every 12 minutes, 2 % are slow": replace(ONE_FILM, hours=0.2, slow=0.02),
}
BEFORE = {
    "1 GPU, all films opened at the start": replace(BASE, all_at_once=True),
    "1 GPU, as now": BASE,
    "1,000 GPUs, a message for each frame": replace(SETUPS["100 Gbit/s, veryfast"], gpus=1000, tells=inf),
    "1,000 GPUs, as now": replace(SETUPS["100 Gbit/s, veryfast"], gpus=1000),
}


def limits(sim: Simulation) -> dict[str, float]:
    """Return the share of the time in which each part is busy."""
    farm, time = sim.farm, sim.now
    return {
        "workers": sim.working / farm.gpus / time,
        "GPUs": sim.computing / farm.gpus / time,
        "storage": sim.storage.busy / time,
        "link": max(sim.link_in.busy, sim.link_out.busy) / time,
        "scheduler": min(1.0, sim.scheduling / time),
    }


def clock(seconds: float) -> str:
    """Return a time as "2 h 05 min" or "14 min 03 s"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes} min {rest:02} s"


def farms(setups: dict[str, Farm]) -> Iterator[tuple[str, Simulation]]:
    """Print a table of the sizes of a farm, and yield what it shows."""
    print("| setup | GPUs | library | first film | speed | GPU hours | cost |", end="")
    print(" workers | GPUs | storage | link | scheduler |")
    print("| --- |" + " --- |" * 11)
    for words, farm in setups.items():
        alone = 0.0
        for gpus in SIZES:
            sim = simulate(replace(farm, gpus=gpus))
            alone = alone or sim.now
            hours = gpus * sim.now / 3600
            shares = " | ".join(f"{100 * share:.0f} %" for share in limits(sim).values())
            print(f"| {words} | {gpus:,} | {clock(sim.now)} | {clock(min(sim.finished))} |", end="")
            print(f" {alone / sim.now:,.1f} | {hours:.0f} | ${hours * farm.price:,.0f} | {shares} |", flush=True)
            yield words, sim


def others(setups: dict[str, Farm], seeds: int = 1) -> Iterator[tuple[str, Simulation]]:
    """Print a table of other questions, means over some seeds, and yield the last one of each."""
    print("| | done after | first film | deaths | copies | scheduler |")
    print("| --- |" + " --- |" * 5)
    for words, farm in setups.items():
        sims = [simulate(replace(farm, seed=seed)) for seed in range(seeds)]
        ends, firsts = [sim.now for sim in sims], [min(sim.finished) for sim in sims]
        counts = [mean(sim.deaths for sim in sims), mean(sim.copies for sim in sims)]
        share = 100 * mean(limits(sim)["scheduler"] for sim in sims)
        print(f"| {words} | {clock(mean(ends))} | {clock(mean(firsts))} |", end="")
        print(f" {counts[0]:.3g} | {counts[1]:.3g} | {share:.0f} % |", flush=True)
        yield words, sims[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", type=Path, help="a folder for figures")
    folder = parser.parse_args().figures
    whole = list(farms(SETUPS))
    print()
    uneven = dict(others(UNEVEN, seeds=8))
    print()
    list(others(BEFORE))
    if folder is not None:
        draw(folder, whole, uneven)


def draw(folder: Path, whole: list[tuple[str, Simulation]], uneven: dict[str, Simulation]) -> None:
    """Draw scaling.svg, limits.svg and stragglers.svg."""
    from trainer.record.plot import COLOURS, drawing

    with drawing() as Figure:
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.subplots()
        for number, words in enumerate(SETUPS):
            sims = [sim for name, sim in whole if name == words]
            speeds = [3600 * sim.farm.films / sim.now for sim in sims]
            axes.loglog(SIZES, speeds, marker="o", markersize=3, color=COLOURS[number], linewidth=1.4, label=words)
            if words in ("10 Gbit/s", "100 Gbit/s, veryfast"):
                ideal = [speeds[0] * size for size in SIZES]
                axes.loglog(SIZES, ideal, color=COLOURS[number], linewidth=0.8, linestyle=":")
        axes.set_xticks(SIZES, labels=[f"{size:,}" for size in SIZES])
        axes.minorticks_off()
        axes.set_xlabel("GPUs")
        axes.set_title("films per hour (dotted: as many times one GPU)", loc="left")
        _finish(figure, axes, folder / "scaling.svg")

        figure = Figure(figsize=(6.4, 2.8), layout="constrained")
        axes = figure.subplots()
        parts = list(limits(whole[0][1]))
        for number, part in enumerate(parts):
            sims = [sim for name, sim in whole if name == "10 Gbit/s"]
            places = [place + 0.16 * (number - 2) for place in range(len(sims))]
            heights = [100 * limits(sim)[part] for sim in sims]
            axes.bar(places, heights, 0.15, color=COLOURS[number], label=part)
        axes.set_xticks(range(len(SIZES)), labels=[f"{size:,} GPU{'s' * (size > 1)}" for size in SIZES])
        axes.set_title("busy, % of the time (10 Gbit/s)", loc="left")
        _finish(figure, axes, folder / "limits.svg")

        figure = Figure(figsize=(6.4, 2.8), layout="constrained")
        axes = figure.subplots()
        for number, words in enumerate(("all alike", "10 % are 6 times slower, no copies", "10 % are 6 times slower")):
            sim = uneven[words]
            axes.step(*zip(*sim.trace, strict=True), where="post", color=COLOURS[number], linewidth=1.1, label=words)
            axes.axvline(sim.now, color=COLOURS[number], linewidth=0.9, linestyle="--")
        axes.set_xlim(0, None)
        axes.set_xlabel("seconds (dashed: the film is joined)")
        axes.set_title("one film on 100 workers: workers that are busy", loc="left")
        _finish(figure, axes, folder / "stragglers.svg")


def _finish(figure: Any, axes: Any, path: Path) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#E3E6EA", linewidth=0.6)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
