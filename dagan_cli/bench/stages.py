"""Stages of `dagan upscale`, each runnable alone on frames in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter
from typing import Literal, TypeVar

import numpy as np
from torch import Tensor

from dagan_cli.media import images
from dagan_cli.media.video.mux import default_suffix
from dagan_cli.media.video.recipe import Encoding, plan
from dagan_cli.media.video.source import Frame, open_video
from dagan_cli.media.video.writer import create_video
from dagan_cli.media.y4m.reader import Y4mSource
from dagan_cli.upscale.frames import through, to_planes, to_rgb
from dagan_cli.upscale.request import Request
from dagan_cli.upscaler import Upscaler

T = TypeVar("T")
Run = Callable[[int], tuple[int, float]]  # approximate number of frames -> frames done, seconds without setup

_HELD = 1 << 28  # bytes of frames kept, before and after the network
_ENOUGH = 24  # number of different frames for measuring an encoder


class VideoStages:
    """Decode, planes to RGB, network, RGB to planes, encode: the stages of `upscale_video`, run one at a time."""

    kind: Literal["picture", "video"] = "video"

    def __init__(self, path: Path, request: Request, upscaler: Upscaler, folder: Path, seconds: float) -> None:
        """Spend up to `seconds` on upscaling frames for the encoder, which warms up the network; write to `folder`."""
        self._path = path
        self._request = request
        self._device = upscaler.choice.device
        with open_video(path, request.deinterlace) as source:
            self.info = source.info
            self._held = list(_alike(source.frames(limit=request.part.frames)))
        self.frames = self.info.frames
        self.in_size = (self.info.width, self.info.height)
        self.out_size = request.goal.size_for(*self.in_size, even=True)
        suffix = default_suffix(self.info, request.encoding.codec)
        recipe = plan(self.info, self.out_size, request.encoding, suffix)
        self.output = " ".join(filter(None, (recipe.codec, request.encoding.preset, recipe.pix_fmt)))
        self._layout = recipe.layout
        self._has_alpha = recipe.layout.alpha and self._held[0].layout.alpha
        self._target = folder / f"alone{suffix}"
        self.enlarged = list(self._enlarged(upscaler, seconds))  # planes of some frames, as the encoder receives them

    def batch(self, upscaler: Upscaler) -> int:
        """Return the number of frames that the network takes at once."""
        return upscaler.engine.frames_at_once(self.in_size[1], self.in_size[0])

    def before(self, upscaler: Upscaler) -> dict[str, Run]:
        """Return the stages before the network."""
        return {"decode": self._decode, "planes to RGB": lambda n: self._to_rgb(n, self.batch(upscaler))}

    def network(self, upscaler: Upscaler) -> Run:
        groups = [self._inputs(group) for group in _groups(self._held, 2 * self.batch(upscaler), self.batch(upscaler))]

        def run(n: int) -> tuple[int, float]:
            parts = islice(cycle(groups), -(-n // self.batch(upscaler)))
            return _timed(lambda group: _finished(self._through(upscaler, group)), parts, _frames_in)

        return run

    def after(self, upscaler: Upscaler) -> dict[str, Run]:
        """Return the stages after the network."""
        group = self._through(upscaler, self._inputs(list(islice(cycle(self._held), self.batch(upscaler)))))

        def to_planes(n: int) -> tuple[int, float]:
            return _timed(self._planes, [group] * -(-n // _frames_in(group)), _frames_in)

        return {"RGB to planes": to_planes, "encode": self._encode}

    def _decode(self, n: int) -> tuple[int, float]:
        done, seconds = 0, 0.0
        while done < n:  # a short video is repeated
            opened = perf_counter()
            with open_video(self._path, self._request.deinterlace) as source:
                frames = source.frames(limit=n - done + 1)
                next(frames)  # it was decoded when the file was opened
                started = perf_counter()
                read = sum(1 for _ in frames)
                seconds += perf_counter() - started
            if not read:
                return 1, perf_counter() - opened
            done += read
        return done, seconds

    def _to_rgb(self, n: int, batch: int) -> tuple[int, float]:
        return _timed(lambda group: _finished(self._inputs(group)), _groups(self._held, n, batch), len)

    def _inputs(self, group: Sequence[Frame]) -> list[Tensor]:
        return to_rgb(group, self._device, alpha=self._has_alpha)

    def _through(self, upscaler: Upscaler, inputs: list[Tensor]) -> list[Tensor]:
        rgb, *alpha = inputs
        enlarge = partial(upscaler.engine.upscale_to, target=self.out_size)
        return [through(enlarge, rgb, self.out_size, limited=not upscaler.is_baseline), *map(enlarge, alpha)]

    def _planes(self, results: list[Tensor]) -> list[list[np.ndarray]]:
        big, *alpha = results
        return to_planes(big, alpha[0] if alpha else None, self._layout)

    def _enlarged(self, upscaler: Upscaler, seconds: float) -> Iterator[list[np.ndarray]]:
        """Yield different frames for the encoder, upscaled by the network; if slow, by bicubic up to `_ENOUGH`."""
        bicubic = Upscaler.load("bicubic", options=upscaler.engine.options)
        started, size, made = perf_counter(), 0, 0
        for group in _groups(self._held, len(self._held), self.batch(upscaler)):
            is_quick = perf_counter() - started < seconds
            for planes in self._planes(self._through(upscaler if is_quick else bicubic, self._inputs(group))):
                made += 1
                size += sum(plane.nbytes for plane in planes)
                yield planes
            if size > _HELD or (made >= _ENOUGH and not is_quick):
                return

    def _encode(self, n: int) -> tuple[int, float]:
        step = max(1, round(1 / (self.info.rate * self.info.time_base)))
        # Forwards and backwards: a scene cut would cost the encoder more.
        there_and_back = cycle([*self.enlarged, *self.enlarged[-2:0:-1]])
        with create_video(self._target, self.info, self.out_size, self._request.encoding, trim=True) as writer:
            started = perf_counter()
            for index, planes in enumerate(islice(there_and_back, n)):
                writer.write(planes, index * step, step)
        seconds = perf_counter() - started  # includes the work that the encoder had delayed
        self._target.unlink()
        return n, seconds


class PictureStages:
    """Decode, network, write: the stages of an image, run one at a time."""

    kind: Literal["picture", "video"] = "picture"

    def __init__(self, path: Path, request: Request, upscaler: Upscaler, folder: Path) -> None:
        self._path = path
        with images.open_picture(path) as picture:
            info = picture.info
            self._held = list(islice(picture.frames, max(1, _HELD // (info.width * info.height * info.channels * 4))))
        self.frames = info.frames
        self.in_size = (info.width, info.height)
        self.out_size = request.goal.size_for(*self.in_size)
        chosen = {"format": request.format, "lossless": request.lossless}
        suffix = images.output_suffix(info, self.out_size, kept=path.suffix, **chosen)
        self._target = folder / f"alone{suffix}"
        self._plan = images.plan_output(
            info, self._target, self.out_size, quality=request.quality, made_by=upscaler.signature, **chosen
        )
        self.output = self._plan.format

    def batch(self, upscaler: Upscaler) -> int:
        return 1

    def before(self, upscaler: Upscaler) -> dict[str, Run]:
        return {
            "decode": lambda n: _timed(lambda _: self._decode(), range(-(-n // self.frames)), lambda _: self.frames)
        }

    def network(self, upscaler: Upscaler) -> Run:
        return lambda n: _timed(lambda pixels: self._through(upscaler, pixels), islice(cycle(self._held), n))

    def after(self, upscaler: Upscaler) -> dict[str, Run]:
        large = [self._through(upscaler, pixels) for pixels in self._held[:4]]

        def write(_: int) -> None:
            images.write_picture(self._target, self._plan, islice(cycle(large), self.frames))

        return {"write": lambda n: _timed(write, range(-(-n // self.frames)), lambda _: self.frames)}

    def _decode(self) -> None:
        with images.open_picture(self._path) as picture:
            for _ in picture.frames:
                pass

    def _through(self, upscaler: Upscaler, pixels: np.ndarray) -> np.ndarray:
        return upscaler.enlarged(pixels, self.out_size, lambda x: upscaler.engine.upscale_to(x, self.out_size), None)()


def make_clip(folder: Path, size: tuple[int, int], frames: int = 240) -> Path:
    """Write an H.264 video of (width, height) pixels, 24 fps, in which every pixel changes from frame to frame."""
    width, height = size
    header = f"YUV4MPEG2 W{width} H{height} F24:1 C420mpeg2\nFRAME\n".encode()
    across, down = -(-width // 2), -(-height // 2)
    info = Y4mSource(io.BytesIO(header + bytes(width * height + 2 * across * down)), Path("synthetic")).info
    path = folder / "clip.mp4"
    random = np.random.default_rng(0)
    with create_video(path, info, size, Encoding(preset="veryfast"), alone=True) as writer:
        across, down = writer.layout.chroma_size(width, height)
        textures = [_texture(random, *shape) for shape in ((height, width), (down, across), (down, across))]
        for index in range(frames):
            moved = [np.roll(texture, (2 * index, 3 * index), (0, 1)) for texture in textures]
            grain = random.integers(-4, 5, (height, width), np.int16)
            writer.write([(moved[0] + grain).astype(np.uint8), *(m.astype(np.uint8) for m in moved[1:])], index, 1)
    return path


def _texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return detail of every size, as in natural images: (height, width) int16 within [20, 235]."""
    out = np.full((height, width), 128.0)
    for side in (1, 2, 4, 8, 16, 32):
        blocks = random.uniform(-1, 1, (-(-height // side), -(-width // side))) * 8 * side**0.3
        out += blocks.repeat(side, 0).repeat(side, 1)[:height, :width]
    return out.clip(20, 235).astype(np.int16)


def _alike(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield copies of the first frames, while they have the same layout and size and fit into `_HELD`."""
    first, size = None, 0
    for frame in frames:
        first = first or frame
        if size > _HELD or frame.layout != first.layout or frame.planes[0].shape != first.planes[0].shape:
            return
        planes = tuple(np.array(plane) for plane in frame.planes)
        size += sum(plane.nbytes for plane in planes)
        yield replace(frame, planes=planes)


def _groups(items: Sequence[T], n: int, batch: int) -> Iterator[list[T]]:
    """Yield about n of the items, `batch` at a time, repeating from the first after the last."""
    endless = cycle(items)
    for _ in range(-(-n // batch)):
        yield list(islice(endless, batch))


def _timed(
    work: Callable[[T], object], parts: Iterable[T], frames: Callable[[T], int] = lambda _: 1
) -> tuple[int, float]:
    """Return the number of frames in all parts, and the seconds spent on them."""
    done, seconds = 0, 0.0
    for part in parts:
        started = perf_counter()
        work(part)
        seconds += perf_counter() - started
        done += frames(part)
    return done, seconds


def _frames_in(tensors: list[Tensor]) -> int:
    return len(tensors[0])


def _finished(results: list[Tensor]) -> None:
    """Wait for a device that computes asynchronously."""
    for result in results:
        result[..., -1, -1].cpu()
