"""A store of objects and a web server on the loopback, and a spool that is looked at afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stores import S3, Store, Web, serving


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the spool, and waits of milliseconds between tries."""
    monkeypatch.setenv("DAGAN_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setattr("dagan_cli.media.remote.patience._FIRST", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "spool"


@pytest.fixture
def bucket(spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An S3 with the buckets `in` and `out`, found by the environment."""
    pytest.importorskip("s3fs")
    with serving(S3) as store:
        store.files |= {"in/readme.txt": b"text", "out/readme.txt": b"text"}
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        yield store


@pytest.fixture
def web(spool: Path) -> Iterator[Store]:
    """A web server."""
    with serving(Web) as store:
        yield store


def left_in(spool: Path) -> list[Path]:
    """Files of the spool."""
    return [path for path in spool.rglob("*") if path.is_file()]
