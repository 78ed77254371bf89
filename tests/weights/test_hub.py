"""Models from the Hugging Face Hub, against a server on the loopback that speaks its protocol."""

from __future__ import annotations

import json
import os
import socket
import time
from collections import deque
from hashlib import sha256
from pathlib import Path

import pytest

from dagan_cli.errors import BadModel
from tests.conftest import Cli, Ran
from tests.support.hub_case import in_cache, no_network, refused, use
from tests.support.hub_server import COMMIT, Repository
from tests.support.tiny import dagan, picture, pixels
from weights.catalog import Published, find_model, pinned
from weights.reference import Reference, parse_reference

NAME = "hf://someone/net"
PINNED = f"{NAME}@{COMMIT}/model.safetensors"


@pytest.mark.slow
def test_a_model_is_downloaded_and_used_and_the_report_names_its_commit(cli: Cli, hub, tmp_path, tiny_model):
    source, report = picture(tmp_path / "in.png"), tmp_path / "report.json"
    assert cli(source, "-n", NAME, "-s", 2, "--report", report).code == 0
    assert json.loads(report.read_text())["model"] == {
        "name": PINNED,
        "architecture": None,
        "sha256": sha256(tiny_model.read_bytes()).hexdigest(),
        "scale": 2,
        "order": 1,  # the lowest, as the packaged models do
        "detail": None,
        "denoise": None,
        "window": "global",
        "grain": 0.0,
    }
    assert cli(source, "-n", tiny_model, "-s", 2, "-o", tmp_path / "file.png").code == 0
    assert (pixels(tmp_path / "in_x2.png") == pixels(tmp_path / "file.png")).all()


def test_the_cache_has_the_layout_that_other_programs_of_hugging_face_read(cli: Cli, hub, tiny_model, monkeypatch):
    import huggingface_hub

    path = cli("models", "pull", NAME).out.strip()
    assert Path(path).read_bytes() == tiny_model.read_bytes()
    no_network(monkeypatch)
    assert huggingface_hub.try_to_load_from_cache("someone/net", "model.safetensors") == path
    assert huggingface_hub.hf_hub_download("someone/net", "model.safetensors", revision=COMMIT) == path
    (repository,) = huggingface_hub.scan_cache_dir().repos
    assert (repository.repo_id, repository.size_on_disk) == ("someone/net", tiny_model.stat().st_size)


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAME, f"{NAME}@main", f"{NAME}@{COMMIT}", PINNED])
def test_what_is_in_the_cache_needs_no_request(cli: Cli, hub, monkeypatch, name):
    assert cli("models", "pull", NAME).code == 0
    hub.requests.clear()
    no_network(monkeypatch)
    for command in ("pull", "path", "info", "verify"):
        assert cli("models", command, name).code == 0, command
    use(monkeypatch, HF_HUB_OFFLINE="1")
    assert cli("models", "pull", name).code == 0
    assert hub.requests == []


def test_offline_without_a_copy_is_an_error_that_says_so_and_asks_nobody(cli: Cli, hub, monkeypatch):
    use(monkeypatch, HF_HUB_OFFLINE="1")
    assert refused(cli("models", "pull", NAME), "HF_HUB_OFFLINE", "not in the cache")
    assert hub.requests == []


@pytest.mark.slow
def test_path_and_verify_never_fetch(cli: Cli, hub):
    assert refused(cli("models", "path", NAME), f"dagan models pull {NAME}")
    assert refused(cli("models", "verify", NAME), "not on this machine")
    assert hub.requests == []


@pytest.mark.slow
def test_a_file_that_is_already_here_is_fetched_again_when_it_was_damaged(cli: Cli, hub, tiny_model):
    path = Path(cli("models", "pull", NAME).out.strip())
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert refused(cli("models", "verify", NAME), "not on this machine")
    assert cli("models", "pull", NAME).code == 0
    assert path.read_bytes() == tiny_model.read_bytes()


@pytest.mark.slow
def test_update_asks_for_the_newest_commit_of_a_branch(cli: Cli, hub):
    cli("models", "pull", NAME)
    hub.repositories["someone/net"].commit = newer = "f" * 40
    assert COMMIT in cli("models", "pull", NAME).out
    assert newer in cli("models", "pull", NAME, "--update").out
    assert len(hub.asked("GET", "/large/")) == 1  # the content is the same


