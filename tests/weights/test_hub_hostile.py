"""Hostile and broken servers, caches with planted links, and secrets in settings: against servers on the loopback."""

from __future__ import annotations

import gzip
import os
import threading
import time
import traceback
import tracemalloc
from collections import deque
from collections.abc import Callable, Generator, Iterator
from hashlib import sha1, sha256
from pathlib import Path

import pytest

from dagan_cli.errors import DaganError
from tests.conftest import Cli
from tests.support.hub_case import at_most, fresh_session, in_cache, refused, use  # noqa: F401
from tests.support.hub_server import COMMIT, DRIP, FakeHub, Repository, fake_hub
from tests.support.tiny import dagan
from weights import address, cache, receive
from weights import hub as client

NAME = "hf://someone/net"
WINDOW = 2  # seconds, at a time limit of one
LATE = 3  # seconds that a busy machine may add to a time limit


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    """Without what is tested here, a test waits for ever."""
    with at_most(20):
        yield


def downloads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == receive.THREAD]


def soon(condition: Callable[[], bool]) -> bool:
    """True as soon as the condition is, within a few seconds."""
    until = time.monotonic() + LATE
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


# Servers that drip.


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "tries"), [("drip body", 2), ("drip headers", 1), ("drip chunks", 1)])
def test_a_download_that_drips_ends_in_the_promised_time_and_so_does_its_thread(
    cli: Cli, hub: FakeHub, tmp_path, monkeypatch, fault, tries
):
    monkeypatch.setattr(client, "_WAITS", (0.05,))
    hub.bodies = deque([fault])
    started = time.monotonic()
    assert refused(cli("models", "pull", NAME), "less than 1000 bytes per second", hub.url)
    assert tries * WINDOW <= time.monotonic() - started < tries * WINDOW + LATE
    assert len(hub.asked("GET", "/large/")) == tries
    assert soon(lambda: downloads() == [])
    assert soon(lambda: hub.dripping == 0)  # the connections are closed
    assert in_cache(tmp_path) == []
    kept = sum(path.stat().st_size for path in (tmp_path / "home").rglob("*.incomplete"))
    assert kept == 0 if fault != "drip body" else 0 < kept <= tries * WINDOW / DRIP


@pytest.mark.slow
def test_a_question_whose_answer_drips_ends_in_the_promised_time(cli: Cli, hub: FakeHub):
    hub.heads = deque(["drip headers"])
    started = time.monotonic()
    assert refused(cli("models", "pull", NAME), "does not respond")
    assert time.monotonic() - started < 2 + LATE


@pytest.mark.slow
def test_what_dripped_is_kept_and_the_download_goes_on_from_there(cli: Cli, hub: FakeHub, tiny_model):
    hub.bodies = deque(["drip body", None])
    assert Path(cli("models", "pull", NAME).out.strip()).read_bytes() == tiny_model.read_bytes()
    first, second = hub.asked("GET", "/large/")
    assert "range" not in first.headers
    assert 0 < int(second.headers["range"].removeprefix("bytes=").removesuffix("-")) <= WINDOW / DRIP


def test_the_body_of_a_redirect_is_not_waited_for(cli: Cli, hub: FakeHub):
    hub.wordy_redirects = True
    assert cli("models", "pull", NAME).code == 0
    assert soon(lambda: hub.dripping == 0)


@pytest.mark.slow
def test_a_line_that_is_slow_but_fast_enough_is_not_given_up():
    def modem(_: receive.Line) -> Generator[bytes]:
        for _number in range(20):
            time.sleep(0.05)
            yield b"x" * 10  # 200 per second

    assert sum(map(len, receive.arriving(modem, 0.4, 20))) == 200
    with pytest.raises(receive.TooSlow):
        list(receive.arriving(modem, 0.4, 160))


@pytest.mark.slow
def test_the_time_that_writing_takes_does_not_count_as_the_server_s():
    def server(_: receive.Line) -> Generator[bytes]:
        for _number in range(30):  # more than is kept while nobody takes it
            time.sleep(0.002)
            yield b"x"

    pieces = receive.arriving(server, 0.3, 100)
    next(pieces)
    time.sleep(0.4)
    assert len(list(pieces)) == 29


