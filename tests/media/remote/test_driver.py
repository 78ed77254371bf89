"""Any driver of fsspec: shown with the one that keeps files in memory."""

from __future__ import annotations

import io
import itertools
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.driver import DriverStore, failures, tell_failure
from dagan_cli.media.remote.fetch import RemoteFile, fetch
from dagan_cli.media.remote.patience import Cancelled, Patience, Permanent, Retries, Transient, patiently
from dagan_cli.media.remote.store import Changed, Facts, Opened, Stores

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch):
    found = fsspec.filesystem("memory", skip_instance_cache=True)
    found.store = {}
    found.pseudo_dirs = [""]
    monkeypatch.setattr("dagan_cli.media.remote.driver.file_system", lambda protocol: found)
    monkeypatch.setattr("dagan_cli.media.remote.driver._CHUNK", 1000)
    monkeypatch.setattr("dagan_cli.media.remote.patience._FIRST", 0.001)
    return found


def never() -> bool:
    return False


def test_a_file_is_read_in_parts_and_written_whole(files, tmp_path):
    store, place = DriverStore("gs"), Address("gs", "/bucket/a.bin")
    data = bytes(range(256)) * 10
    (tmp_path / "source").write_bytes(data)
    with (tmp_path / "source").open("rb") as file:
        store.put(file, place, never)
    facts = store.look(place)
    assert facts is not None
    assert facts.size == len(data)
    copy = io.BytesIO()
    assert fetch(store, place, copy, lambda *_: "", never) == len(data)
    assert copy.getvalue() == data
    assert store.look(Address("gs", "/bucket/none")) is None
    assert store.look(Address("gs", "/bucket")) is None


def test_folders_are_listed(files):
    for name in ("a.png", "b/c.png", "b/d/e.png"):
        files.pipe_file(f"/bucket/x/{name}", b"1")
    store, folder = DriverStore("gs"), Address("gs", "/bucket/x/")
    assert {each.relative for each in store.names(folder, recursive=True)} == {"a.png", "b/c.png", "b/d/e.png"}
    assert {(each.relative, each.is_folder) for each in store.names(folder, recursive=False)} == {
        ("a.png", False),
        ("b", True),
    }
    assert list(store.names(Address("gs", "/bucket/none/"), recursive=False, prefix="a")) == []


def test_a_folder_that_a_driver_lists_in_itself_is_no_circle(files, monkeypatch):
    files.pipe_file("/bucket/x/b/c.png", b"1")
    read = files.ls

    def with_itself(path: str, **options: object) -> list[dict[str, object]]:
        return [*read(path, **options), {"name": path, "type": "directory", "size": 0}]

    monkeypatch.setattr(files, "ls", with_itself)
    names = DriverStore("gs").names(Address("gs", "/bucket/x/"), recursive=True)
    assert [each.relative for each in itertools.islice(names, 9)] == ["b/c.png"]


def test_names_with_a_prefix_are_found_by_one_list(files):
    for number in range(30):
        files.pipe_file(f"/bucket/x/{number}_x2.png", b"1")
    store, folder = DriverStore("gs"), Address("gs", "/bucket/x/")
    lists = []
    read = files.ls
    files.ls = lambda *a, **k: lists.append(a) or read(*a, **k)
    found = [[each.relative for each in store.names(folder, recursive=False, prefix=f"{n}_")] for n in range(31)]
    assert found == [*([f"{n}_x2.png"] for n in range(30)), []]
    assert len(lists) == 1


def test_failures_in_the_middle_are_tried_again(files, monkeypatch):
    files.pipe_file("/bucket/a", bytes(5000))
    read, failures = files.cat_file, [ConnectionResetError(), TimeoutError()]

    def failing(path: str, start: int, end: int) -> bytes:
        if start == 2000 and failures:
            raise failures.pop()
        return read(path, start=start, end=end)

    monkeypatch.setattr(files, "cat_file", failing)
    assert fetch(DriverStore("gs"), Address("gs", "/bucket/a"), io.BytesIO(), lambda *_: "", never) == 5000
    assert failures == []


def test_a_remote_file_can_seek(files):
    data = bytes(range(256)) * 1000
    files.pipe_file("/bucket/a", data)
    store, place = DriverStore("gs"), Address("gs", "/bucket/a")
    facts = store.look(place)
    assert facts is not None
    with RemoteFile(store, place, facts, never) as file:
        assert file.read(10) == data[:10]
        assert file.seek(-5, io.SEEK_END) == len(data) - 5
        assert (file.read(100), file.read(1)) == (data[-5:], b"")
        file.seek(100_000)
        assert file.read(100_000) == data[100_000:200_000]
        buffer = bytearray(7)
        assert file.readinto(memoryview(buffer)) == 7
        assert buffer == data[200_000:200_007]


def test_parts_are_received_between_readings_and_not_in_them(files, monkeypatch):
    monkeypatch.setattr("dagan_cli.media.remote.fetch._WINDOW", 10)
    data = bytes(range(256)) * 10
    files.pipe_file("/bucket/a", data)
    store, place = DriverStore("gs"), Address("gs", "/bucket/a")
    facts = store.look(place)
    assert facts is not None
    read, is_reading = files.cat_file, False
    monkeypatch.setattr(files, "cat_file", lambda *a, **k: b"" if is_reading else read(*a, **k))

    with RemoteFile(store, place, facts, never) as file:

        def ends() -> bytes:
            nonlocal is_reading
            is_reading = True
            try:
                first = file.read(5) + file.read(10)
                file.seek(-50, io.SEEK_END)
                return first + file.read()
            finally:
                is_reading = False

        assert file.without_waiting(ends) == data[:15] + data[-50:]
        with pytest.raises(OSError, match="of its own"):
            file.without_waiting(lambda: (_ for _ in ()).throw(OSError("of its own")))
        monkeypatch.setattr("dagan_cli.media.remote.fetch._MOST_PARTS", 2)
        with pytest.raises(OSError, match="too many parts"):
            file.without_waiting(lambda: [file.read(50) for _ in range(9)])
        assert file.read(3) == data[file.tell() - 3 : file.tell()]  # and it waits again