@pytest.mark.slow
@pytest.mark.parametrize("bodies", [["cut", None], ["cut", 503, "cut", None]])
def test_a_cut_download_goes_on_where_it_stopped(cli: Cli, hub, tiny_model, bodies):
    hub.bodies = deque(bodies)
    path = cli("models", "pull", NAME).out.strip()
    assert Path(path).read_bytes() == tiny_model.read_bytes()
    ranges = [request.headers.get("range") for request in hub.asked("GET", "/large/")]
    assert ranges[:2] == [None, f"bytes={tiny_model.stat().st_size // 2}-"]
    assert len(ranges) == len(bodies)


@pytest.mark.slow
def test_a_download_that_ended_badly_goes_on_in_the_next_run(cli: Cli, hub, tmp_path, tiny_model):
    hub.bodies = deque(["cut", 503])
    assert refused(cli("models", "pull", NAME), "503")
    assert in_cache(tmp_path) == []
    hub.bodies.clear()
    hub.requests.clear()
    assert Path(cli("models", "pull", NAME).out.strip()).read_bytes() == tiny_model.read_bytes()
    (request,) = hub.asked("GET", "/large/")
    assert request.headers["range"] == f"bytes={tiny_model.stat().st_size // 2}-"


@pytest.mark.slow
def test_what_an_earlier_run_left_is_not_trusted_further_than_its_checksum(cli: Cli, hub, tmp_path, tiny_model):
    hub.bodies = deque(["cut", 503])
    cli("models", "pull", NAME)
    (part,) = (tmp_path / "home").rglob("*.incomplete")
    part.write_bytes(bytes([part.read_bytes()[0] ^ 1]) + part.read_bytes()[1:])
    hub.bodies.clear()
    assert Path(cli("models", "pull", NAME).out.strip()).read_bytes() == tiny_model.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["heads", "bodies"])
def test_a_server_that_is_busy_once_is_asked_again(cli: Cli, hub, where):
    setattr(hub, where, deque([503, None]))
    assert cli("models", "pull", NAME).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("where", ["heads", "bodies"])
@pytest.mark.parametrize("status", [503, 429])
def test_a_server_that_stays_busy_is_given_up(cli: Cli, hub, tmp_path, where, status):
    setattr(hub, where, deque([status]))
    assert refused(cli("models", "pull", NAME), str(status), hub.url)
    assert len(hub.requests) < 12
    assert in_cache(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["corrupt", "long"])
def test_a_wrong_body_is_refused_and_nothing_of_it_is_kept(cli: Cli, hub, tmp_path, fault):
    hub.bodies = deque([fault])
    assert refused(cli("models", "pull", NAME), "damaged", "it was deleted")
    assert len(hub.asked("GET", "/large/")) == 2
    assert in_cache(tmp_path) == []
    hub.bodies.clear()
    assert cli("models", "pull", NAME).code == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "fault"), [("heads", ["silent"]), ("bodies", ["silent"]), ("bodies", ["slow", "silent"])]
)
def test_a_silent_server_is_given_up_after_the_time_limit(cli: Cli, hub, tmp_path, where, fault):
    setattr(hub, where, deque(fault))
    started = time.monotonic()
    assert refused(cli("models", "pull", NAME), "does not respond", "connection")
    assert time.monotonic() - started < 5  # where the limit is one second
    assert in_cache(tmp_path) == []


def test_no_server_at_all_is_an_error_at_once(cli: Cli, hub, monkeypatch, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        use(monkeypatch, HF_ENDPOINT=f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert refused(cli(picture(tmp_path / "in.png"), "-n", NAME), "does not respond")


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://127.0.0.1"])
def test_an_endpoint_that_is_no_address_is_an_error_too(cli: Cli, hub, monkeypatch, endpoint):
    use(monkeypatch, HF_ENDPOINT=endpoint)
    assert refused(cli("models", "pull", NAME), endpoint)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["HF_ENDPOINT=http://[", "HF_HUB_ETAG_TIMEOUT=soon"])
def test_a_setting_that_the_library_does_not_survive_is_an_error_too(setting, tmp_path):
    name, _, value = setting.partition("=")
    ran = dagan("models", "pull", NAME, env=os.environ | {name: value, "HF_HOME": str(tmp_path)})
    assert refused(Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode()), name)