def test_a_thread_that_nobody_waits_for_ends_and_closes_what_it_has_open():
    closed, sent = threading.Event(), list[int]()

    def endless(_: receive.Line) -> Generator[bytes]:
        try:
            while True:
                sent.append(1)
                yield b"x"
        finally:
            closed.set()

    pieces = receive.arriving(endless, 1, 1)
    next(pieces)
    assert soon(lambda: len(sent) == 10)  # one is taken, eight are kept, and the thread waits with another one
    assert downloads() != []
    pieces.close()
    assert closed.wait(LATE)
    assert soon(lambda: downloads() == [])


# Sizes, and more than was promised.


@pytest.mark.parametrize("size", ["-5", "0", "-99999999999999999999", "abc", "1e3", "9" * 30, "9" * 5000])
def test_a_size_that_makes_no_sense_is_the_server_s_fault(cli: Cli, hub: FakeHub, tmp_path, size):
    hub.head_headers = {"X-Linked-Size": size}
    assert refused(cli("models", "pull", NAME), "larger" if len(size) == 30 else f"size of '{size[:20]}'")
    assert hub.asked("GET", "/large/") == []
    assert in_cache(tmp_path) == []


@pytest.mark.parametrize("size", ["-5", "abc", "9" * 30])
@pytest.mark.parametrize("where", ["head_headers", "body_headers"])
def test_a_length_that_makes_no_sense_is_the_server_s_fault(cli: Cli, hub: FakeHub, tmp_path, where, size):
    setattr(hub, where, {"Content-Length": size})
    assert refused(cli("models", "pull", NAME), hub.url)
    assert in_cache(tmp_path) == []


@pytest.mark.slow
def test_a_file_without_a_size_is_received_up_to_the_largest_model_and_only_once(
    cli: Cli, hub: FakeHub, tmp_path, monkeypatch
):
    monkeypatch.setattr(client, "LARGEST", 2**20)
    hub.head_headers = {"X-Linked-Size": None}
    hub.bodies = deque(["flood"])
    assert refused(cli("models", "pull", NAME), "larger than any dagan model")
    assert len(hub.asked("GET", "/large/")) == 1
    assert hub.flooded < 2**25
    assert list((tmp_path / "home").rglob("*.incomplete")) == []


