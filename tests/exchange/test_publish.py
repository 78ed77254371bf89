"""`dagan models push`: what goes to the Hub, by its own protocol, and what never does."""

from __future__ import annotations

import io
import json
import socket
import time
from collections import deque
from pathlib import Path

import pytest
from PIL import Image

from dagan_cli.exchange.publish import publication
from tests.conftest import Cli
from tests.support.hub_case import in_cache, no_network, refused, use
from tests.support.hub_server import COMMIT, FakeHub, Repository
from tests.support.tiny import noise

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Path:
    """A folder as a training run leaves it."""
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    for name in ("best.safetensors", "model.safetensors"):
        (folder / name).write_bytes(tiny_model.read_bytes())
    for name in ("curves.png", "samples/00001000.png", "samples/00002000.png"):
        Image.fromarray(noise(8, 8, 3)).save(folder / name)
    (folder / "state.pt").write_bytes(b"a pickle")
    (folder / "log.jsonl").write_text("{}\n")
    return folder


def writable(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, HF_TOKEN=hub.token)


def test_a_run_is_published_with_card_configuration_curves_and_its_last_strip(
    cli: Cli,
    hub: FakeHub,
    run,
    tmp_path,
    monkeypatch,
    tiny_model,
):
    writable(hub, monkeypatch)
    ran = cli("models", "push", run, "me/new-net", "--licence", "CC0")
    assert (ran.code, ran.out) == (0, f"hf://me/new-net@{COMMIT}\n")
    there = hub.repositories["me/new-net"]
    assert there.private is False
    assert set(there.files) == {"model.safetensors", "config.json", "README.md", "curves.png", "samples/00002000.png"}
    assert there.files["model.safetensors"] == tiny_model.read_bytes()
    for name in ("curves.png", "samples/00002000.png"):
        assert there.files[name] == (run / name).read_bytes()
    config = json.loads(there.files["config.json"])
    assert (config["model_type"], config["scale"], config["solver"]) == ("dagan", 2, "rk4")
    card = there.files["README.md"].decode()
    assert "# new-net" in card
    assert "![training curves](curves.png)" in card

    path = cli("models", "pull", ran.out.strip()).out.strip()  # and back again
    assert Path(path).read_bytes() == tiny_model.read_bytes()


def test_a_dry_run_prints_card_and_files_and_needs_neither_network_nor_token(
    cli: Cli,
    hub: FakeHub,
    run,
    tmp_path,
    monkeypatch,
):
    no_network(monkeypatch)
    ran = cli("models", "push", run, "me/new-net", "--dry-run", "--private")
    assert ran.code == 0
    assert ran.out.startswith("---\nlicense: mit\n")
    for name in ("model.safetensors", "config.json", "README.md", "curves.png", "samples/00002000.png"):
        assert f"\n{name} " in ran.out
    assert "(private)" in ran.out
    assert (hub.requests, in_cache(tmp_path)) == ([], [])


def test_without_a_token_nothing_is_sent(cli: Cli, hub: FakeHub, tiny_model):
    assert refused(cli("models", "push", tiny_model, "me/net"), "HF_TOKEN", "settings/tokens")
    assert hub.requests == []


def test_a_token_that_may_not_write_is_said_to_be_the_reason(cli: Cli, hub, tiny_model, monkeypatch):
    use(monkeypatch, HF_TOKEN="hf_wrong")
    assert refused(cli("models", "push", tiny_model, "me/net"), "write", "HF_TOKEN")
    assert hub.repositories.keys() == {"someone/net"}


def test_private_is_private_and_a_public_repository_is_not_written_to(cli: Cli, hub, tiny_model, monkeypatch):
    writable(hub, monkeypatch)
    assert cli("models", "push", tiny_model, "me/secret", "--private").code == 0
    assert hub.repositories["me/secret"].private
    hub.repositories["me/public"] = Repository()
    assert refused(cli("models", "push", tiny_model, "me/public", "--private"), "already public")
    assert hub.repositories["me/public"].files == {}


def test_a_second_push_replaces_the_first(cli: Cli, hub, tiny_model, monkeypatch):
    writable(hub, monkeypatch)
    assert cli("models", "push", "dagan-x2-psnr", "me/net").code == 0
    assert cli("models", "push", tiny_model, "me/net").code == 0
    assert hub.repositories["me/net"].files["model.safetensors"] == tiny_model.read_bytes()


@pytest.mark.parametrize("fault", [["silent"], [None, "silent"], [500]])
def test_a_server_that_does_not_take_it_is_given_up(cli: Cli, hub, tiny_model, monkeypatch, fault):
    writable(hub, monkeypatch)
    hub.heads = deque(fault)
    started = time.monotonic()
    assert refused(cli("models", "push", tiny_model, "me/net"), hub.url)
    assert time.monotonic() - started < 10  # where the limit is one second


@pytest.mark.parametrize("source", ["nothing", "missing.safetensors", "broken.safetensors", "net.pth", "empty"])
def test_what_is_no_whole_model_is_not_published(cli: Cli, hub, tmp_path, tiny_model, monkeypatch, source):
    writable(hub, monkeypatch)
    data = tiny_model.read_bytes()
    (tmp_path / "broken.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (tmp_path / "net.pth").write_bytes(b"a pickle")
    (tmp_path / "empty").mkdir()
    name = source if source == "nothing" else tmp_path / source
    assert refused(cli("models", "push", name, "me/net"))
    assert hub.requests == []


@pytest.mark.parametrize("name", ["net", "me/", "me/net/x", "../net", "me/a--b", "hf://me/net", "me/n t"])
def test_a_name_that_the_hub_would_not_take_is_refused_first(cli: Cli, hub, tiny_model, name):
    assert refused(cli("models", "push", tiny_model, name), "owner/name")
    assert hub.requests == []


def test_offline_means_no_upload(cli: Cli, hub, tiny_model, monkeypatch):
    use(monkeypatch, HF_TOKEN=hub.token, HF_HUB_OFFLINE="1")
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a socket was used"))
    assert refused(cli("models", "push", tiny_model, "me/net"), "HF_HUB_OFFLINE")


def test_pictures_that_go_along_are_whole(cli: Cli, hub, run, monkeypatch):
    writable(hub, monkeypatch)
    assert cli("models", "push", run, "me/net").code == 0
    with Image.open(io.BytesIO(hub.repositories["me/net"].files["curves.png"])) as picture:
        assert picture.size == (8, 8)


@pytest.mark.parametrize("name", ["curves.png", "samples/00003000.png", "samples"])
def test_what_a_link_in_a_run_leads_to_is_not_published(name, run, tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "00009000.png").write_bytes((run / "curves.png").read_bytes())
    if name == "samples":
        (run / name).rename(tmp_path / "moved")
        (run / name).symlink_to(tmp_path / "private")
    else:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(tmp_path / "private" / "00009000.png")
    assert name not in publication(str(run), "me/net").files
    assert "samples/00009000.png" not in publication(str(run), "me/net").files
    (run / "curves.png").unlink()
    (run / "curves.png").write_text("a password")
    assert "curves.png" not in publication(str(run), "me/net").files