@pytest.mark.slow
def test_a_name_that_takes_for_ever_to_look_up_is_given_up(cli: Cli, hub, monkeypatch):
    use(monkeypatch, HF_ENDPOINT="http://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(20))
    started = time.monotonic()
    assert refused(cli("models", "pull", NAME), "does not respond")
    assert time.monotonic() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf://someone/nothing", ["no repository someone/nothing"]),
        (f"{NAME}@v9", ["no revision v9"]),
        (f"{NAME}/other.safetensors", ["no file other.safetensors", "it has model.safetensors"]),
        ("hf://someone/pickles", ["no file model.safetensors", "no .safetensors file"]),
        ("hf://someone/gated", ["restricted", "HF_TOKEN"]),
        ("hf://someone/private", ["private", "HF_TOKEN"]),
    ],
)
def test_what_the_hub_does_not_have_or_give_is_said_in_words(cli: Cli, hub, tmp_path, tiny_model, name, words):
    files = {"model.safetensors": tiny_model.read_bytes()}
    hub.repositories["someone/pickles"] = Repository({"pytorch_model.bin": b"x"})
    hub.repositories["someone/gated"] = Repository(files, gated=True)
    hub.repositories["someone/private"] = Repository(files, private=True)
    assert refused(cli("models", "pull", name), *words)
    assert in_cache(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_refused_is_said_to_be_the_reason(cli: Cli, hub, monkeypatch, status):
    use(monkeypatch, HF_TOKEN="hf_wrong")
    hub.heads = deque([status])
    assert refused(cli("models", "pull", NAME), "HF_TOKEN")


@pytest.mark.parametrize("kind", ["gated", "private"])
def test_a_token_opens_what_is_closed_and_goes_to_no_other_host(cli: Cli, hub, monkeypatch, kind):
    setattr(hub.repositories["someone/net"], kind, True)
    use(monkeypatch, HF_TOKEN=hub.token)
    assert cli("models", "pull", NAME).code == 0
    assert hub.asked("HEAD", "/resolve/")[0].headers["authorization"] == f"Bearer {hub.token}"
    (elsewhere,) = hub.asked("GET", "/large/")
    assert "authorization" not in elsewhere.headers


def foreign(size: int) -> bytes:
    """A safetensors file of some other network."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


@pytest.mark.slow
def test_a_safetensors_file_of_another_kind_is_left_before_it_is_fetched_whole(cli: Cli, hub, tmp_path):
    hub.repositories["someone/net"].files["model.safetensors"] = foreign(50_000_000)
    reported: list[int] = []
    with pytest.raises(BadModel, match="not a dagan model"):
        find_model(NAME, lambda name, done, total: reported.append(done))
    assert max(reported, default=0) < 5_000_000
    assert refused(cli("models", "pull", NAME), "not a dagan model")
    assert in_cache(tmp_path) == []


@pytest.mark.parametrize("size", [0, 3, 2**63])
def test_a_header_that_lies_about_itself_is_refused(cli: Cli, hub, tmp_path, size):
    hub.repositories["someone/net"].files["model.safetensors"] = size.to_bytes(8, "little") + b"abc" * 10
    assert refused(cli("models", "pull", NAME))


@pytest.mark.slow
def test_a_model_that_is_damaged_in_its_repository_is_refused_on_loading(cli: Cli, hub, tmp_path, tiny_model):
    data = tiny_model.read_bytes()
    hub.repositories["someone/net"].files["model.safetensors"] = data[:-1] + bytes([data[-1] ^ 1])
    assert refused(cli("models", "pull", NAME), "checksum")
    assert refused(cli(picture(tmp_path / "in.png"), "-n", NAME), "checksum")


@pytest.mark.slow
def test_a_pickle_is_refused_before_anything_is_asked(cli: Cli, hub):
    for file in ("pytorch_model.bin", "net.pkl", "model.safetensors.pkl"):
        assert refused(cli("models", "pull", f"{NAME}/{file}"), "can run code")
    assert hub.requests == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "hf://",
        "hf://me",
        "hf://me/",
        "hf://../net",
        "hf://me/..",
        "hf://me/net@",
        "hf://me/net@../../x",
        "hf://me/net/../../../etc/x.safetensors",
        "hf://me/net//x.safetensors",
        "hf://me/net/.hidden/x.safetensors",
        "hf://me/net@main/a\\b.safetensors",
        "hf://me/n t",
        "hf://me/net@a\nb",
    ],
)
def test_a_reference_that_could_lead_elsewhere_is_refused(cli: Cli, hub, text):
    assert refused(cli("models", "info", text))
    assert hub.requests == []


def test_the_parts_of_a_reference():
    assert parse_reference("hf://me/net") == Reference("me/net", "main", "model.safetensors")
    assert parse_reference("hf://me/n.e-t@v1.0/a/b.safetensors") == Reference("me/n.e-t", "v1.0", "a/b.safetensors")
    assert parse_reference("hf://me/net@refs/pr/3/x.safetensors") == Reference("me/net", "refs/pr/3", "x.safetensors")
    assert parse_reference("hf://me/net@feature%2Fx") == Reference("me/net", "feature/x", "model.safetensors")
    assert str(parse_reference(PINNED)) == PINNED


def test_a_server_that_is_no_hub_is_found_out(cli: Cli, hub, tmp_path):
    hub.repositories["someone/net"].commit = "../../../../somewhere"
    assert refused(cli("models", "pull", NAME), "does not respond like the Hub")
    assert in_cache(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_said_to_be_the_reason(cli: Cli, hub, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    ran = cli("models", "pull", NAME)
    assert ran.code == 6
    assert "HF_HOME" in ran.err


def entry(monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    """Publish one model that does not come with the package."""
    model = Published("dagan-x2-new", 2, digest, 1, "MIT", "for tests", {})
    monkeypatch.setattr("weights.catalog.CATALOG", (model,))
    monkeypatch.setattr("weights.catalog.REPOSITORY", "someone/{name}")


@pytest.mark.slow
def test_a_published_model_that_is_not_in_the_package_comes_from_the_owner_s_repository(
    cli: Cli, hub, tmp_path, monkeypatch, tiny_model
):
    hub.repositories["someone/dagan-x2-new"] = hub.repositories["someone/net"]
    entry(monkeypatch, sha256(tiny_model.read_bytes()).hexdigest())
    assert cli("models", "verify").code == 0  # nothing of it is here, and nothing is wrong
    assert refused(cli("models", "path", "dagan-x2-new"), "dagan models pull dagan-x2-new")
    assert hub.requests == []
    ran = cli(picture(tmp_path / "in.png"), "-s", 2, "--json")
    assert (ran.code, json.loads(ran.out)["model"]["name"]) == (0, "dagan-x2-new")
    no_network(monkeypatch)
    path = cli("models", "path", "dagan-x2-new").out.strip()
    assert cli("models", "pull", "dagan-x2-new").out.strip() == path
    assert "whole" in cli("models", "verify", "dagan-x2-new").out


def test_a_published_model_with_another_content_is_refused_before_it_is_fetched(cli: Cli, hub, tmp_path, monkeypatch):
    hub.repositories["someone/dagan-x2-new"] = hub.repositories["someone/net"]
    entry(monkeypatch, "0" * 64)
    assert refused(cli("models", "pull", "dagan-x2-new"), "has changed", COMMIT)
    assert hub.asked("GET") == []
    assert in_cache(tmp_path) == []


@pytest.mark.slow
def test_models_of_the_package_never_ask_the_hub(cli: Cli, hub, tmp_path, monkeypatch):
    no_network(monkeypatch)
    assert cli("models", "pull", "dagan-x2-psnr").code == 0
    assert cli("models", "verify").code == 0
    assert cli("models", "list").code == 0
    assert pinned("dagan-x4-psnr") == "dagan-x4-psnr"
    assert (hub.requests, in_cache(tmp_path)) == ([], [])


@pytest.mark.slow
def test_progress_is_told_in_json_lines_and_in_one_line(cli: Cli, hub, tmp_path, tiny_model):
    size = tiny_model.stat().st_size
    events = [json.loads(line) for line in cli("models", "pull", NAME, "--progress", "json").err.splitlines()[:-1]]
    assert events[-1] == {"event": "fetch", "model": "someone/net/model.safetensors", "done": size, "total": size}
    hub.repositories["someone/net"].commit = "a" * 40
    hub.repositories["someone/twin"] = hub.repositories["someone/net"]
    ran = cli("models", "pull", "hf://someone/twin")
    assert ran.err.splitlines() == [
        "fetching someone/twin/model.safetensors, " + f"{size / 1e6:.1f} MB",
        f"hf://someone/twin@{'a' * 40}/model.safetensors",
    ]


@pytest.mark.slow
def test_eval_and_bench_take_a_model_of_the_hub(cli: Cli, hub, tmp_path):
    picture(tmp_path / "set" / "a.png", (48, 48))
    ran = cli("eval", tmp_path / "set", "-n", NAME, "--json", "--device", "cpu")
    assert (ran.code, json.loads(ran.out)["model"]) == (0, PINNED)
    ran = cli("bench", "-n", NAME, "--size", "32x24", "--rounds", 1, "--device", "cpu", "--json")
    assert ran.code == 0, ran.err
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"  # the library's telemetry makes requests of its own
    assert {request.path.split("/")[2] for request in hub.asked("HEAD")} == {"net"}
    assert len(hub.requests) == len(hub.asked("HEAD")) + len(hub.asked("GET"))