@pytest.mark.slow
def test_nothing_is_written_beyond_the_size_that_was_promised(cli: Cli, hub: FakeHub, tmp_path, monkeypatch):
    remove, sizes = Path.unlink, list[int]()

    def removed(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".incomplete" and path.exists():
            sizes.append(path.stat().st_size)
        remove(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", removed)
    hub.bodies = deque(["flood"])
    assert refused(cli("models", "pull", NAME), "damaged")
    size = len(hub.repositories["someone/net"].files["model.safetensors"])
    assert sizes == [size + 1, size + 1]  # one byte shows that there are too many
    assert hub.flooded < 2**26


@pytest.mark.slow
def test_a_server_that_is_fast_at_times_has_as_long_as_the_slowest_line(cli: Cli, hub: FakeHub, monkeypatch):
    monkeypatch.setattr(client, "_ENOUGH", 1)  # each try counts as progress, so there is no last one
    monkeypatch.setattr(client, "_WAITS", (0,))
    monkeypatch.setattr(client, "_DRIP", 50_000)
    size = len(hub.repositories["someone/net"].files["model.safetensors"])
    hub.bodies = deque(["drip body"])
    started = time.monotonic()
    assert refused(cli("models", "pull", NAME), "was interrupted")
    assert time.monotonic() - started < size / 50_000 + 2 * WINDOW + LATE


@pytest.mark.slow
def test_a_server_that_starts_again_and_again_is_given_up(cli: Cli, hub: FakeHub, monkeypatch):
    monkeypatch.setattr(client, "_ENOUGH", 1)  # each try counts as progress
    monkeypatch.setattr(client, "_WAITS", (0, 0))
    data = hub.repositories["someone/net"].files["model.safetensors"]
    sent: list[int] = []

    def restarting(*_: object) -> Iterator[object]:
        more = len(sent) + 100
        sent.append(len(sent) + 100)
        yield 200
        yield data[:8] + data[8:more]
        raise client._http().ReadError("cut")

    monkeypatch.setattr(client, "_response", restarting)
    assert refused(cli("models", "pull", NAME), "was interrupted")
    assert sum(sent) < (client._TRANSFERS + 1) * len(data)


def test_a_body_is_kept_as_it_was_sent_and_never_decompressed(cli: Cli, hub: FakeHub, tiny_model):
    hub.body_headers = {"Content-Encoding": "gzip"}
    assert Path(cli("models", "pull", NAME).out.strip()).read_bytes() == tiny_model.read_bytes()
    data = gzip.compress(bytes(2**20))
    hub.repositories["someone/bomb"] = Repository({"model.safetensors": data})
    assert refused(cli("models", "pull", "hf://someone/bomb"), "not a dagan model")


def test_the_body_of_an_error_is_not_waited_for(cli: Cli, hub: FakeHub):
    hub.bodies = deque(["drip error"])
    assert refused(cli("models", "pull", NAME), "418")


# Headers of models.


@pytest.mark.slow
@pytest.mark.parametrize(
    "header",
    [b"[" * 2**20, b'{"a":' * 200_000, b"9" * 10_000, b'{"__metadata__":[]}', b"\xff\xfe\xfd", b'"' + b"\0" * 100],
    ids=["lists", "objects", "digits", "shape", "bytes", "string"],
)
def test_a_header_of_nonsense_is_no_model_and_no_traceback(cli: Cli, hub: FakeHub, tmp_path, header):
    hub.repositories["someone/net"].files["model.safetensors"] = len(header).to_bytes(8, "little") + header + bytes(99)
    assert refused(cli("models", "pull", NAME), "not a dagan model")
    assert in_cache(tmp_path) == []


# Secrets.

SECRETS = ("s3cr3t", "us3r", "t0k3n")


def with_secrets(url: str, tail: str = "") -> str:
    return url.replace("://", "://us3r:s3cr3t@") + tail


def said(cli: Cli, *arguments: object) -> str:
    """All that a command prints, and the traceback that --debug adds."""
    ran = cli(*arguments)
    assert ran.code == 4, ran
    with pytest.raises(DaganError) as caught:
        cli(*arguments, "--debug")
    return ran.out + ran.err + "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("tail", ["", "/?token=t0k3n", "#t0k3n", "/t0k3n"])
@pytest.mark.parametrize("fault", [500, 401, 403, 404, "nothing", "file", "hub"])
def test_secrets_of_the_endpoint_are_in_no_message(cli: Cli, hub: FakeHub, monkeypatch, fault, tail):
    use(monkeypatch, HF_ENDPOINT=with_secrets(hub.url, tail))
    name = {"nothing": "hf://someone/nothing", "file": f"{NAME}/other.safetensors"}.get(str(fault), NAME)
    if isinstance(fault, int):
        hub.heads = deque([fault])
    elif fault == "hub":
        hub.repositories["someone/net"].commit = "none"
    text = said(cli, "models", "pull", name)
    assert not any(secret in text for secret in SECRETS), text
    assert hub.url in text or "no file" in text


@pytest.mark.parametrize("endpoint", ["http://us3r:s3cr3t@127.0.0.1:x", "us3r:s3cr3t@host", "http://us3r:s3/cr3t@[::1"])
def test_secrets_of_an_endpoint_that_is_no_address_are_in_no_message(cli: Cli, hub: FakeHub, monkeypatch, endpoint):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/{filename}")
    text = said(cli, "models", "pull", NAME)
    assert not any(secret in text for secret in (*SECRETS, "cr3t")), text


@pytest.mark.slow
@pytest.mark.parametrize("command", [["models", "pull", NAME], ["models", "pull", NAME, "--debug"]])
def test_secrets_of_an_endpoint_that_the_library_does_not_survive_are_in_no_message(tmp_path, command):
    endpoint = "http://us3r:s3cr3t@h\u2100st"  # a message of urllib quotes all of it
    ran = dagan(*command, env=os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path)})
    text = ran.stdout.decode() + ran.stderr.decode()
    assert ran.returncode in (1, 4)
    assert "HF_ENDPOINT" in text
    assert not any(secret in text for secret in SECRETS), text


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_session")
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    "proxy",
    ["http://us3r:s3cr3t@127.0.0.1:9/?t0k3n", "nonsense://us3r:s3cr3t@host", "socks5://us3r:s3cr3t@127.0.0.1:9"],
)
def test_secrets_of_proxies_are_in_no_message(cli: Cli, hub: FakeHub, monkeypatch, tiny_model, variable, proxy):
    monkeypatch.delenv("NO_PROXY")
    use(monkeypatch, **{variable: proxy, "HF_TOKEN": "hf_t0k3n"})
    for command in (["models", "pull", NAME], ["models", "push", tiny_model, "me/net"]):
        text = said(cli, *command)
        assert not any(secret in text for secret in SECRETS), text
    assert hub.requests == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://huggingface.co", "https://huggingface.co"),
        ("https://user:password@host.example:8080/path?token=x#y", "https://host.example:8080"),
        ("http://user:pass@word@[::1]:80/", "http://[::1]:80"),
        ("user:password@host", "host"),
        ("nonsense", "nonsense"),
        ("https://user:pass/word@host", ""),
        ("https://user:1/2@host", ""),
        ("https://host/?token=a@b", ""),
        ("https:\\\\user@host", ""),
        ("user:p://x@host", ""),
        ("", ""),
    ],
)
def test_an_address_is_shown_as_scheme_host_and_port_or_not_at_all(given, expected):
    assert address.shown(given) == expected


