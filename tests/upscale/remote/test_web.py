"""Inputs on web servers: resumed by ranges, bounded, without following redirects elsewhere; and no secret is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.stores import Web, serving
from tests.support.tiny import STEADY, clip, dagan, frames_of, picture, pixels
from tests.upscale.remote.conftest import left_in

QUICK = ("-s", "2", "-n", "bicubic")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return picture(tmp_path / "a.png", (40, 30))


@pytest.fixture
def expected(source: Path, tmp_path: Path, cli) -> Path:
    assert cli(source, "-o", tmp_path / "local.png", *QUICK).code == 0
    return tmp_path / "local.png"


def same(one: Path, other: Path) -> bool:
    return bool((pixels(one) == pixels(other)).all())


@pytest.mark.slow
def test_a_film_is_read_over_cuts_and_busy_answers(web, tmp_path, spool, cli):
    film = clip(tmp_path / "a.mp4")
    web.files["films/my film.mp4"] = film.read_bytes()
    web.fail("GET films/my film.mp4", 503, 503, ("cut", 3000), ("cut", 100), 502)
    assert cli(f"{web.url}/films/my%20film.mp4", "-o", tmp_path, *QUICK, *STEADY).code == 0
    assert cli(film, "-o", tmp_path / "local.mp4", *QUICK, *STEADY).code == 0
    assert frames_of(tmp_path / "my film_x2.mp4") == frames_of(tmp_path / "local.mp4")
    ranges = [headers.get("range") for _, _, headers in web.requests("GET")]
    assert ranges == [None, None, None, "bytes=3000-", "bytes=3100-", "bytes=3100-"]
    assert left_in(spool) == []


@pytest.mark.parametrize(
    ("name", "hint"), [("*.png", "name each file: a web server expands no patterns"), ("b.png", "check the address")]
)
def test_what_a_web_server_does_not_have_is_told_without_credentials(web, name, hint, tmp_path, cli):
    ran = cli(f"{web.url}/{name}", "-o", tmp_path / "out", *QUICK)
    assert ran.code == 3
    assert f"there is no such file\n  try: {hint}\n" in ran.err


@pytest.mark.slow
def test_a_server_without_ranges_is_asked_for_all_again(web, source, expected, tmp_path, cli):
    web.files["a.png"], web.ranges = source.read_bytes(), False
    web.fail("GET", ("cut", 1000), ("cut", 2000))
    assert cli(f"{web.url}/a.png", "-o", tmp_path / "out.png", *QUICK).code == 0
    assert same(tmp_path / "out.png", expected)


@pytest.mark.slow
def test_a_file_that_changes_between_two_parts_is_read_from_its_start(web, source, expected, tmp_path, cli):
    web.files["a.png"] = picture(tmp_path / "old.png", (40, 30), seed=5).read_bytes()
    web.fail("GET", ("cut", 1000), 503)
    seen = web.asked.append

    class Exchange(list):
        def append(self, request: object) -> None:
            seen(request)
            super().append(request)
            if len(self) == 3:  # HEAD, GET, GET
                web.files["a.png"] = source.read_bytes()

    web.asked = Exchange()
    assert cli(f"{web.url}/a.png", "-o", tmp_path / "out.png", *QUICK).code == 0
    assert same(tmp_path / "out.png", expected)


@pytest.mark.slow
@pytest.mark.parametrize("length", ["100000", "100"])
def test_a_length_that_is_no_true_one_makes_no_result(web, source, length, tmp_path, spool, cli):
    web.files["a.png"] = source.read_bytes()
    web.fail("GET", *([("headers", {"Content-Length": length})] * 20))
    ran = cli(f"{web.url}/a.png", "-o", tmp_path / "out.png", *QUICK)
    assert ran.code == 3
    assert not (tmp_path / "out.png").exists()
    assert left_in(spool) == []
    if length == "100000":
        assert "(8 tries)" in ran.err


@pytest.mark.slow
def test_a_body_without_a_length_or_an_end_is_bounded(web, tmp_path, spool, monkeypatch, cli):
    web.files["a.png"] = bytes(1 << 20)
    web.fail("GET", ("headers", {"Content-Length": None}))
    web.fail("HEAD", 405)
    monkeypatch.setenv("DAGAN_SPOOL_SIZE", "100K")
    ran = cli(f"{web.url}/a.png", "-o", tmp_path / "out.png", *QUICK)
    assert ran.code == 3
    assert "declares no size, and sends more than 0.1 MB" in ran.err
    assert len(web.requests("GET")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a.png", "data:,x"])
def test_redirects_lead_to_web_servers_only(web, place, tmp_path, cli):
    web.moved["a.png"] = place
    ran = cli(f"{web.url}/a.png", "-o", tmp_path / "out.png", *QUICK)
    assert ran.code == 3
    assert "redirects to" in ran.err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.slow
def test_a_login_goes_to_its_own_host_only(web, source, expected, tmp_path, cli):
    with serving(Web) as other:
        other.files["a.png"] = source.read_bytes()
        web.moved |= {"a.png": f"{web.url}/b.png", "b.png": f"{other.url}/a.png"}
        assert cli(f"{web.url.replace('//', '//me:pass%25word@')}/a.png", "-o", tmp_path / "out.png", *QUICK).code == 0
        assert all("authorization" in headers for _, _, headers in web.asked)
        assert not any("authorization" in headers for _, _, headers in other.asked)
    assert same(tmp_path / "out.png", expected)


@pytest.mark.slow
def test_a_login_opens_what_is_behind_it(web, source, expected, tmp_path, cli):
    web.files["a.png"], web.login = source.read_bytes(), "me:pass/word"
    ran = cli(f"{web.url}/a.png", "-o", tmp_path / "out.png", *QUICK)
    assert (ran.code, "401, unauthorized" in ran.err, len(web.requests("GET"))) == (3, True, 0)
    assert cli(f"{web.url.replace('//', '//me:pass%2Fword@')}/a.png", "-o", tmp_path / "out.png", *QUICK).code == 0
    assert same(tmp_path / "out.png", expected)


@pytest.mark.slow
@pytest.mark.parametrize("is_good", [True, False])
def test_no_secret_of_an_address_is_shown_or_written(web, source, is_good, tmp_path, spool, cli):
    if is_good:
        web.files["a.png"] = source.read_bytes()
    else:
        web.fail("GET", *([503] * 99))
        web.files["a.png"] = source.read_bytes()
    url = f"{web.url.replace('//', '//lars:hidden5@')}/a.png?X-Amz-Signature=hidden6&token=hidden7#hidden8"
    out, report = tmp_path / "out", tmp_path / "report.json"
    texts = []
    for more in (("--progress", "json", "-v"), ("--debug", "-v"), ("--json", "--dry-run", "-y")):
        ran = cli(url, "-o", out, *QUICK, "--report", report, *more)
        assert ran.code == (0 if is_good else 3)
        texts += [ran.out, ran.err, report.read_text()]
    files = [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    names = [str(path) for path in tmp_path.rglob("*")]
    assert not [text for text in (*texts, *files, *names) if "hidden" in text]
    assert json.loads(report.read_text())["items"][0]["input"] == f"{web.url}/a.png?…"
    assert "X-Amz-Signature=hidden6" in web.asked[0][1]  # and yet it was asked for


@pytest.mark.slow
def test_a_traceback_shows_no_secret(web):
    url = f"{web.url.replace('//', '//lars:hidden5@')}/a.png?token=hidden7"
    ran = dagan("upscale", url, "-o", "/dev/null/x", *QUICK, "--debug")
    assert ran.returncode != 0
    assert b"hidden" not in ran.stdout + ran.stderr


def test_a_web_server_needs_an_output_and_is_none(web, tmp_path, cli):
    ran = cli(f"{web.url}/a.png", *QUICK)
    assert (ran.code, "needs -o" in ran.err) == (2, True)
    report = tmp_path / "report.json"
    for out in ("https://user:hidden@host/a.png?hidden", "s3://user:hidden@bucket/"):
        ran = cli(picture(tmp_path / "b.png"), "-o", out, *QUICK, "--report", report)
        words = "files on web servers are only read" if out.startswith("https") else "holds a login"
        assert (ran.code, words in ran.err, "hidden" in ran.err + report.read_text()) == (2, True, False)
        assert json.loads(report.read_text())["results"]["output"].startswith(out[:5])
        ran = cli("--retry-failed", report, *QUICK)  # not into a local folder of such a name
        assert (ran.code, "names URLs" in ran.err) == (2, True)


def test_urls_are_not_watched(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "in/a.png")
    for places in (("in", "-o", "s3://out/"), ("https://user:hidden@host/in/", "-o", "out")):
        ran = cli(*places, *QUICK, "--watch")
        assert (ran.code, "--watch does not work with " in ran.err, "hidden" in ran.err) == (2, True, False)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::s3://in/a.png",
        "zip://a.png::s3://in/a.zip",
        "file:///etc/passwd",
        "local://etc/passwd",
        "memory://a.png",
        "sftp://user:hidden@host/a.png",
        "ssh://host/a.png",
        "github://o:r@/a.png",
        "ftp://host/a.png?hidden",
        "s3://key:hidden@bucket/a.png",
        "https://user:hid/den@host:x/a.png",
        "s3:///a.png",
        "s3://in/../a.png",
    ],
)
def test_protocols_that_are_not_known_are_refused(url, spool, tmp_path, cli):
    ran = cli(url, "-o", tmp_path / "out", *QUICK)
    assert ran.code == 3
    assert ran.err.count("\n") == 2
    assert "hid" not in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_list_names_addresses_as_it_is_written(web, source, tmp_path, cli):
    web.files["a.png"] = source.read_bytes()
    (tmp_path / "list").write_text(f"{web.url}/a.png\n{source}\n")
    ran = cli("--files-from", tmp_path / "list", "-o", tmp_path / "out", *QUICK)
    assert ran.code == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2


@pytest.mark.slow
def test_addresses_that_differ_in_their_queries_are_two_inputs(web, source, expected, tmp_path, cli):
    web.files["a.png"] = source.read_bytes()
    ran = cli(f"{web.url}/a.png?version=1", f"{web.url}/a.png?version=2", "-o", tmp_path / "out", *QUICK, "--json")
    items = json.loads(ran.out)["items"]
    assert (ran.code, [item["status"] for item in items]) == (0, ["done", "done"])
    assert len({item["output"] for item in items}) == 2
    assert all(same(path, expected) for path in (tmp_path / "out").rglob("*.png"))


def test_a_missing_driver_is_named_with_its_command(spool, monkeypatch, tmp_path, cli):
    import importlib

    load = importlib.import_module

    def without(name: str, package: str | None = None):
        if name in ("s3fs", "gcsfs"):
            raise ImportError(name)
        return load(name, package)

    monkeypatch.setattr("importlib.import_module", without)
    ran = cli("s3://in/a.png", "-o", tmp_path / "out", *QUICK)
    assert ran.code == 3
    assert "s3:// needs the package s3fs\n  try: pip install s3fs, or pip install 'dagan[remote]'" in ran.err
    assert "try: pip install gcsfs\n" in cli("gs://in/a.png", "-o", tmp_path / "out", *QUICK).err


def test_other_commands_read_local_files_only(cli, tmp_path):
    for command, *options in (("probe",), ("eval", "-n", "bicubic")):
        ran = cli(command, "https://user:hidden@host/a.mp4?token=hidden", *options)
        assert ran.code == 3
        assert "only dagan upscale reads those" in ran.err
        assert "hidden" not in ran.err
    ran = cli(picture(tmp_path / "a.png"), *QUICK, "--report", "s3://in/report.json")
    assert (ran.code, "reports are local files" in ran.err) == (2, True)
