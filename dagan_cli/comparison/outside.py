"""VMAF and XPSNR by the ffmpeg program of imageio-ffmpeg, which gets pairs of luma planes through a pipe.

It opens no file of the user's: it sees the frames that we decode, pair and crop, and no name reaches its filters. Both
planes come as one frame, one above the other, and its own filters take them apart. Its logs are files of fixed names in
a temporary folder of its own. Chroma is grey: VMAF ignores it, and XPSNR is reported for luma.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import numpy as np
from torch import Tensor

from dagan_cli.prefetch import processors
from dagan_cli.words import printable

MODEL = "vmaf_v0.6.1"  # for video of 1080 lines, seen from three times its height
_FILTERS = {"vmaf": "libvmaf", "xpsnr_y": "xpsnr"}
_VMAF, _XPSNR, _ERRORS = "vmaf.json", "xpsnr.log", "errors.log"
_FORMATS = {8: "yuv444p", 10: "yuv444p10le", 12: "yuv444p12le"}
_PATIENCE = 600  # seconds that the program may take after its last frame


@lru_cache(maxsize=1)
def available() -> tuple[str | None, tuple[str, ...]]:
    """Return the path of the program, and the scores that it can measure; None and nothing if it does not run."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        program = get_ffmpeg_exe()
        command = [program, "-hide_banner", "-v", "error", "-filters"]
        listed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True).stdout
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError):
        return None, ()
    names = {line.split()[1] for line in listed.decode("ascii", "replace").splitlines() if len(line.split()) > 1}
    return program, tuple(score for score, name in _FILTERS.items() if name in names)


class Outside:
    """A running measurement of one result; left by an error, the program is ended and its folder removed."""

    def __init__(self, size: tuple[int, int], depth: int, rate: Fraction) -> None:
        """size: (width, height) of the planes. depth: bits of the code values, rounded up to 8, 10 or 12."""
        self.note: str | None = None  # what is left out, and why
        program, self.scores = available()
        if missing := [name for name in _FILTERS if name not in self.scores]:
            titles = " and ".join("VMAF" if name == "vmaf" else "XPSNR" for name in missing)
            why = "does not have them" if program else "does not run"
            self.note = f"{titles} left out: the ffmpeg program of imageio-ffmpeg {why}"
        self._depth = next((known for known in _FORMATS if known >= depth), max(_FORMATS))
        width, height = size
        grey = np.full((2, 2 * height, width), 128 << (self._depth - 8), _type(self._depth))
        self._chroma = grey.tobytes()
        self._folder = TemporaryDirectory(prefix="dagan-compare-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None
        if program is not None and self.scores:
            self._start(program, width, height, rate)

    def __enter__(self) -> Outside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._close()
            self._process.wait()
        self._folder.cleanup()

    def feed(self, reference: Tensor, result: Tensor) -> None:
        """Measure a pair of frames: (H, W) luma in 8-bit code values."""
        if self._process is None or self._process.stdin is None or self._process.stdin.closed:
            return
        with suppress(OSError):  # the program ended early; `finish` says why
            for plane in (reference, result):
                codes = (plane * 2 ** (self._depth - 8)).round().clamp(0, 2**self._depth - 1).numpy()
                self._process.stdin.write(codes.astype(_type(self._depth)).data)
            self._process.stdin.write(self._chroma)
            return
        self._close()

    def finish(self, frames: int) -> dict[str, list[float | None]]:
        """Wait for the program and return each score of each of the frames; without those that it did not give."""
        if self._process is None or not frames:
            return {}
        self._close()
        try:
            code = self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            code = 1
        read = {"vmaf": _read_vmaf, "xpsnr_y": _read_xpsnr}
        found = {}
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = {name: read[name](Path(self._folder.name)) for name in self.scores}
        whole = {name: values for name, values in found.items() if len(values) == frames}
        if code or len(whole) < len(self.scores):
            self.note = f"VMAF and XPSNR left out: ffmpeg failed{self._reason()}"
            return {}
        return whole

    def _start(self, program: str, width: int, height: int, rate: Fraction) -> None:
        graph = [f"[0:v]split={2 * len(self.scores)}" + "".join(f"[i{i}]" for i in range(2 * len(self.scores)))]
        maps = []
        for i, score in enumerate(self.scores):
            graph += [
                f"[i{2 * i}]crop={width}:{height}:0:{height}[s{i}]",
                f"[i{2 * i + 1}]crop={width}:{height}:0:0[r{i}]",
            ]
            how = (
                f"log_fmt=json:log_path={_VMAF}:n_threads={processors()}" if score == "vmaf" else f"stats_file={_XPSNR}"
            )
            graph.append(f"[s{i}][r{i}]{_FILTERS[score]}={how}[o{i}]")
            maps += ["-map", f"[o{i}]"]
        form = ["-f", "rawvideo", "-pix_fmt", _FORMATS[self._depth], "-s", f"{width}x{2 * height}"]
        speed = ["-framerate", f"{rate.numerator}/{rate.denominator}"]
        command = [program, "-hide_banner", "-v", "error", *form, *speed, "-i", "pipe:0"]
        command += ["-filter_complex", ";".join(graph), *maps, "-f", "null", "-"]
        alone: dict[str, Any] = {} if sys.platform == "win32" else {"start_new_session": True}  # Ctrl-C is ours
        with open(Path(self._folder.name) / _ERRORS, "wb") as errors:
            ways: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": errors}
            opened: Any = subprocess.Popen(command, cwd=self._folder.name, **ways, **alone)
        self._process = opened

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def _reason(self) -> str:
        try:
            lines = (Path(self._folder.name) / _ERRORS).read_text(errors="replace").split("\n")
        except OSError:
            return ""
        last = [line.strip() for line in lines if line.strip()]
        return f" ({printable(last[0])[:200]})" if last else ""


def _type(depth: int) -> str:
    return "u1" if depth == 8 else "<u2"


def _read_vmaf(folder: Path) -> list[float | None]:
    frames = json.loads((folder / _VMAF).read_bytes())["frames"]
    return [float(frame["metrics"]["vmaf"]) for frame in sorted(frames, key=lambda frame: frame["frameNum"])]


def _read_xpsnr(folder: Path) -> list[float | None]:
    """Read lines such as "n:    1  XPSNR y: 41.2034  XPSNR u: inf  XPSNR v: inf"; averages have no number."""
    return [float(value) for value in re.findall(r"^n: *\d+ +XPSNR y: *(\S+)", (folder / _XPSNR).read_text(), re.M)]