@pytest.mark.parametrize("where", ["moved", "large_at"])
def test_a_redirect_to_another_server_does_not_get_the_token(cli: Cli, hub: FakeHub, monkeypatch, where):
    hub.repositories["someone/net"].private = True
    for endpoint, sent in ((hub.url, f"Bearer {hub.token}"), (with_secrets(hub.url), "Basic ")):
        use(monkeypatch, HF_TOKEN=hub.token, HF_ENDPOINT=endpoint)
        with fake_hub() as other:
            other.repositories = hub.repositories
            setattr(hub, where, other.url)
            ran = cli("models", "pull", NAME, "--update")
            assert hub.asked("HEAD")[-1].headers["authorization"].startswith(sent)
            if where == "large_at" and endpoint == hub.url:
                assert ran.code == 0
                assert len(other.asked("GET", "/large/")) == 1
            assert [request for request in other.requests if "authorization" in request.headers] == []
            assert not any(hub.token in str(request) or "s3cr3t" in str(request) for request in other.requests)


# Planted files.


def storage(tmp_path: Path) -> Path:
    return tmp_path / "home" / "hub" / "models--someone--net"


def places(tmp_path: Path, model: Path) -> dict[str, Path]:
    """The names that a download uses."""
    etag, folder = sha256(model.read_bytes()).hexdigest(), storage(tmp_path)
    return {
        "part": folder / "blobs" / f"{etag}.incomplete",
        "blob": folder / "blobs" / etag,
        "link": folder / "snapshots" / COMMIT / "model.safetensors",
        "ref": folder / "refs" / "main",
        "lock": folder.parent / ".locks" / folder.name / f"{etag}.lock",
    }


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim.txt"
    path.write_text("precious")
    return path


@pytest.mark.parametrize("kind", ["symbolic", "dangling", "hard"])
@pytest.mark.parametrize("name", ["part", "blob", "link", "ref", "lock"])
def test_a_planted_link_is_replaced_and_what_it_leads_to_stays(
    cli: Cli, hub: FakeHub, tmp_path, tiny_model, victim, name, kind
):
    planted = places(tmp_path, tiny_model)[name]
    planted.parent.mkdir(parents=True)
    if kind == "hard":
        planted.hardlink_to(victim)
    else:
        planted.symlink_to(victim if kind == "symbolic" else tmp_path / "new.txt")
    facts = victim.stat()
    path = Path(cli("models", "pull", NAME).out.strip())
    assert path.read_bytes() == tiny_model.read_bytes()
    assert path.resolve() == places(tmp_path, tiny_model)["blob"].resolve()
    assert places(tmp_path, tiny_model)["ref"].read_text() == COMMIT
    assert (victim.read_text(), victim.stat().st_mtime_ns) == ("precious", facts.st_mtime_ns)
    assert not (tmp_path / "new.txt").exists()
    assert not planted.is_symlink() or name == "link"
    assert planted.lstat().st_nlink == 1 if planted.exists() else name == "part"
    assert list((tmp_path / "home").rglob(".dagan-*")) == []


