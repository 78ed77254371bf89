"""What is freed is kept: the same blocks again cost no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, torch
from trainer.machine.malloc import keep_freed_memory
if KEEP: assert keep_freed_memory()
def work():
    blocks = [torch.ones(1 << 18) for _ in range(30)]  # of 1 MiB
for _ in range(3): work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_the_pages_of_large_blocks_are_touched_once():
    faults = []
    for keep in (False, True):
        code = CODE.replace("KEEP", str(keep))
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        faults.append(int(ran.stdout))
    # 5 turns of 30 blocks are 38,400 pages of 4 KiB; in huge pages, where the system gives them, fewer.
    assert faults[1] < 2000
    assert faults[1] < faults[0] / 3 or faults[0] < 100
