"""Measure one worker against two on a job whose units wait: a network that takes a fixed 0.2 s a tile.

    python docs/experiments/workers/measure.py

The wait stands for a device of its own, which this machine need not have.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from PIL import Image

from dagan_cli.engine.options import EngineOptions
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.upscale.batch import run
from dagan_cli.upscale.events import Event, Item
from dagan_cli.upscale.executors import processes
from dagan_cli.upscale.request import Goal, Request
from dagan_cli.upscale.work import Engines
from weights.choice import ModelChoice

WAIT = 0.2  # seconds a tile
IMAGES, FRAMES = 150, 192


def slow(pipe: Any, request: Request, device: str, threads: int) -> None:
    """Be a worker whose network waits."""
    let_the_network_wait()
    processes._serve(pipe, request, device, threads)


def let_the_network_wait() -> None:
    """Replace the network of every engine: it takes a fixed time, and hardly a processor."""
    from torch import Tensor, nn

    from dagan_cli.engine.engine import Engine

    def waiting(self: Engine, x: Tensor, _: Any) -> Tensor:
        time.sleep(WAIT)
        return nn.functional.interpolate(x, scale_factor=self.scale)

    Engine._apply = waiting


def seconds(source: Path, out: Path, workers: int) -> tuple[float, float]:
    """Return the seconds of a whole run, and those from its first result, or first frame, on."""
    request = Request(
        inputs=(str(source),),
        output=str(out),
        goal=Goal.of(2, None),
        model=ModelChoice("dagan-x2-psnr"),
        engine=EngineOptions(device="cpu", runtime="torch"),
        encoding=Encoding(preset="ultrafast"),
        devices=("cpu",) * workers,
        reuse=False,
    )
    first: list[float] = []

    def tell(event: Event) -> None:
        if isinstance(event, Item):
            assert event.status == "done", event.reason
        if type(event).__name__ in ("Advance", "Item") and not first:
            first.append(time.monotonic())

    started = time.monotonic()
    run(request, Engines(request, tell), tell)
    ended = time.monotonic()
    return ended - started, ended - first[0]


def main() -> None:
    """Print both jobs with one worker and with two."""
    Pool = processes.Processes
    processes.Processes = lambda request, devices: Pool(request, devices, slow)  # type: ignore[assignment]
    let_the_network_wait()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        images = here / "images"
        images.mkdir()
        random = np.random.default_rng(0)
        for number in range(IMAGES):
            Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)).save(images / f"{number:03}.png")
        film = here / "film.mp4"
        pictures = ("-f", "lavfi", "-i", "testsrc2=size=32x24:rate=25", "-frames:v", str(FRAMES))
        options = ("-c:v", "libx264", "-g", "48")
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *pictures, *options, film], check=True)
        for name, source, suffix in ((f"{IMAGES} images", images, ""), (f"film of {FRAMES} frames", film, ".mp4")):
            found = {}
            for workers in (1, 2):
                found[workers] = seconds(source, here / f"out-{workers}{suffix}", workers)
                whole, steady = found[workers]
                print(f"{name}, {workers} workers: {whole:.1f} s, {steady:.1f} s from the first result on")
            ratios = [one / two for one, two in zip(found[1], found[2], strict=True)]
            print(f"{name}: {ratios[0]:.2f} times as fast; {ratios[1]:.2f} from the first result on", flush=True)


if __name__ == "__main__":
    main()