@pytest.mark.parametrize("folder", ["", "blobs", "snapshots", f"snapshots/{COMMIT}", "refs"])
def test_a_planted_link_to_a_folder_is_refused_and_nothing_appears_there(cli: Cli, hub: FakeHub, tmp_path, folder):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("model.safetensors", "main"):
        (elsewhere / name).write_text("precious")
    planted = storage(tmp_path) / folder
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.symlink_to(elsewhere)
    assert refused(cli("models", "pull", NAME), "a link is in the way", str(planted), "HF_HOME", code=6)
    assert {path.name: path.read_text() for path in elsewhere.iterdir()} == {
        "model.safetensors": "precious",
        "main": "precious",
    }


@pytest.mark.parametrize("name", ["part", "blob", "link", "ref", "lock"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_folder_or_fifo_in_the_cache_is_an_error_or_replaced_and_never_blocks(
    cli: Cli, hub: FakeHub, tmp_path, tiny_model, name, make
):
    planted = places(tmp_path, tiny_model)[name]
    planted.parent.mkdir(parents=True)
    make(planted)
    ran = cli("models", "pull", NAME)
    if name == "part" and make is os.mkfifo:
        assert Path(ran.out.strip()).read_bytes() == tiny_model.read_bytes()
    else:
        assert refused(ran, str(planted), code=6)
        assert hub.asked("GET", "/large/") == [] or name == "part"


@pytest.mark.parametrize("name", ["blob", "link", "ref"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_folder_or_fifo_in_the_cache_is_not_a_cached_model(cli: Cli, hub: FakeHub, tmp_path, tiny_model, name, make):
    assert cli("models", "pull", NAME).code == 0
    planted = places(tmp_path, tiny_model)[name]
    planted.unlink()
    make(planted)
    assert refused(cli("models", "path", NAME), "not on this machine")


def test_only_links_to_blobs_of_the_repository_count_as_cached(cli: Cli, hub: FakeHub, tmp_path, tiny_model):
    path = Path(cli("models", "pull", NAME).out.strip())
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"anything")
    path.unlink()
    path.symlink_to(other)
    assert refused(cli("models", "path", NAME), "not on this machine")
    assert Path(cli("models", "pull", NAME).out.strip()).read_bytes() == tiny_model.read_bytes()
    assert other.read_bytes() == b"anything"


def test_a_blob_that_the_library_keeps_once_for_all_repositories_counts(cli: Cli, hub: FakeHub, tmp_path, tiny_model):
    assert cli("models", "pull", NAME).code == 0
    blob = places(tmp_path, tiny_model)["blob"]
    kept = storage(tmp_path).parent / "blobs" / "ab" / ("ab" * 32)  # its name is no checksum that is known here
    kept.parent.mkdir(parents=True)
    blob.replace(kept)
    blob.symlink_to(os.path.relpath(kept, blob.parent))
    assert cli("models", "path", NAME).code == 0
    kept.write_bytes(b"something else")
    assert refused(cli("models", "path", NAME), "not on this machine")
    kept.unlink()
    (tmp_path / "outside").write_bytes(tiny_model.read_bytes())
    blob.unlink()
    blob.symlink_to(tmp_path / "outside")
    assert refused(cli("models", "path", NAME), "not on this machine")


def test_checksums_are_read_in_blocks_and_only_of_regular_files(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**25)
    tracemalloc.start()
    sizes = [cache.sha256_of(path), cache.matches(path, "0" * 64), cache.matches(path, "0" * 40)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sizes == [sha256(bytes(2**25)).hexdigest(), False, False]
    assert cache.matches(path, sha1(b"blob 33554432\0" + bytes(2**25)).hexdigest())
    assert peak < 2**23
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(path)
    for name in ("fifo", "link", "."):
        with pytest.raises(OSError, match=r"(?i)regular file|symbolic links|directory"):
            cache.matches(tmp_path / name, "0" * 64)
    with pytest.raises(OSError, match="not a regular file"):
        cache.sha256_of(tmp_path / "fifo")


def test_a_file_larger_than_any_model_is_not_read_at_all(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(2**40)
    assert not cache.matches(path, "0" * 64)
    with pytest.raises(OSError, match="larger"):
        cache.sha256_of(path)
