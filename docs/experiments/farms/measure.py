"""Measure the times that simulate.py starts from, on one thread, in seconds of the processor.

    python docs/experiments/farms/measure.py [VIDEO]

VIDEO is any real clip of two seconds or more; it is enlarged to 1920x1080 and to 3840x2160 for the measurements.
Without it, only the scheduler is measured.
Nothing here needs a GPU; what a GPU does is an assumption of simulate.py.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np

from dagan_cli.media.video.frames import planes_of
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.segments import piece_name
from dagan_cli.media.video.source import open_video
from dagan_cli.media.video.split.gathering import gather_video
from dagan_cli.media.video.split.segment import SegmentEncoder
from dagan_cli.media.video.split.timeline import Stretch, timeline_of
from dagan_cli.media.video.writer import SEGMENT
from dagan_cli.upscale.events import Advance
from dagan_cli.upscale.executors.crew import Crew
from dagan_cli.upscale.executors.film import Film
from dagan_cli.upscale.executors.ledger import Ledger
from dagan_cli.upscale.executors.units import Done, Look, Made, Told

FRAMES = 48  # of the clips for the codecs
WORKERS = (1, 8, 100, 1000)
NOTHING: Any = None


def spent(work: Callable[[], object], runs: int = 1, clock: Callable[[], float] = time.process_time) -> float:
    """Return the fewest seconds of several runs."""
    best = float("inf")
    for _ in range(runs):
        begun = clock()
        work()
        best = min(best, clock() - begun)
    return best


def enlarged(video: Path, width: int, height: int, frames: int) -> list[av.VideoFrame]:
    """Return the first frames in another size."""
    with av.open(str(video)) as source:
        return [
            frame.reformat(width, height, "yuv420p", interpolation="BICUBIC")
            for frame in islice(source.decode(video=0), frames)
        ]


def encoded(path: Path, frames: list[av.VideoFrame], repeats: int = 1, **options: str) -> Path:
    """Write a clip with x264; key frames are at most 250 frames apart."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", 24, options={"crf": "20", **options})
        video.width, video.height, video.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        video.codec_context.thread_count = 1
        for number in range(len(frames) * repeats):
            frame = frames[number % len(frames)]
            frame.pts, frame.time_base = number, Fraction(1, 24)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def codecs(video: Path, folder: Path) -> Iterator[tuple[str, float, str]]:
    """Decoding 1080p, and encoding 4K with the options that dagan chooses."""
    small = encoded(folder / "small.mp4", enlarged(video, 1920, 1080, FRAMES))
    with av.open(str(small)) as source:
        source.streams.video[0].codec_context.thread_count = 1
        took = spent(lambda: [None for _ in source.decode(video=0)])
    yield "decode 1080p H.264", FRAMES / took, "frames/s of a core"
    with open_video(small) as opened:
        info = opened.info
        timeline = timeline_of(info)
        assert timeline is not None
        yield "open a video for a segment", spent(lambda: open_video(small).__enter__().info, 3), "s"
    frames = enlarged(video, 3840, 2160, FRAMES)
    for preset in (None, "veryfast"):
        target, encoding = folder / f"big-{preset}.mp4", Encoding(preset=preset)
        settings: dict[str, Any] = {"trim": False, "made_by": "", "record": "", "resume": None, "segment": SEGMENT}
        with gather_video(target, info, (3840, 2160), encoding, timeline, **settings) as gathering:
            name = piece_name(0)
            plan = replace(gathering.plan, threads=1)
            encoder = SegmentEncoder(plan, (gathering.folder / name).open("xb"))
            big = [planes_of(frame, plan.recipe.layout) for frame in frames]

            def encode(encoder: SegmentEncoder = encoder, big: Any = big) -> None:
                for planes, time_ in zip(big, timeline.times, strict=True):
                    encoder.add(planes, time_, timeline.times[1] - timeline.times[0], b"")
                encoder.finish()

            took = spent(encode)
            size = (gathering.folder / name).stat().st_size
            gathering.adopt(0, name, encoder.durations, "", "")
        words = f"x264 {preset or 'as dagan chooses'}"
        yield f"encode 4K, {words}", FRAMES / took, "frames/s of a core"
        yield f"size of 4K, {words}", size * 8 * 24 / FRAMES / 1e6, "Mbit/s at 24 frames/s"


