"""A name that exists is a finished file, whatever stops the writer."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dagan_cli.atomic import cannot_write, is_write_failure, part_of, whole_or_absent
from dagan_cli.errors import CannotWrite


def write_half(target: Path, error: BaseException) -> None:
    with whole_or_absent(target) as part:
        part.write_bytes(b"half")
        raise error


def test_what_was_written_appears_under_its_name_only(tmp_path):
    target = tmp_path / "new" / "folder" / "a.png"
    with whole_or_absent(target) as part:
        part.write_bytes(b"whole")
        assert not target.exists()
        assert part.parent == target.parent
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
    target = tmp_path / "a.png"
    with pytest.raises(KeyboardInterrupt):
        write_half(target, KeyboardInterrupt())
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_nothing_under_the_name_and_the_next_run_cleans_up(tmp_path):
    target = tmp_path / "a.png"
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dagan_cli.atomic import whole_or_absent\n"
        "with whole_or_absent(Path(sys.argv[1])) as part:\n"
        "    part.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(target)], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    assert list(tmp_path.iterdir()) == [part_of(target)]
    with whole_or_absent(target) as part:
        part.write_bytes(b"whole")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def test_a_name_as_long_as_a_disk_allows_can_be_written(tmp_path):
    target = tmp_path / ("ä" * 125 + ".webp")
    with whole_or_absent(target) as part:
        part.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert len(os.fsencode(part_of(target).name)) < 60


def test_names_that_differ_are_written_to_different_parts(tmp_path):
    parts = {part_of(tmp_path / name) for name in ("a.png", "a.jpg", "b.png", "A.png")}
    assert len(parts) == 4
    assert all(part.name.startswith(".") for part in parts)


def test_a_file_above_the_limit_of_the_process_cannot_be_written(tmp_path):
    target = tmp_path / "a.png"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(CannotWrite, match="too large") as failure, whole_or_absent(target) as part:
            part.write_bytes(bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert "elsewhere" in failure.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_cannot_be_written(tmp_path):
    target = tmp_path / "a.png"
    part_of(target).symlink_to("/dev/full")
    with pytest.raises(CannotWrite, match="no space left") as failure, whole_or_absent(target) as part:
        part.write_bytes(b"x")
    assert "free some space" in failure.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CannotWrite, match="permission"), whole_or_absent(tmp_path / "a.png") as part:
            part.write_bytes(b"x")
    finally:
        tmp_path.chmod(0o700)


def test_only_failures_of_the_disk_or_folder_count_as_such(tmp_path):
    for code in (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EFBIG):
        error = OSError(code, os.strerror(code))
        assert is_write_failure(error)
        assert cannot_write(tmp_path, error).hint
    assert not is_write_failure(OSError("encoder error"))
    with pytest.raises(OSError, match="encoder error"), whole_or_absent(tmp_path / "a.png"):
        raise OSError("encoder error")
