"""One owner of an output at a time, on file systems without locks and between machines, whatever happens to an owner.

Machines are played by processes with host names of their own, whose locks do not hold between them.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from dagan_cli.files import Folder, Lost, Taken, claims, owned, whole_or_absent
from dagan_cli.media.video.segments import folder_of, piece_name, work_folder
from tests.support import nursery
from tests.support.tiny import clip, frames_of, left_over
from tests.test_files import elsewhere, lock_of, write

ROOT = Path(__file__).parents[1]
EXPIRY, REFRESH = 1.2, 0.2
HOLD = "with owned(target):\n    print('owned', flush=True)\n    time.sleep(60)"
TURNS = (
    "for _ in range(30):\n"
    "    with owned(target, patience=60):\n"
    "        mark = os.open(target.with_name('mark'), os.O_CREAT | os.O_EXCL)\n"
    "        os.close(mark)\n"
    "        target.with_name('mark').unlink()\n"
)


def process(script: str, target: Path, host: str = "", locks: str = "real") -> subprocess.Popen[str]:
    """Start a process on a machine of this name; its locks are real, missing, or of that machine alone."""
    head = "import errno, fcntl, os, socket, sys, time\nfrom pathlib import Path\n"
    if host:
        head += f"socket.gethostname = lambda: {host!r}\n"
    head += "from dagan_cli.files import *\nfrom dagan_cli.files import claims\n"
    head += f"claims.EXPIRY, claims.REFRESH = {EXPIRY}, {REFRESH}\ntarget = Path(sys.argv[1])\n"
    head += {
        "real": "",
        "own": "fcntl.flock = lambda *_: None\n",
        "none": "def flock(*_): raise OSError(errno.ENOTSUP, 'no locks')\nfcntl.flock = flock\n",
    }[locks]
    command = [sys.executable, "-c", head + script, str(target)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


class Owner:
    """A process that owns the target until it is killed."""

    def __init__(self, target: Path, script: str = HOLD, **how: str) -> None:
        self.process = process(script, target, **how)
        assert self.line() == "owned"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def __enter__(self) -> "Owner":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def send(self, number: int) -> None:
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()


def own_lock(*_: object) -> None:
    """Lock a file on one machine alone."""


def no_lock(*_: object) -> None:
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(claims, "EXPIRY", EXPIRY)
    monkeypatch.setattr(claims, "REFRESH", REFRESH)


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setattr("fcntl.flock", no_lock)


@pytest.fixture
def own_locks(monkeypatch):
    """Locks hold on each machine alone."""
    monkeypatch.setattr("fcntl.flock", own_lock)


def note_of(target: Path) -> bytes:
    return lock_of(target).read_bytes()


# --- a file system without locks


@pytest.mark.slow
@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_living_process_owns_and_a_killed_one_does_not(tmp_path):
    target = tmp_path / "a.png"
    with Owner(target, locks="none") as owner:
        with pytest.raises(Taken, match=f"process {owner.process.pid} on"), owned(target):
            pass
        owner.send(signal.SIGSTOP)
        time.sleep(1.5 * EXPIRY)
        with pytest.raises(Taken), owned(target):  # of a process of this machine it is known that it lives
            pass
        owner.send(signal.SIGKILL)
        before = time.monotonic()
        write(target)
        assert time.monotonic() - before < EXPIRY / 2
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("no_locks")
def test_without_locks_the_threads_of_a_process_have_one_owner_too(tmp_path):
    target = tmp_path / "a.png"
    with owned(target):
        assert isinstance(elsewhere(lambda: owned(target).__enter__()), Taken)


@pytest.mark.usefixtures("no_locks")
def test_another_process_with_the_number_of_an_owner_is_not_the_owner(tmp_path):
    target = tmp_path / "a.png"
    with owned(target) as claim:
        note = claim.note._replace(process=os.getppid(), started="1", token="0" * 16)
    lock_of(target).write_bytes(note.encoded())
    write(target)
    lock_of(target).write_bytes(note._replace(started=claims._started(os.getppid()) or "").encoded())
    with pytest.raises(Taken), owned(target):
        pass


def test_the_lock_decides_after_a_container_was_started_again_and_without_locks_the_time(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    with owned(target) as claim:
        note = claim.note._replace(process=1, processes="1", token="0" * 16)
    lock_of(target).write_bytes(note.encoded())
    write(target)
    lock_of(target).write_bytes(note.encoded())
    monkeypatch.setattr("fcntl.flock", no_lock)
    with pytest.raises(Taken), owned(target):  # nobody here knows if its process lives
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("locks", "host"), [("none", "same"), ("none", "{}"), ("own", "{}")])
def test_many_processes_that_take_turns_never_own_at_once(tmp_path, locks, host):
    target = tmp_path / "a.png"
    left = process(HOLD, target, "gone", locks)  # the claim that all of them find
    assert left.stdout is not None
    assert left.stdout.readline() == "owned\n"
    left.kill()
    left.wait()
    processes = [process(TURNS, target, host.format(number), locks) for number in range(4)]
    assert [each.wait() for each in processes] == [0] * 4
    assert list(tmp_path.iterdir()) == []


# --- machines


@pytest.mark.slow
@pytest.mark.usefixtures("own_locks")
def test_a_claim_of_another_machine_holds_while_it_is_refreshed_and_expires_when_it_was_killed(tmp_path):
    target = tmp_path / "a.png"
    with Owner(target, host="other", locks="own") as owner:
        with pytest.raises(Taken, match=f"process {owner.process.pid} on other"), owned(target, patience=2 * EXPIRY):
            pass
        owner.send(signal.SIGKILL)
        before = time.monotonic()
        write(target)
        assert EXPIRY - 2 * REFRESH < time.monotonic() - before < 2 * EXPIRY
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.slow
@pytest.mark.usefixtures("own_locks")
def test_an_owner_that_was_asleep_harms_neither_the_new_owner_nor_its_result(tmp_path):
    target = tmp_path / "a.png"
    script = (
        "try:\n"
        "    with whole_or_absent(target) as file:\n"
        "        file.write(b'old')\n"
        "        print('owned', flush=True)\n"
        f"        time.sleep({EXPIRY})\n"
        "except Lost as error:\n"
        "    print(f'lost: {error}', flush=True)\n"
    )
    with Owner(target, script, host="other", locks="own") as owner:
        owner.send(signal.SIGSTOP)
        with owned(target, patience=4 * EXPIRY) as claim:
            owner.send(signal.SIGCONT)
            assert owner.line().startswith(f"lost: another dagan took over {target}")
            assert owner.process.wait() == 0
            assert claim.is_held()
            write(target, b"new")
        assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("own_locks")
def test_a_claim_that_is_refreshed_while_it_is_taken_over_is_put_back(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    with owned(target) as claim:
        note = claim.note._replace(host="other", system="0" * 16, token="0" * 16)
    lock = lock_of(target)
    lock.write_bytes(note.encoded())
    os.utime(lock, (0, 0))
    rename = Folder.rename

    def refreshed(folder: Folder, old: str, new: str, **how: bool) -> None:
        if old == lock.name:
            os.utime(lock)
        rename(folder, old, new, **how)

    monkeypatch.setattr(Folder, "rename", refreshed)
    with pytest.raises(Taken, match="on other"), owned(target):
        pass
    assert note_of(target) == note.encoded()
    assert list(tmp_path.iterdir()) == [lock]
    monkeypatch.setattr(Folder, "rename", rename)
    os.utime(lock, (0, 0))
    write(target)
    assert list(tmp_path.iterdir()) == [target]


def test_a_claim_that_is_removed_while_it_is_looked_at_leaves_nothing(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    lock_of(target).touch()
    opened, flags_of = Folder.open, []

    def removed(folder: Folder, name: str, flags: int) -> int:
        flags_of.append(flags)
        if len(flags_of) == 2:
            lock_of(target).unlink()
        return opened(folder, name, flags)

    monkeypatch.setattr(Folder, "open", removed)
    with owned(target) as claim:  # at once: nobody has to guess whose the file is
        assert claim.is_held()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("own_locks")
def test_clocks_of_machines_do_not_matter(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    with owned(target) as claim:
        note = claim.note._replace(system="0" * 16, token="0" * 16)
    lock_of(target).write_bytes(note.encoded())
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(Taken), owned(target):
        pass
    monkeypatch.setattr(time, "time", lambda: 1e10)
    with pytest.raises(Taken), owned(target):
        pass


def test_a_video_that_was_taken_over_is_left_to_its_new_owner(tmp_path):
    target = tmp_path / "a.mkv"

    def asleep() -> None:
        with work_folder(target, {"codec": "x"}, resume=True) as work:
            with work.create(0) as file:
                file.write(b"old")
            lock_of(target).unlink()
            with suppress(Lost):  # as another one does that took it over
                work.finish([0], [1])
            lock_of(target).write_bytes(b"dagan lock: of another owner")
            work.create(1)

    with pytest.raises(Lost):
        asleep()
    assert note_of(target) == b"dagan lock: of another owner"
    assert {path.name for path in folder_of(target).iterdir()} == {"journal.jsonl", "000000.packets"}
    assert (folder_of(target) / "journal.jsonl").read_bytes().count(b"\n") == 1


def test_a_piece_is_not_adopted_for_a_video_that_was_taken_over(tmp_path):
    target = tmp_path / "a.mkv"

    def asleep() -> None:
        with work_folder(target, {"codec": "x"}, resume=True, scattered=True) as work:
            name = piece_name(0)
            (folder_of(target) / name).write_bytes(b"old")
            (folder_of(target) / "000000.packets").write_bytes(b"of the new owner")
            lock_of(target).write_bytes(b"dagan lock: of another owner")
            work.adopt(0, name, [0], [1], "", "")

    with pytest.raises(Lost):
        asleep()
    assert (folder_of(target) / "000000.packets").read_bytes() == b"of the new owner"


def test_after_a_fork_the_claims_of_the_parent_are_those_of_another(tmp_path):
    target, other = tmp_path / "a.png", tmp_path / "b.png"
    with owned(target), claims._keeper._lock:  # as while its thread refreshes them
        child = os.fork()
        if not child:
            code = 1
            with suppress(Taken), owned(target):
                code = 2
            with owned(other):
                code = 0 if code == 1 else code
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_was_asleep_ends_well_after_another_machine_has_taken_its_video_over(tmp_path, tiny_model):
    source, target = clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-an", seconds=6), tmp_path / "out.mkv"
    settings = {f"{claims.__name__}.EXPIRY": EXPIRY, f"{claims.__name__}.REFRESH": REFRESH, "fcntl.flock": own_lock}
    options = [source, "-n", tiny_model, "-s", 2, "--device", "cpu", "-c", "ffv1"]

    def start(out: Path, host: str) -> ForkServerProcess:
        given = [*options, "-o", out, "--report", tmp_path / f"{host}.json"]
        return nursery.start(given, tmp_path / f"{host}.log", settings | {"socket.gethostname": partial(str, host)})

    alone = start(tmp_path / "alone.mkv", "alone")
    alone.join(nursery.PATIENCE)
    asleep = start(target, "asleep")
    while not list(folder_of(target).glob("*.packets")) and asleep.is_alive():
        time.sleep(0.01)
    assert asleep.pid is not None
    os.kill(asleep.pid, signal.SIGSTOP)
    assert not target.exists()
    awake = start(target, "awake")
    time.sleep(2 * EXPIRY)
    os.kill(asleep.pid, signal.SIGCONT)
    for process in (awake, asleep):
        process.join(nursery.PATIENCE)
    said = [(tmp_path / f"{host}.log").read_text() for host in ("asleep", "awake")]
    assert (asleep.exitcode, awake.exitcode) == (0, 0), said
    results = [
        json.loads((tmp_path / f"{host}.json").read_text())["items"][0]["status"] for host in ("asleep", "awake")
    ]
    assert results == ["skipped", "done"], said
    assert frames_of(target) == frames_of(tmp_path / "alone.mkv")
    assert left_over(tmp_path) == []


def test_a_claim_is_refreshed_while_it_is_held_and_no_thread_stays(tmp_path):
    target = tmp_path / "a.png"
    with owned(target):
        os.utime(lock_of(target), (0, 0))
        until = time.monotonic() + 10
        while lock_of(target).stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.02)
        assert lock_of(target).stat().st_mtime > 0
    until = time.monotonic() + 10
    while claims._keeper._refreshes and time.monotonic() < until:
        time.sleep(0.02)
    assert not claims._keeper._refreshes
    with whole_or_absent(target) as file:
        file.write(b"whole")


def test_a_claim_that_is_being_made_says_whose_it_is_to_those_who_come_too_early(tmp_path):
    target = tmp_path / "out.png"
    with Owner(target) as owner:
        claim = lock_of(target)
        note = claim.read_bytes()
        claim.write_bytes(b"")
        threading.Timer(0.2, claim.write_bytes, [note]).start()
        with pytest.raises(Taken, match=rf"process {owner.process.pid} on "), owned(target):
            pass


def test_a_claim_that_never_says_whose_it_is_is_refused_nameless(tmp_path):
    target = tmp_path / "out.png"
    with Owner(target):
        lock_of(target).write_bytes(b"")
        began = time.monotonic()
        with pytest.raises(Taken, match=r"^another dagan process is writing "), owned(target):
            pass
        assert time.monotonic() - began < 5
