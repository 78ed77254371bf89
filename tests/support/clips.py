"""Clips made for a test, passed through, and judged by another FFmpeg: shared by the tests of video."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import torch

from dagan_cli.engine.colour import from_alpha, from_rgb, to_alpha, to_rgb
from dagan_cli.media.video.recipe import Encoding
from dagan_cli.media.video.source import open_video
from dagan_cli.media.video.writer import create_video
from dagan_cli.prefetch import prefetch
from tests.support.tiny import clip as moving
from tests.support.tiny import ffmpeg as ffmpeg

LOSSLESS = Encoding(codec="ffv1")
FAST = Encoding(preset="ultrafast")
WEBM = Encoding(codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"})
UNEVEN = [0, 40, 41, 110, 111, 112, 300, 333, 340, 500]  # milliseconds
SMPTE = "testsrc2=size=96x64:rate=25"


def clip(path: Path, *options: str, seconds: float = 1, picture: str = SMPTE) -> Path:
    """A second of a moving test picture with a tone, by default as most files are encoded."""
    return moving(path, *(options or ("-c:v", "libx264", "-c:a", "aac")), seconds=seconds, source=picture)


def clip_with_times(path: Path, pts: list[int], time_base=Fraction(1, 1000), pix_fmt="yuv420p", size=(96, 64)) -> Path:
    """Random pictures at the given times."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0", "qp": "0", "preset": "ultrafast"})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        for time in pts:
            frame = av.VideoFrame(size[0], size[1], pix_fmt)
            for plane in frame.planes:
                plane.update(random.integers(16, 235, plane.buffer_size, np.uint8).tobytes())
            frame.pts, frame.time_base = time, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def passed_through(source: Path, target: Path, encoding=FAST, scale=1, trim=False, **part) -> tuple[str, ...]:
    """The whole path of a frame with a network that repeats pixels; returns all warnings."""
    with open_video(source) as video:
        info = video.info
        size = (info.width * scale, info.height * scale)
        output = create_video(target, info, size, encoding, trim=trim)
        with output as writer, prefetch(video.frames(**part)) as frames:
            for frame in frames:
                planes = [torch.from_numpy(np.array(plane)) for plane in frame.planes]
                result = list(from_rgb(_repeated(to_rgb(planes, frame.layout), scale), writer.layout))
                if writer.layout.alpha:
                    alpha = to_alpha(planes, frame.layout) if frame.layout.alpha else torch.ones(1, *planes[0].shape)
                    result.append(from_alpha(_repeated(alpha, scale), writer.layout))
                writer.write([plane.numpy() for plane in result], frame.pts, frame.duration)
        return video.warnings + writer.warnings


def _repeated(pixels: torch.Tensor, scale: int) -> torch.Tensor:
    return pixels.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def times(path: Path, stream: str = "v:0") -> list[Fraction]:
    """When each frame is shown, in seconds, as the other FFmpeg sees it."""
    arguments = ("-map", f"0:{stream}", "-fps_mode", "passthrough", "-enc_time_base", "demux", "-c:v", "rawvideo")
    text = ffmpeg("-copyts", "-i", path, *arguments, "-f", "framemd5", "-")
    base = Fraction(re.findall(r"#tb 0: (\S+)", text)[0])
    return [int(line.split(",")[2]) * base for line in text.splitlines() if line[0] != "#"]


def pictures(path: Path, *options: str, decoder: tuple[str, ...] = ()) -> list[str]:
    """A hash of each decoded frame; `options` are of the output, such as a filter."""
    text = ffmpeg(*decoder, "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", *options, "-f", "framemd5", "-")
    return [line.rsplit(",", 1)[1].strip() for line in text.splitlines() if line[0] != "#"]


def payload(path: Path, streams: str) -> list[str]:
    text = ffmpeg("-i", path, "-map", f"0:{streams}", "-c", "copy", "-f", "streamhash", "-hash", "md5", "-")
    return [line.split(",", 1)[1] for line in text.splitlines()]


def described(path: Path, detail: str = "info") -> str:
    """What the other FFmpeg says of a file."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-v", detail, "-i", str(path)]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False).stderr


def copied_to(source: Path, suffix: str, **part) -> tuple[Path, tuple[str, ...]]:
    """The clip passed through into a container of that suffix, and all warnings."""
    target = source.with_name(f"out{suffix}")
    return target, passed_through(source, target, WEBM if suffix == ".webm" else FAST, **part)
