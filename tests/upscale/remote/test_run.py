"""Inputs and outputs in stores: real servers on the loopback, the results those of a run on local files."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dagan_cli.commands.shown.progress import Reporter
from dagan_cli.media.images import decoder_warnings
from dagan_cli.media.remote.s3 import S3Store
from dagan_cli.upscale.events import Advance
from tests.support.stores import KEY, SECRET
from tests.support.tiny import STEADY, clip, command, dagan, frames_of, picture, pixels, sound_of
from tests.upscale.remote.conftest import left_in

QUICK = ("-s", "2", "-n", "bicubic")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("film") / "a.mp4")


@pytest.fixture
def local(film: Path, tmp_path: Path, cli) -> Path:
    """What a run on a local file makes of the film."""
    assert cli(film, "-o", tmp_path / "local.mp4", *QUICK, *STEADY).code == 0
    return tmp_path / "local.mp4"


def saved(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


def decoded(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.tobytes()


@pytest.mark.slow
def test_a_film_goes_from_a_bucket_to_a_bucket_as_a_local_one_would(bucket, film, local, spool, tmp_path, cli):
    bucket.files["in/films/a.mp4"] = film.read_bytes()
    ran = cli("s3://in/films/a.mp4", "-o", "s3://out/big/", *QUICK, *STEADY, "--report", tmp_path / "report.json")
    assert (ran.code, ran.out) == (0, "")
    assert "s3://out/big/a_x2.mp4 (96x64" in ran.err
    result = saved(bucket.files["out/big/a_x2.mp4"], tmp_path / "result.mp4")
    assert frames_of(result) == frames_of(local)
    assert sound_of(result) == sound_of(local)
    assert bucket.kinds["out/big/a_x2.mp4"] == "video/mp4"
    (item,) = json.loads((tmp_path / "report.json").read_text())["items"]
    assert (item["input"], item["output"]) == ("s3://in/films/a.mp4", "s3://out/big/a_x2.mp4")
    assert (item["status"], item["frames"]) == ("done", 10)
    assert left_in(spool) == []
    assert bucket.uploads == {}
    for thread in threading.enumerate():
        if thread.name in ("dagan-look", "dagan-fetch", "dagan-send"):  # they end by themselves
            thread.join(20)
            assert not thread.is_alive()


@pytest.mark.slow
def test_a_film_survives_cuts_and_busy_servers(bucket, film, local, tmp_path, cli):
    data = film.read_bytes()
    bucket.files["in/a.mp4"] = data
    bucket.fail("HEAD in/a.mp4", 503, 500)
    bucket.fail("GET in/a.mp4", 503, 503, ("cut", 1000), ("cut", 500), 429)
    bucket.fail("PUT", 503, 500)
    assert cli("s3://in/a.mp4", "-o", "s3://out/", *QUICK, *STEADY).code == 0
    starts = [headers.get("range") for _, _, headers in bucket.requests("GET", "/in/a.mp4")]
    assert starts == [None, None, None, "bytes=1000-", "bytes=1500-", "bytes=1500-"]
    assert all("if-match" in headers for _, _, headers in bucket.requests("GET", "/in/a.mp4")[3:])
    assert frames_of(saved(bucket.files["out/a_x2.mp4"], tmp_path / "result.mp4")) == frames_of(local)


@pytest.mark.slow
def test_a_file_that_changes_while_it_is_read_is_read_again(bucket, tmp_path, cli):
    old, new = (picture(tmp_path / f"{seed}.png", (40, 30), seed=seed) for seed in (1, 2))
    bucket.files["in/a.png"] = old.read_bytes()

    def exchange() -> None:
        bucket.files["in/a.png"] = new.read_bytes()

    bucket.fail("GET in/a.png", ("cut", 1000), ("call", exchange))
    assert cli("s3://in/a.png", "-o", tmp_path / "out.png", *QUICK).code == 0
    assert cli(new, "-o", tmp_path / "new.png", *QUICK).code == 0
    assert (pixels(tmp_path / "out.png") == pixels(tmp_path / "new.png")).all()


@pytest.mark.slow
def test_folders_keep_their_tree_and_names_choose_among_their_files(bucket, tmp_path, spool, cli):
    for name in ("a.png", "a.jpg", "b/c.png", "b/no.png", "b/d/e.bmp", ".hidden.png"):
        bucket.files[f"in/pictures/{name}"] = picture(tmp_path / "in" / name).read_bytes()
    bucket.page = 2
    options = (*QUICK, "-r", "--exclude", "no.*", "-f", "png")
    assert cli("s3://in/pictures/", "-o", tmp_path / "out", *options).code == 0
    assert cli(tmp_path / "in", "-o", tmp_path / "local", *options).code == 0
    made = {path.relative_to(tmp_path / "out"): path for path in (tmp_path / "out").rglob("*.png")}
    expected = {path.relative_to(tmp_path / "local"): path for path in (tmp_path / "local").rglob("*.png")}
    assert {str(name) for name in expected} == {"a_png_x2.png", "a_jpg_x2.png", "b/c_x2.png", "b/d/e_x2.png"}
    assert made.keys() == expected.keys()
    assert all((pixels(made[name]) == pixels(expected[name])).all() for name in expected)
    assert left_in(spool) == []


def test_a_report_of_urls_is_not_retried_but_the_command_can_be_repeated(bucket, tmp_path, cli):
    bucket.files["in/a.png"] = b"no picture"
    report = tmp_path / "report.json"
    assert cli("s3://in/a.png", "-o", "s3://out/", *QUICK, "--report", report).code == 3
    ran = cli("--retry-failed", report, *QUICK)
    assert ran.code == 2
    assert "names URLs" in ran.err


@pytest.mark.slow
def test_shards_of_a_folder_in_a_bucket_do_each_file_once(bucket, tmp_path, cli):
    for number in range(6):
        bucket.files[f"in/a/{number}.png"] = picture(tmp_path / f"{number}.png", seed=number).read_bytes()
    bucket.files["in/a/0.bmp"] = picture(tmp_path / "0.bmp").read_bytes()  # its result could have the name of 0.png's
    for index in (1, 2, 3):
        ran = cli("s3://in/a/", "-o", "s3://out/", "-s", "2", "-n", "nearest", "--shard", f"{index}/3", "--json")
        document = json.loads(ran.out)
        assert ran.code == 0
        assert document["shard"] == f"{index}/3"
        assert {item["status"] for item in document["items"]} <= {"done"}
        assert "left to other shards" in ran.err
    results = [name for name in bucket.files if "_x2." in name]
    assert len(results) == 7


@pytest.mark.slow
def test_results_go_next_to_their_inputs_in_a_bucket_and_are_no_inputs_of_the_next_run(bucket, tmp_path, cli):
    for name in ("a.png", "b/c.png", "d_x2.png"):
        bucket.files[f"in/{name}"] = picture(tmp_path / name).read_bytes()
    assert cli("s3://in", *QUICK, "-r").code == 0
    assert {"in/a_x2.png", "in/b/c_x2.png", "in/d_x2_x2.png"} < bucket.files.keys()
    before, asked = dict(bucket.files), len(bucket.asked)
    ran = cli("s3://in", *QUICK, "-r", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["totals"]["done"] == 0
    assert bucket.files == before
    assert [each for each in bucket.asked[asked:] if each[0] in ("PUT", "POST")] == []


@pytest.mark.slow
def test_local_files_go_to_a_bucket_and_existing_results_are_compared_with_the_run(bucket, tmp_path, cli):
    names = [picture(tmp_path / name) for name in ("a.png", "b.ppm")]
    assert cli(*names, "-o", "s3://out/", *QUICK).code == 0
    assert "out/b_x2.ppm" in bucket.files
    first = bucket.files["out/a_x2.png"]
    ran = cli(*names, "-o", "s3://out/", *QUICK)  # the record of a PPM is in a hidden file next to it
    assert (ran.code, "skipped: 2, it exists" in ran.err) == (0, True)
    ran = cli(*names, "-o", "s3://out/", "-s", "2", "-n", "lanczos")
    assert ran.code == 1
    assert "s3://out/a_x2.png exists, but was made with --model bicubic, now lanczos" in ran.err
    assert "replace it with -y" in ran.err
    assert str(tmp_path / "spool") not in ran.err
    assert bucket.files["out/a_x2.png"] == first
    assert cli(*names, "-o", "s3://out/", "-s", "2", "-n", "lanczos", "--skip-existing").code == 0
    assert cli(*names, "-o", "s3://out/", "-s", "2", "-n", "lanczos", "-y").code == 0
    assert bucket.files["out/a_x2.png"] != first


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".webp", ".tif", ".jpg", ".png"])
def test_no_server_holds_what_decoding_waits_for(suffix, bucket, tmp_path, monkeypatch, cli):
    monkeypatch.setattr("dagan_cli.media.remote.fetch._WINDOW", 64)
    source = picture(tmp_path / f"a{suffix}")
    assert cli(source, "-o", "s3://out/", *QUICK).code == 0
    part, held = S3Store.part, []

    def noted(self: S3Store, *arguments: Any) -> bytes:
        held.append(decoder_warnings._one_at_a_time.locked())
        return part(self, *arguments)

    monkeypatch.setattr(S3Store, "part", noted)
    ran = cli(source, "-o", "s3://out/", *QUICK)
    assert (ran.code, "it exists" in ran.err) == (0, True)
    assert held
    assert not any(held)


@pytest.mark.slow
def test_a_large_finished_input_is_skipped_by_parts_of_it(bucket, tmp_path, cli):
    data = picture(tmp_path / "a.ppm", (3000, 2000)).read_bytes()  # 18 MB: above what is read whole
    bucket.files["in/a.ppm"] = data
    assert cli("s3://in/a.ppm", "-o", "s3://out/", "-s", "0.1", "-n", "nearest").code == 0
    asked = len(bucket.asked)
    assert cli("s3://in/a.ppm", "-o", "s3://out/", "-s", "0.1", "-n", "nearest").code == 0
    gets = [headers for method, path, headers in bucket.asked[asked:] if method == "GET" and path == "/in/a.ppm"]
    assert len(gets) == 16
    assert all(headers["range"].startswith("bytes=") for headers in gets)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s3://in/a.png", "s3://in/"])
def test_a_store_that_does_not_answer_is_tried_again_with_a_word(name, spool, bucket, monkeypatch, tmp_path, cli):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        ran = cli(name, "-o", tmp_path / "out", *QUICK)
    assert ran.code == 3
    words = "the connection failed: EndpointConnectionError"
    assert ran.err.index(f"{words}; trying again\n") < ran.err.index(f"{words} (8 tries)")
    assert ran.err.count("trying again") == 1


@pytest.mark.slow
def test_a_credential_that_is_refused_ends_at_once_and_is_never_shown(bucket, tmp_path, monkeypatch, cli):
    bucket.files["in/a.png"] = picture(tmp_path / "a.png").read_bytes()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret-7531")
    ran = cli("s3://in/a.png", "-o", tmp_path / "out", *QUICK, "--report", tmp_path / "report.json")
    assert ran.code == 3
    assert "cannot read s3://in/a.png: the store answers with 403" in ran.err
    assert "AWS_SECRET_ACCESS_KEY" in ran.err  # the name of the variable
    assert len(bucket.requests("HEAD")) == 1
    ran2 = cli(tmp_path / "a.png", "-o", "s3://out/", *QUICK, "--debug")
    assert ran2.code == 6
    assert "cannot write s3://out" in ran2.err
    shown = ran.out + ran.err + ran2.out + ran2.err + (tmp_path / "report.json").read_text()
    assert not any(secret in shown for secret in ("another-secret-7531", SECRET, KEY))


@pytest.mark.slow
def test_one_bad_input_stops_no_other(bucket, web, tmp_path, cli):
    bucket.files["in/a.png"] = picture(tmp_path / "a.png").read_bytes()
    bucket.files["in/text.png"] = b"no picture"
    web.files["b.png"] = (tmp_path / "a.png").read_bytes()
    web.fail("GET b.png", 403)
    names = ("s3://in/none.png", "s3://nobucket/a.png", "s3://in/a.png", "s3://in/text.png", f"{web.url}/b.png")
    ran = cli(*names, "-o", tmp_path / "out", *QUICK, "--json")
    items = json.loads(ran.out)["items"]
    assert ran.code == 1
    reasons = {item["input"]: item["reason"] for item in items if item["status"] == "failed"}
    assert reasons.keys() == {*names} - {"s3://in/a.png"}
    assert "there is no such file" in reasons["s3://in/none.png"]
    assert "content is neither" in reasons["s3://in/text.png"]
    assert "403, forbidden" in reasons[f"{web.url}/b.png"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a_x2.png"]


@pytest.mark.slow
def test_no_bucket_to_write_to_is_found_before_any_work(bucket, tmp_path, cli):
    ran = cli(picture(tmp_path / "a.png"), "-o", "s3://nobucket/", *QUICK)
    assert ran.code == 6
    assert "cannot write s3://nobucket: there is no such bucket" in ran.err


@pytest.mark.slow
def test_large_results_are_sent_in_parts_and_none_remain_if_that_fails(bucket, tmp_path, monkeypatch, spool, cli):
    monkeypatch.setattr("dagan_cli.media.remote.s3._PART", 1000)
    source = picture(tmp_path / "a.png", (40, 30))
    bucket.fail("PUT", 503, 500)
    assert cli(source, "-o", "s3://out/", *QUICK).code == 0
    assert cli(source, "-o", tmp_path / "local.png", *QUICK).code == 0
    assert decoded(bucket.files["out/a_x2.png"]) == decoded((tmp_path / "local.png").read_bytes())
    assert len([path for _, path, _ in bucket.requests("PUT") if "partNumber=2" in path]) == 1
    bucket.fail("PUT out/b/a_x2.png", None, 400)
    ran = cli(source, "-o", "s3://out/b/", *QUICK)
    assert ran.code == 6
    assert "cannot write s3://out/b/a_x2.png: the store answers with 400" in ran.err
    assert "out/b/a_x2.png" not in bucket.files
    assert bucket.uploads == {}
    assert left_in(spool) == []


@pytest.mark.slow
def test_a_film_that_cannot_be_sent_is_kept_and_sent_by_the_same_command(bucket, film, local, tmp_path, spool, cli):
    bucket.fail("PUT", 400)
    ran = cli(film, "-o", "s3://out/", *QUICK, *STEADY)
    assert ran.code == 6
    assert f"it is kept in {spool}" in ran.err
    assert "the same command sends it" in ran.err
    assert left_in(spool) != []
    ran = cli(film, "-o", "s3://out/", *QUICK, *STEADY, "--json")
    (item,) = json.loads(ran.out)["items"]
    assert (ran.code, item["status"], item["frames"]) == (0, "done", 0)  # it is not made again
    assert frames_of(saved(bucket.files["out/a_x2.mp4"], tmp_path / "result.mp4")) == frames_of(local)
    assert left_in(spool) == []


@pytest.mark.slow
def test_a_kept_film_with_other_settings_is_made_again(bucket, film, tmp_path, spool, cli):
    bucket.fail("PUT", 400)
    assert cli(film, "-o", "s3://out/", *QUICK).code == 6
    ran = cli(film, "-o", "s3://out/", *QUICK, "--crf", "30", "--json")
    assert (ran.code, json.loads(ran.out)["items"][0]["frames"]) == (0, 10)
    assert left_in(spool) == []


@pytest.mark.slow
def test_a_film_that_was_stopped_is_continued(bucket, tmp_path, spool, monkeypatch, cli):
    film = clip(tmp_path / "a.mp4", seconds=4)
    monkeypatch.setattr("dagan_cli.upscale.used.SEGMENT", 10)
    bucket.files["in/a.mp4"] = film.read_bytes()
    options = ("-o", "s3://out/a.mkv", *QUICK, "-c", "ffv1")
    show = Reporter.show

    def stopping(self: Reporter, event: object) -> None:
        show(self, event)  # type: ignore[arg-type]
        if isinstance(event, Advance) and event.done >= 30:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "show", stopping)
        patch.setattr(signal, "SIG_DFL", signal.SIG_IGN)  # a second one would end the process
        ran = cli("s3://in/a.mp4", *options)
    assert ran.code == 130
    assert "the work so far is kept in" in ran.err
    assert "out/a.mkv" not in bucket.files
    assert left_in(spool) != []
    ran = cli("s3://in/a.mp4", *options, "--json")
    (item,) = json.loads(ran.out)["items"]
    assert (ran.code, item["frames"]) == (0, 100)
    assert item["resumed"] >= 10
    assert cli(film, "-o", tmp_path / "local.mkv", *QUICK, "-c", "ffv1").code == 0
    assert frames_of(saved(bucket.files["out/a.mkv"], tmp_path / "result.mkv")) == frames_of(tmp_path / "local.mkv")
    assert left_in(spool) == []


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_sends_leaves_no_object_and_the_next_one_clears_the_spool(
    bucket, tmp_path, spool, cli
):
    bucket.files["in/a.png"] = picture(tmp_path / "a.png").read_bytes()
    bucket.fail("PUT", *([503] * 50))
    process = subprocess.Popen(command("upscale", "s3://in/a.png", "-o", "s3://out/", *QUICK))
    until = time.monotonic() + 50
    while not bucket.requests("PUT") and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.wait()
    bucket.faults.clear()
    assert "out/a_x2.png" not in bucket.files
    assert any(path.suffix == ".png" for path in left_in(spool))
    assert cli("s3://in/a.png", "-o", "s3://out/", *QUICK).code == 0
    assert left_in(spool) == []


@pytest.mark.slow
def test_nothing_is_written_by_a_dry_run(bucket, tmp_path, spool, cli):
    bucket.files["in/a.png"] = picture(tmp_path / "a.png").read_bytes()
    before = dict(bucket.files)
    ran = cli("s3://in/a.png", "-o", "s3://out/", *QUICK, "--dry-run")
    assert ran.code == 0
    assert "s3://in/a.png -> s3://out/a_x2.png" in " ".join(ran.out.split())
    assert bucket.files == before
    assert bucket.requests("POST") == []
    assert left_in(spool) == []


@pytest.mark.slow
def test_the_spool_holds_no_more_than_it_may(bucket, tmp_path, spool, monkeypatch, cli):
    for number in range(6):
        bucket.files[f"in/{number}.png"] = picture(tmp_path / "a.png", (40, 30), seed=number).read_bytes()
    monkeypatch.setenv("DAGAN_SPOOL_SIZE", "10K")  # two of them
    ran = cli("s3://in/", "-o", tmp_path / "out", *QUICK)
    assert (ran.code, len(list((tmp_path / "out").iterdir()))) == (0, 6)
    monkeypatch.setenv("DAGAN_SPOOL_SIZE", "3K")
    ran = cli("s3://in/", "-o", tmp_path / "other", *QUICK)
    assert ran.code == 3
    assert "it has more than the 0.0 MB that DAGAN_SPOOL_SIZE allows" in ran.err


@pytest.mark.slow
def test_names_of_a_hostile_list_lead_nowhere(bucket, tmp_path, cli):
    data = picture(tmp_path / "a.png").read_bytes()
    hostile = ("../evil.png", "/etc/evil.png", "b/../../evil.png", f"{'x' * 300}.png", "b//c.png")
    for name in (*hostile, "good.png", "line\nbreak.png"):
        bucket.files[f"in/x/{name}"] = data
    ran = cli("s3://in/x/", "-o", tmp_path / "out", *QUICK, "-r", "--json")
    items = json.loads(ran.out)["items"]
    assert ran.code == 1
    assert sum(item["status"] == "failed" for item in items) == len(hostile)
    assert {path.name for path in tmp_path.rglob("*_x2.png")} == {"good_x2.png", "line\nbreak_x2.png"}
    assert list(tmp_path.rglob("evil*")) == []


@pytest.mark.slow
def test_names_of_hostile_results_lead_nowhere(bucket, tmp_path, spool, cli):
    source, victim = picture(tmp_path / "a.png"), picture(tmp_path / "own/a_x2.png", seed=1)
    before = victim.read_bytes()
    for name in (victim, "../../../../../own/a_x2.png"):
        bucket.files[f"out/{name}"] = b"bait"
    bucket.is_hostile = True
    assert cli(source, "-o", "s3://out/", *QUICK).code == 0
    assert victim.read_bytes() == before
    assert "out/a_x2.png" in bucket.files


@pytest.mark.slow
def test_an_input_that_changes_while_it_is_compared_stops_no_other(bucket, tmp_path, cli):
    for name, seed in (("a.png", 1), ("b.png", 2), ("c.png", 3)):
        bucket.files[f"in/{name}"] = picture(tmp_path / name, seed=seed).read_bytes()
    assert cli("s3://in/a.png", "-o", "s3://out/", *QUICK).code == 0

    def exchange() -> None:
        bucket.files["in/a.png"] = bucket.files["in/c.png"]

    bucket.fail("GET in/a.png", ("call", exchange))
    ran = cli("s3://in/a.png", "s3://in/b.png", "-o", "s3://out/", *QUICK, "--json")
    assert [item["status"] for item in json.loads(ran.out)["items"]] == ["failed", "done"]
    assert (ran.code, "made from another source" in ran.err) == (1, True)


@pytest.mark.slow
def test_a_stream_goes_to_a_bucket_and_an_object_to_stdout(bucket, tmp_path):
    source = picture(tmp_path / "a.png", (40, 30))
    bucket.files["in/a.png"] = source.read_bytes()
    ran = dagan("upscale", "-", "-o", "s3://out/b.png", *QUICK, stdin=source.read_bytes())
    assert (ran.returncode, ran.stdout) == (0, b"")
    ran = dagan("upscale", "s3://in/a.png", "-o", "-", *QUICK)
    assert ran.returncode == 0
    assert decoded(ran.stdout) == decoded(bucket.files["out/b.png"])


@pytest.mark.slow
def test_a_file_that_is_named_for_the_result_is_written_and_then_skipped(bucket, tmp_path, cli):
    source = picture(tmp_path / "a.png")
    assert cli(source, "-o", "s3://out/large/b.webp", *QUICK).code == 0
    assert "out/large/b.webp" in bucket.files
    assert "s3://out/large/b.webp (skipped" in cli(source, "-o", "s3://out/large/b.webp", *QUICK).err
    assert len(bucket.requests("PUT")) == 1
    other = picture(tmp_path / "c.png", seed=1)
    assert cli(source, other, "-o", "s3://out/large/b.webp", *QUICK).code == 2


@pytest.mark.slow
def test_inputs_of_one_name_are_told_apart_or_refused_but_none_is_lost(bucket, tmp_path, cli):
    for seed, name in enumerate(("x/a.png", "y/a.png")):
        bucket.files[f"in/{name}"] = picture(tmp_path / "a.png", seed=seed).read_bytes()
    assert cli("s3://in/x/a.png", "s3://in/y/a.png", "-o", "s3://out/", *QUICK).code == 0
    assert {"out/x/a_x2.png", "out/y/a_x2.png"} < bucket.files.keys()
    ran = cli("s3://in/x/", "s3://in/y/", "-o", "s3://out/", *QUICK, "-y")
    assert ran.code == 1
    assert "cannot write s3://out/a_x2.png: it is the result of s3://in/x/a.png too" in ran.err


@pytest.mark.slow
def test_two_runs_on_one_film_make_it_once(bucket, film, tmp_path):
    bucket.files["in/a.mp4"] = film.read_bytes()
    runs = [
        subprocess.Popen(command("upscale", "s3://in/a.mp4", "-o", "s3://out/", *QUICK, "--report", tmp_path / name))
        for name in ("1.json", "2.json")
    ]
    assert [run.wait(60) for run in runs] == [0, 0]
    items = [json.loads((tmp_path / name).read_text())["items"][0] for name in ("1.json", "2.json")]
    assert sorted(item["status"] for item in items) == ["done", "skipped"]
    assert len(bucket.requests("PUT")) == 1


@pytest.mark.slow
def test_results_of_one_name_in_two_folders_are_two_results(bucket, tmp_path, cli):
    for seed, name in enumerate(("x/a.png", "y/a.png")):
        bucket.files[f"in/{name}"] = picture(tmp_path / "a.png", seed=seed).read_bytes()
    assert cli("s3://in/", "-o", "s3://out/", *QUICK, "-r").code == 0
    del bucket.files["out/y/a_x2.png"]
    ran = cli("s3://in/", "-o", "s3://out/", *QUICK, "-r", "--json")
    assert {item["input"]: item["status"] for item in json.loads(ran.out)["items"]} == {
        "s3://in/x/a.png": "skipped",
        "s3://in/y/a.png": "done",
    }
    del bucket.files["out/y/a_x2.png"]
    ran = cli("s3://in/", "-o", "s3://out/", "-s", "2", "-n", "lanczos", "-r", "--json")
    assert {item["input"]: item["status"] for item in json.loads(ran.out)["items"]} == {
        "s3://in/x/a.png": "failed",
        "s3://in/y/a.png": "done",
    }


@pytest.mark.slow
def test_a_part_of_a_file_that_failed_is_no_input(bucket, tmp_path, cli):
    for name in ("a.ppm", "a.png"):
        bucket.files[f"in/{name}"] = picture(tmp_path / name, (40, 30)).read_bytes()
    bucket.fail("GET in/a.ppm", ("cut", 2000), 403)
    ran = cli("s3://in/", "-o", tmp_path / "out", *QUICK, "--json")
    assert ran.code == 1
    assert [(item["input"], item["status"]) for item in json.loads(ran.out)["items"]] == [
        ("s3://in/a.ppm", "failed"),
        ("s3://in/a.png", "done"),
    ]
