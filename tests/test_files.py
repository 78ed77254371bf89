"""A name that exists is a finished file, whatever stops the writer, and nothing foreign is written to or removed."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dagan_cli import files
from dagan_cli.errors import CannotWrite
from dagan_cli.files import (
    Folder,
    Taken,
    cannot_write,
    is_write_failure,
    marked,
    open_regular,
    owned,
    place_of,
    read_regular,
    require_replaceable,
    require_writable,
    tag_of,
    whole_or_absent,
)


def write(target: Path, data: bytes = b"whole", **how: bool) -> None:
    with whole_or_absent(target, **how) as file:
        file.write(data)


def write_half(target: Path, error: BaseException) -> None:
    with whole_or_absent(target) as file:
        file.write(b"half")
        raise error


def elsewhere(work: Callable[[], object]) -> object:
    """Do the work in another thread; return its result or its error."""
    results: list[object] = []

    def attempt() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return results[0]


def in_process(script: str, target: Path) -> subprocess.Popen[str]:
    head = "import os, signal, sys, time\nfrom pathlib import Path\nfrom dagan_cli.files import *\n"
    head += "target = Path(sys.argv[1])\n"
    command = [sys.executable, "-c", head + script, str(target)]
    return subprocess.Popen(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True)


def lock_of(target: Path) -> Path:
    return target.with_name(f".dagan-{tag_of(target)}.lock")


# --- whole or absent


def test_what_was_written_appears_under_its_name_only(tmp_path):
    target = tmp_path / "new" / "folder" / "a.png"
    with whole_or_absent(target) as file:
        file.write(b"whole")
        assert not target.exists()
        assert all(path.name.startswith(".dagan-") for path in target.parent.iterdir())
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        write_half(target, ZeroDivisionError())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "a.png", KeyboardInterrupt())
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_nothing_under_the_name_and_the_next_run_cleans_up(tmp_path):
    target = tmp_path / "a.png"
    script = "with whole_or_absent(target) as file:\n    file.write(b'half')\n    os.kill(os.getpid(), signal.SIGKILL)"
    assert in_process(script, target).wait() == -signal.SIGKILL
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 2  # the part and the lock
    write(target)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_a_name_as_long_as_a_disk_allows_can_be_written(tmp_path):
    target = tmp_path / ("ä" * 125 + ".webp")
    write(target)
    assert target.read_bytes() == b"whole"


def test_two_writers_of_one_name_use_different_parts(tmp_path, monkeypatch):
    seen = []
    create = Folder.create
    monkeypatch.setattr(Folder, "create", lambda folder, name: seen.append(name) or create(folder, name))
    write(tmp_path / "a.png")
    write(tmp_path / "a.png")
    assert len(set(seen)) == 2


def test_a_file_that_appears_meanwhile_is_left_alone_unless_it_may_be_replaced(tmp_path):
    target = tmp_path / "a.png"

    def race(replace: bool) -> None:
        with whole_or_absent(target, replace=replace) as file:
            file.write(b"ours")
            target.write_bytes(b"theirs")

    with pytest.raises(CannotWrite, match="appeared"):
        race(replace=False)
    assert target.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [target]
    race(replace=True)
    assert target.read_bytes() == b"ours"


def test_where_there_are_no_hard_links_a_new_name_can_be_written_too(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "a.png"
    write(target, replace=False)
    with pytest.raises(CannotWrite, match="appeared"):
        write(target, b"again", replace=False)
    assert target.read_bytes() == b"whole"


def test_a_folder_that_is_renamed_while_it_is_written_to_still_receives_the_file(tmp_path):
    folder = tmp_path / "out"
    with whole_or_absent(folder / "a.png") as file:
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        file.write(b"whole")
    assert (tmp_path / "moved" / "a.png").read_bytes() == b"whole"
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_removed_while_it_is_written_to_is_an_error_for_the_user(tmp_path):
    folder = tmp_path / "out"

    def written() -> None:
        with whole_or_absent(folder / "a.png") as file:
            file.write(b"whole")
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    with pytest.raises(CannotWrite, match="no such file") as failure:
        written()
    assert "removed" in failure.value.hint


# --- what others planted


def test_a_link_of_that_name_is_replaced_and_what_it_points_to_stays(tmp_path):
    precious, target = tmp_path / "precious", tmp_path / "out" / "a.png"
    precious.write_bytes(b"precious")
    target.parent.mkdir()
    target.symlink_to(precious)
    write(target)
    assert precious.read_bytes() == b"precious"
    assert not target.is_symlink()
    assert target.read_bytes() == b"whole"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["FIFO", "folder"])
def test_only_files_and_links_are_replaced(tmp_path, make):
    target = tmp_path / "a.png"
    make(target)
    before = target.lstat()
    with pytest.raises(CannotWrite, match="only files are replaced"):
        write(target)
    assert os.path.samestat(before, target.lstat())
    with pytest.raises(CannotWrite, match="device"):
        require_replaceable(Path("/dev/null"))


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "FIFO", "text", "second name"])
def test_a_lock_that_dagan_did_not_make_is_neither_written_nor_removed(tmp_path, kind):
    target, precious = tmp_path / "a.png", tmp_path / "precious"
    precious.write_bytes(b"precious")
    lock = lock_of(target)
    {
        "link": lambda: lock.symlink_to(precious),
        "dangling link": lambda: lock.symlink_to(tmp_path / "nothing"),
        "folder": lock.mkdir,
        "FIFO": lambda: os.mkfifo(lock),
        "text": lambda: lock.write_bytes(b"precious"),
        "second name": lambda: os.link(precious, lock),
    }[kind]()
    before = lock.lstat()
    with pytest.raises(CannotWrite, match="dagan did not make it") as refused:
        write(target)
    assert "remove it" in refused.value.hint
    assert os.path.samestat(before, lock.lstat())
    assert precious.read_bytes() == b"precious"
    assert not target.exists()
    assert not (tmp_path / "nothing").exists()


def test_only_regular_files_with_one_name_are_removed_as_left_over(tmp_path):
    target, precious = tmp_path / "a.png", tmp_path / "precious"
    precious.write_bytes(b"precious")
    head = f".dagan-{tag_of(target)}."
    planted = [tmp_path / f"{head}{digit * 16}.part.png" for digit in "abcd"]
    planted[0].symlink_to(precious)
    planted[1].mkdir()
    os.link(precious, planted[2])
    planted[3].write_bytes(b"half")
    (tmp_path / f"{head}notes.part.png").write_bytes(b"precious")
    lock_of(target).touch()  # as a killed run leaves it
    write(target)
    assert [path.is_symlink() or path.exists() for path in planted] == [True, True, True, False]
    assert precious.read_bytes() == b"precious"
    assert (tmp_path / f"{head}notes.part.png").exists()


# --- one owner


def test_an_output_has_one_owner_and_others_are_told_who(tmp_path):
    target = tmp_path / "a.png"
    with owned(target):
        refused = elsewhere(lambda: owned(target).__enter__())
        assert isinstance(refused, Taken)
        assert f"process {os.getpid()}" in str(refused)
        with owned(target), owned(tmp_path / "b.png"):  # the owner may do more with it
            pass
        assert isinstance(elsewhere(lambda: owned(target).__enter__()), Taken)
    assert list(tmp_path.iterdir()) == []
    with owned(target):
        pass


def test_all_spellings_of_a_name_have_the_same_owner(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with owned(tmp_path / "folder" / "a.png"):
        assert isinstance(elsewhere(lambda: owned(tmp_path / "link" / "a.png").__enter__()), Taken)


def test_a_short_write_waits_for_its_turn(tmp_path):
    target = tmp_path / "report.json"
    with owned(target):
        waiting = threading.Thread(target=write, args=(target,))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(10)
    assert target.read_bytes() == b"whole"


def test_a_stopped_owner_still_owns_and_a_killed_one_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    target = tmp_path / "a.png"
    process = in_process("with owned(target):\n    print('owned', flush=True)\n    time.sleep(60)", target)
    assert process.stdout is not None
    assert process.stdout.readline() == "owned\n"
    process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Taken, match=f"process {process.pid} on"):
            write(target)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert lock_of(target).exists()
    write(target)
    assert list(tmp_path.iterdir()) == [target]


def test_many_processes_that_take_turns_never_own_at_once(tmp_path):
    script = (
        "for _ in range(50):\n"
        "    with owned(target, patience=60):\n"
        "        mark = os.open(target.with_name('mark'), os.O_CREAT | os.O_EXCL)\n"
        "        os.close(mark)\n"
        "        target.with_name('mark').unlink()\n"
    )
    processes = [in_process(script, tmp_path / "a.png") for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert list(tmp_path.iterdir()) == []


# --- what cannot be written, and what is not read


def test_a_file_above_the_limit_of_the_process_cannot_be_written(tmp_path):
    target = tmp_path / "a.png"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(CannotWrite, match="too large") as failure:
            write(target, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "elsewhere" in failure.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_cannot_be_written(tmp_path, monkeypatch):
    target = tmp_path / "a.png"
    monkeypatch.setattr(Folder, "create", lambda *_: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(CannotWrite, match="no space left") as failure:
        write(target)
    assert "free some space" in failure.value.hint
    assert failure.value.ends_the_batch
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CannotWrite, match="permission"):
            write(tmp_path / "a.png")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["a.png", "new/deep/a.png"])
def test_a_read_only_folder_is_known_before_anything_is_written(tmp_path, monkeypatch, name):
    require_writable(tmp_path / name)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write everywhere
    with pytest.raises(CannotWrite, match=f"cannot write {tmp_path / name}: permission denied"):
        require_writable(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_only_failures_of_the_disk_or_folder_count_as_such(tmp_path):
    for code in (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EFBIG):
        error = OSError(code, os.strerror(code))
        assert is_write_failure(error)
        assert cannot_write(tmp_path, error).hint
    assert not is_write_failure(OSError("encoder error"))
    with pytest.raises(OSError, match="encoder error"):
        write_half(tmp_path / "a.png", OSError("encoder error"))


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "real").write_bytes(b"12345")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name, kind in (("fifo", "named pipe"), ("zero", "device"), (".", "directory")):
        with pytest.raises(OSError, match=kind):
            open_regular(tmp_path / name)
    assert read_regular(tmp_path / "link", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_regular(tmp_path / "link", 4)


def test_all_names_of_a_place_are_the_same_place(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    free = {place_of(tmp_path / name / "a.png") for name in ("folder", "link", "folder/../link")}
    assert len(free) == 1
    (tmp_path / "folder" / "a.png").touch()
    os.link(tmp_path / "folder" / "a.png", tmp_path / "second.png")
    assert len({place_of(path) for path in (tmp_path / "link" / "a.png", tmp_path / "second.png")}) == 1
    assert place_of(tmp_path / "folder" / "a.png") not in free


def test_a_mark_in_a_folder_is_read_by_whoever_shares_it_and_then_removed(tmp_path):
    folder = tmp_path / "made"
    with marked(folder) as (path, content), marked(folder) as (other, other_content):
        assert path.parent == folder
        assert path.read_bytes() == content != other_content
        assert path != other
    assert list(folder.iterdir()) == []


def test_marks_of_killed_processes_are_removed_after_a_minute(tmp_path):
    old, recent, foreign = (
        tmp_path / name for name in (f".dagan-{'a' * 16}.mark", f".dagan-{'b' * 16}.mark", "c.mark")
    )
    for path in (old, recent, foreign):
        path.write_text("left")
    for path in (old, foreign):
        os.utime(path, (0, 0))
    with marked(tmp_path):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([recent, foreign])
