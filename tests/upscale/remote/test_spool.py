"""The spool: private, bounded, and without what dead runs left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from dagan_cli.errors import BadOption, CannotWrite
from dagan_cli.files import owned, private_folder
from dagan_cli.upscale.remote.spool import create, open_spool
from tests.upscale.remote.conftest import left_in

T = TypeVar("T")


def elsewhere(look: Callable[[], T]) -> T:
    """Look while another run has its spool open, in another thread: what one owns, the other does not."""

    def run() -> T:
        with open_spool():
            return look()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def test_a_run_s_files_go_with_it_and_nobody_else_sees_them(spool):
    with open_spool() as own:
        with create(own.new_folder("in") / "b/a.png") as file:
            file.write(b"1")
        assert len([path for path in left_in(spool) if path.name == "a.png"]) == 1
        assert own.root.stat().st_mode & 0o077 == 0
        assert elsewhere(own.own.exists)
    assert left_in(spool) == []


@pytest.mark.slow
def test_what_a_killed_run_left_is_removed_and_what_a_living_one_has_is_not(spool):
    code = (
        "import os, sys\nfrom dagan_cli.upscale.remote.spool import create, open_spool\n"
        "with open_spool() as own:\n    create(own.new_folder('in') / 'a.png').close()\n    print('here', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    with open_spool():
        assert [path.name for path in left_in(spool) if path.suffix == ".png"] == ["a.png"]
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    with open_spool():
        assert [path for path in left_in(spool) if path.suffix == ".png"] == []


def test_work_on_films_waits_for_thirty_days(spool):
    with open_spool() as own:
        new, old, used = (own.film_folder(letter * 24) for letter in "abc")
        for folder in (new, old, used):
            private_folder(folder)
            (folder / "a").touch()
    past = time.time() - 31 * 86400
    os.utime(old, (past, past))
    os.utime(used, (past, past))
    with owned(used):
        assert elsewhere(lambda: (new.exists(), old.exists(), used.exists())) == (True, False, True)


@pytest.mark.parametrize("kind", ["link", "open"])
def test_a_spool_that_others_made_is_refused(kind, spool, tmp_path):
    root = Path(f"{spool}/dagan-spool-{os.geteuid()}")
    spool.mkdir()
    if kind == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        root.symlink_to(tmp_path / "elsewhere")
    else:
        root.mkdir()
        root.chmod(0o777)
    with pytest.raises(CannotWrite, match="not a folder of yours alone"), open_spool():
        pass


def test_it_is_bounded_in_files_and_bytes(spool, monkeypatch):
    monkeypatch.setenv("DAGAN_SPOOL_SIZE", "1M")
    with open_spool() as own:
        assert own.most == 1 << 20
        assert own.fits(1, 1 << 30)  # it is alone
        own.take(1, 1000)
        assert own.fits(63, 1000)
        assert not own.fits(64, 1000)
        assert not own.fits(1, 1 << 20)
        assert "more than the 1.0 MB that DAGAN_SPOOL_SIZE allows" in own.lacks((1 << 20) + 1, True)
        assert own.lacks(1 << 20, True) == ""
    monkeypatch.setenv("DAGAN_SPOOL_SIZE", "")
    with open_spool() as own:
        assert "are free in the spool" in own.lacks(1 << 60, True)
        assert "declares no size" in own.lacks(own.most + 1, False)
    monkeypatch.setenv("DAGAN_SPOOL_SIZE", "much")
    with pytest.raises(BadOption, match="DAGAN_SPOOL_SIZE"), open_spool():
        pass
