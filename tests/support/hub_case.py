"""What tests of the Hub start from: a server, an environment of their own, and what they look at afterwards."""

from __future__ import annotations

import importlib
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.hub_server import FakeHub, Repository, fake_hub
from weights import hub as client

_OTHERS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN_PATH", "HF_XET_CACHE")


def reread_environment() -> None:
    """The library reads it when it is imported; these tests run in one process."""
    import huggingface_hub.constants

    importlib.reload(huggingface_hub.constants)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: Path) -> Iterator[FakeHub]:
    """A Hub with one model, and a home and time limits of the test's own."""
    with fake_hub() as server:
        for name in _OTHERS:
            monkeypatch.delenv(name, raising=False)
        for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_DISABLE_TELEMETRY"):
            monkeypatch.setenv(name, "1")
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setattr(client, "_WAITS", (0.05, 0.05, 0.05))
        use(monkeypatch, HF_HUB_DISABLE_XET="1", HF_HOME=str(tmp_path / "home"), HF_ENDPOINT=server.url)
        server.repositories["someone/net"] = Repository({"model.safetensors": tiny_model.read_bytes()})
        yield server
    monkeypatch.undo()
    reread_environment()


def use(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    reread_environment()


@pytest.fixture
def fresh_session() -> Iterator[None]:
    """The library reads the settings of proxies when it opens its session, which all tests share."""
    import huggingface_hub

    huggingface_hub.close_session()
    yield
    huggingface_hub.close_session()


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def refused(ran: Any, *words: str, code: int = 4) -> bool:
    """Two lines with these words in them, and an exit code: 4 for a model, 6 for a file that cannot be written."""
    lines = ran.err.splitlines()
    assert ran.code == code, ran
    assert [lines[-2][:6], lines[-1][:6]] == ["error:", "  try:"], ran.err
    assert all(word in ran.err for word in words), ran.err
    return True


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Fail a test that takes longer, also while it waits for a file or a server."""

    def stop(*_: object) -> None:
        raise AssertionError(f"it takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def in_cache(tmp_path: Path) -> list[str]:
    """Names in the cache that promise content."""
    found = [path for path in (tmp_path / "home").rglob("*") if not path.is_dir()]
    return [path.name for path in found if path.suffix not in (".incomplete", ".lock", ".TAG")]
