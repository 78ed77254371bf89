"""What a user sees when a cluster cannot be joined: two lines, soon."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from dagan_cli.errors import BadOption
from dagan_cli.upscale.executors.cluster.connection import joined, local_workers


@pytest.mark.parametrize("address", ["", "here", "ray://head:10001", "head:", ":6379", "head:port", "a/b:6379"])
def test_an_address_that_is_none_is_refused_before_ray_is_loaded(address, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadOption, match="invalid --cluster"), joined(address):
        pass


@pytest.mark.parametrize(
    ("address", "workers"), [("local:1", 1), ("local:12", 12), ("head:6379", None), ("auto", None)]
)
def test_workers_of_a_cluster_of_our_own(address, workers):
    assert local_workers(address) == workers


@pytest.mark.parametrize("address", ["local:", "local:0", "local:-1", "local:two", "local:65"])
def test_a_number_of_workers_that_is_none(address):
    with pytest.raises(BadOption, match="invalid --cluster"):
        local_workers(address)


def test_ray_that_is_not_installed(monkeypatch, cli, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "in.ppm").write_bytes(b"P6 1 1 255 abc")
    ran = cli("upscale", tmp_path / "in.ppm", "-n", "nearest", "--cluster", "127.0.0.1:6379")
    assert ran.code == 2
    assert ran.err.splitlines()[:2] == [
        "error: --cluster needs Ray, which is not installed",
        "  try: pip install 'dagan[cluster]', here and on each node",
    ]


@pytest.mark.slow
def test_an_address_where_nobody_answers_is_given_up_soon():
    pytest.importorskip("ray")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        started = time.monotonic()
        with (
            pytest.raises(BadOption, match="nothing answers there") as caught,
            joined(f"127.0.0.1:{closed.getsockname()[1]}"),
        ):
            pass
    assert time.monotonic() - started < 10
    assert "ray start --head" in caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-g", "0"), "-g 0 and --cluster do not go together: Ray chooses the GPUs"),
        (("-o", "-"), "- (stdin or stdout) does not go with --cluster"),
    ],
)
def test_options_that_do_not_go_with_a_cluster(arguments, message, cli, tmp_path):
    (tmp_path / "in.ppm").write_bytes(b"P6 1 1 255 abc")
    ran = cli("upscale", tmp_path / "in.ppm", "-n", "nearest", "--cluster", "127.0.0.1:1", *arguments)
    assert ran.code == 2
    assert message in ran.err