class Answer(Exception):
    def __init__(self, **facts: object) -> None:
        super().__init__("https://host/?token=hidden")
        self.__dict__.update(facts)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Answer(status=503), Transient),
        (Answer(status=429), Transient),
        (Answer(code=500), Transient),
        (Answer(response={"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}), Transient),
        (TimeoutError(), Transient),
        (ConnectionResetError(), Transient),
        (Answer(status=403), Permanent),
        (Answer(status=404), Permanent),
        (Answer(response={"Error": {"Code": "NoSuchBucket"}, "ResponseMetadata": {"HTTPStatusCode": 404}}), Permanent),
        (PermissionError(), Permanent),
        (FileNotFoundError(), Permanent),
        (ValueError("token=hidden"), Permanent),
        (Answer(status=412), Changed),
    ],
)
def test_what_a_driver_raises_is_told_without_its_text(error, kind):
    with pytest.raises(kind) as raised:
        tell_failure("s3", error)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("status", [412, 416])
def test_a_failed_condition_is_a_change_only_where_one_was_stated(status):
    with pytest.raises(Changed), failures("s3", of_known=True):
        raise Answer(status=status)
    with pytest.raises(Permanent, match=f"answers with {status}"), failures("s3"):
        raise Answer(status=status)


def test_a_driver_that_cannot_log_in_at_once_is_tried_again(monkeypatch):
    monkeypatch.setattr("dagan_cli.media.remote.patience._FIRST", 0.001)
    errors = [TimeoutError(), ConnectionResetError()]

    def opened(*_: object, **__: object) -> str:
        if errors:
            raise errors.pop()
        return "files"

    monkeypatch.setattr("fsspec.filesystem", opened)
    monkeypatch.setitem(sys.modules, "gcsfs", ModuleType("gcsfs"))
    assert isinstance(Stores().of(Address("gs", "bucket/a")), DriverStore)
    assert errors == []


def test_patience_ends_and_can_be_ended(monkeypatch):
    monkeypatch.setattr("dagan_cli.media.remote.patience._FIRST", 0.001)
    tries = []

    def failing() -> None:
        tries.append(1)
        raise Transient("busy")

    with pytest.raises(Permanent, match=r"busy \(8 tries\)"):
        patiently(failing, never)
    assert len(tries) == 8
    with pytest.raises(Cancelled):
        Patience(lambda: True).wait(Transient("busy", after=50))


def test_reasons_are_told_once_after_some_tries_and_by_one_thread(monkeypatch):
    monkeypatch.setattr("dagan_cli.media.remote.patience._FIRST", 0.001)
    told: list[tuple[str, int]] = []

    def failing(times: int) -> None:
        errors = [Transient(f"busy {times}")] * times

        def fail() -> None:
            if errors:
                raise errors.pop()

        patiently(fail, never)

    with Retries(lambda text: told.append((text, threading.get_ident()))) as retries:
        failing(3)
        assert told == []
        failing(4)
        failing(4)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(failing, 5).result()
        assert told == [("busy 4; trying again", threading.get_ident())]
        retries.tell()
    assert told[1:] == [("busy 5; trying again", threading.get_ident())]
    failing(6)
    assert len(told) == 2


def test_waits_grow_with_jitter_and_heed_the_server(monkeypatch):
    slept: list[float] = []
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    patience = Patience(never)
    for after in (0, 0, 0, 0, 20):
        start = now[0]
        patience.wait(Transient("busy", after=after))
        slept.append(now[0] - start)
    for number, seconds in enumerate(slept[:4]):
        assert 0.125 * 2**number <= seconds <= 0.25 * 2**number + 1e-6
    assert slept[4] == pytest.approx(20)


def test_a_file_without_a_size_has_no_parts():
    with pytest.raises(ValueError, match="unknown size"):
        RemoteFile(DriverStore.__new__(DriverStore), Address("gs", "b/a"), Facts(None), never)


def test_a_file_that_does_not_fit_is_not_started(files, tmp_path: Path):
    files.pipe_file("/bucket/a", bytes(5000))
    copy = io.BytesIO()
    with pytest.raises(Permanent, match="too large"):
        fetch(DriverStore("gs"), Address("gs", "/bucket/a"), copy, lambda size, _: "too large" * (size > 10), never)
    assert copy.getvalue() == b""


def test_a_server_that_drips_is_given_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    class Dripping(DriverStore):
        def __init__(self) -> None:
            pass

        @contextmanager
        def read(self, address: Address, start: int, known: Facts | None):
            def blocks():
                for _ in range(start, 1 << 20):
                    now[0] += 1.0
                    yield b"x"

            yield Opened(Facts(1 << 20, "tag"), start, blocks())

    with pytest.raises(Permanent, match=r"less than 1,024 bytes per second \(8 tries\)"):
        fetch(Dripping(), Address("gs", "b/a"), io.BytesIO(), lambda *_: "", never)
    assert now[0] < 10 * 60