def joining(folder: Path) -> Iterator[tuple[str, float, str]]:
    """Taking in segments and joining them: real segments of noise, which are large for their frames."""
    random = np.random.default_rng(1)
    noise = [
        av.VideoFrame.from_ndarray(random.integers(0, 256, (720 * 3 // 2, 1280), "u1"), "yuv420p") for _ in range(4)
    ]
    source = encoded(folder / "noise.mp4", noise, 60, preset="ultrafast", crf="12", g="24")
    length, walls, processors = 24, [], []
    with open_video(source) as opened:
        timeline = timeline_of(opened.info)
        assert timeline is not None
        settings: dict[str, Any] = {"trim": False, "made_by": "", "record": "", "resume": None, "segment": length}
        encoding = Encoding(preset="ultrafast", crf=12)
        gathered = gather_video(folder / "joined.mp4", opened.info, (1280, 720), encoding, timeline, **settings)
        with gathered as gathering:
            size = 0
            for index in range(gathering.count):
                name, stretch = piece_name(index), gathering.stretch(index)
                encoder = SegmentEncoder(gathering.plan, (gathering.folder / name).open("xb"))
                for frame, pts in zip(open_frames(source, stretch), stretch.times, strict=True):
                    encoder.add(frame, pts, timeline.times[1] - timeline.times[0], b"")
                encoder.finish()
                size += (gathering.folder / name).stat().st_size
                os.sync()
                begun, before = time.monotonic(), time.process_time()
                gathering.adopt(index, name, encoder.durations, "", "")
                walls.append(time.monotonic() - begun)
                processors.append(time.process_time() - before)
            begun, before = time.monotonic(), time.process_time()
        wall, processor = time.monotonic() - begun, time.process_time() - before
    mb = size / 1e6
    yield "take in a segment: read and check", mb / sum(processors), "MB/s of a core"
    yield "take in a segment: sync and journal, median", sorted(walls)[len(walls) // 2], "s"
    yield "join", mb / processor, "MB/s of a core"
    yield "join, with the disk", mb / wall, "MB/s"


def open_frames(path: Path, stretch: Stretch) -> Iterator[list[np.ndarray]]:
    with open_video(path) as source:
        for frame in source.frames_at(stretch.times, stretch.key):
            yield [np.array(plane) for plane in frame.planes]


def planning(folder: Path) -> Iterator[tuple[str, float, str]]:
    """Finding where a film can be cut: its packets are read once."""
    grey = [av.VideoFrame.from_ndarray(np.full((96, 64), 128, "u1"), "yuv420p")]
    film = encoded(folder / "film.mp4", grey, 20_000, preset="ultrafast")
    with open_video(film) as source:
        yield "plan a film", spent(lambda: timeline_of(source.info), 3) / 20_000 * 1e6, "µs per frame"


class Instant:
    """A pool whose workers answer at once; it has one message for each call."""

    def __init__(self, size: int) -> None:
        self._names = [f"worker {number}" for number in range(size)]
        self.said: deque[tuple[Any, Any]] = deque()
        self.answers = True
        self.last: Any = None  # the worker that was sent the last unit

    def places(self) -> list[str]:
        return self._names

    def hire(self, place: str) -> Any:
        return _Member(place, self)

    def wait(self, seconds: float) -> list[tuple[Any, Any]]:
        return [self.said.popleft()] if self.said else []

    def close(self) -> None:
        pass


class _Member:
    def __init__(self, name: str, pool: Instant) -> None:
        self.name, self._pool = name, pool

    def send(self, unit: Any) -> None:
        self._pool.last = self
        if self._pool.answers:
            self._pool.said.append((self, Done(None)))  # type: ignore[arg-type]

    def stop(self) -> None:
        pass


def scheduling() -> Iterator[tuple[str, float, str]]:
    """The scheduler's own time: units and messages that cost nothing."""
    for size in WORKERS:
        pool = Instant(size)
        crew = Crew(pool)
        for _ in range(size):
            crew.submit(Look(Path()), lambda *_: None)
        crew.pump(0)  # all are hired and busy
        units = 300
        for _ in range(units):
            crew.submit(Look(Path()), lambda *_: None)

        def pump(crew: Crew = crew, units: int = units) -> None:
            for _ in range(units):
                crew.pump(0)

        yield f"crew of {size}, a unit", spent(pump) / units * 1e6, "µs"
        while pool.said:
            crew.pump(0)
        pool.answers = False
        for _ in range(2 * size):
            crew.submit(Look(Path()), lambda *_: None)
        crew.pump(0)
        member = pool.last  # all are busy, and as many units wait

        def told(crew: Crew = crew, pool: Instant = pool, member: Any = member, units: int = units) -> None:
            for _ in range(units):
                pool.said.append((member, Told(Advance(1, 2, "frames"))))
                crew.pump(0)

        yield f"crew of {size}, a message", spent(told) / units * 1e6, "µs"


def filming() -> Iterator[tuple[str, float, str]]:
    """The time of a film's own thread for a segment, and for a message, with all workers on one film."""
    for size in WORKERS:
        segment, message = _filmed(size)
        yield f"film on {size} workers, a message", message * 1e6, "µs"
        yield f"film on {size} workers, a segment", segment * 1e6, "µs"


def _filmed(size: int) -> tuple[float, float]:
    """Return seconds of a segment and of a message."""
    waiting: list[Future[Any]] = []
    tells: list[Callable[[str, Any], None]] = []

    def submit(_: Any, tell: Any) -> Any:
        tells.append(tell)
        waiting.append(Future())
        return SimpleNamespace(answer=waiting[-1])

    film = Film(
        path=Path("film.mp4"),
        target=Path("out.mp4"),
        request=NOTHING,
        submit=submit,
        tell=lambda _: None,
        size=lambda: size,
        should_stop=lambda: False,
    )
    count, took = 2 * size + 200, 0.0
    gathering: Any = SimpleNamespace(
        is_alone=lambda _: False,
        plan=None,
        stretch=lambda *_: Stretch((0,), None, None),
        folder=Path(),
        adopt=lambda *_: None,
        frames=0,
        resumed=0,
        has_captions=False,
    )
    seen: Any = SimpleNamespace(choice=None, used=SimpleNamespace(signature=""))
    made = Made(
        name="", durations=[], before="", last="", has_captions=False, reused=0, tiles=0, notices=(), used=NOTHING
    )

    def run() -> None:
        nonlocal took
        begun = time.thread_time()
        film._make_these(list(range(count)), {}, gathering, seen, count)
        took = time.thread_time() - begun

    thread = threading.Thread(target=run)
    thread.start()
    while len(waiting) < 2 * size:
        time.sleep(0.01)
    for tell in tells[: 2 * size]:
        tell("", Advance(1, 2, "frames"))  # all are under way
    message = spent(lambda: [tell("", Advance(1, 2, "frames")) for tell in tells[:300]], 3) / min(300, 2 * size)
    for number in range(count):
        while len(waiting) <= number:
            time.sleep(0.0001)
        waiting[number].set_result(("", made))
        time.sleep(0.002 if number < 200 else 0)
    thread.join()
    return took / count, message


def messages() -> Iterator[tuple[str, float, str]]:
    """What a message of a local worker costs the first process, and the size of a unit."""
    ours, theirs = Pipe()
    event = Told(Advance(1, 240, "frames"))

    def carry() -> None:
        for _ in range(1000):
            theirs.send(event)
            ours.recv()

    yield "send and receive a message", spent(carry, 3) / 1000 * 1e6, "µs"
    times = tuple(range(0, 240 * 512, 512))
    yield "the frames' times of a segment, sent", len(pickle.dumps(Stretch(times, 0, 0))), "bytes"


def telling() -> Iterator[tuple[str, float, str]]:
    """Whether an input has its result, with 100,000 inputs."""
    paths = [Path(f"/library/in/{number:06}.png") for number in range(100_000)]
    ledger = Ledger(paths, lambda _: None)
    missing = Path("/library/in/none.png")
    yield "ask 100,000 inputs for one that is told", spent(lambda: ledger.has(missing), 3) * 1e6, "µs"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        media = (codecs(Path(sys.argv[1]), folder), joining(folder), planning(folder)) if sys.argv[1:] else ()
        steps = (*media, scheduling(), filming(), messages(), telling())
        for step in steps:
            for words, value, unit in step:
                print(f"| {words} | {value:,.4g} {unit} |", flush=True)


if __name__ == "__main__":
    main()
