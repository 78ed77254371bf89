"""Make finished images, then measure the run that finds them all done: processor time, wall time, most memory.

python docs/experiments/finished/measure.py make FOLDER 100000
python docs/experiments/finished/measure.py run FOLDER --rounds 3 [--other CHECKOUT] [OPTION...]
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import time
import zlib
from hashlib import sha256
from pathlib import Path

FOLDERS = 100


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def source(number: int) -> bytes:
    """Return a PNG of 16x12 pixels, unlike all others."""
    header = struct.pack(">IIBBBBB", 16, 12, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes((byte * 7) % 256 if byte % 49 else 0 for byte in range(12 * 49)))
    chunks = ((b"IHDR", header), (b"tEXt", b"Comment\0number %d" % number), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def identity(content: bytes) -> bytes:
    return f"{len(content)}-{sha256(content).hexdigest()[:32]}".encode()


def make(folder: Path, count: int) -> None:
    """Write sources and their results in 100 folders; one result is made, and gets the identity of each source."""
    first = folder / "first.png"
    folder.mkdir(parents=True)
    first.write_bytes(source(0))
    command = ("upscale", first, "-s", 2, "-n", "nearest", "-o", folder / "first_x2.png")
    subprocess.run([sys.executable, "-m", "dagan_cli", *map(str, command)], check=True)
    result = (folder / "first_x2.png").read_bytes()
    start = result.index(b"iTXt") - 4
    size = struct.unpack_from(">I", result, start)[0]
    packet = result[start + 8 : start + 8 + size]
    for number in range(count):
        content, name = source(number), f"{number % FOLDERS:03}/{number:06}"
        for place in ("in", "out") if number < FOLDERS else ():
            (folder / place / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / f"{name}.png").write_bytes(content)
        own = chunk(b"iTXt", packet.replace(identity(source(0)), identity(content)))
        (folder / "out" / f"{name}_x2.png").write_bytes(result[:start] + own + result[start + 12 + size :])


def run(folder: Path, checkout: Path, options: list[str]) -> tuple[float, float, float]:
    """Return processor seconds, seconds, and MiB of a run."""
    command = ["upscale", folder / "in", "-r", "-s", 2, "-n", "nearest", "-o", folder / "out", *options]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "dagan_cli", *map(str, command)], cwd=checkout, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0
    return used.ru_utime + used.ru_stime, time.monotonic() - started, used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["make", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--other", type=Path, help="measure this checkout too, in turns")
    arguments, options = parser.parse_known_args()
    folder = arguments.folder.absolute()
    if arguments.what == "make":
        make(folder, arguments.count)
        return
    checkouts = [Path.cwd(), *([arguments.other] if arguments.other else [])]
    for _ in range(arguments.rounds):
        for checkout in checkouts:
            processor, wall, memory = run(folder, checkout, options)
            print(f"{checkout}: {processor:.2f} s of the processor, {wall:.2f} s, {memory:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
