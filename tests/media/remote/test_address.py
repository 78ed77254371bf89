"""Addresses: which are allowed, what of them is shown, and which names are safe."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dagan_cli.errors import BadInput
from dagan_cli.media.remote.address import UrlPath, is_url, names_url, parse, redacted, unsafe_name


def test_the_text_of_a_url_survives_as_a_path():
    path = UrlPath("s3://bucket/films/a.mp4")
    assert (str(path), os.fspath(path), f"{path}") == ("s3://bucket/films/a.mp4",) * 3
    assert (path.name, path.stem, path.suffix) == ("a.mp4", "a", ".mp4")
    assert str(path.parent) == "s3://bucket/films"
    assert path == UrlPath("s3://bucket/films/a.mp4")
    assert {path: 1}[UrlPath("s3://bucket/films/a.mp4")] == 1
    assert names_url(Path("s3://bucket/a.mp4"))
    assert not names_url(Path("/s3:/bucket/a.mp4"))


@pytest.mark.parametrize(
    "url", ["s3://bucket/a.mp4", "https://host/a.mp4", "gs://b/x", "FTP://x/y", "zip://a::s3://b/c"]
)
def test_urls_are_known_by_their_form_unless_a_file_has_that_name(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_url(url)
    Path(url).parent.mkdir(parents=True)
    Path(url).touch()
    assert not is_url(url)


@pytest.mark.parametrize("name", ["a.mp4", "./a:b/c.png", "C:/a.png", "c:\\a.png", "a::b.png", "-", "x:y//z.png"])
def test_names_of_files_are_no_urls(name):
    assert not is_url(name)


def test_objects_are_named_as_they_are_and_web_addresses_are_decoded():
    place = parse("s3://bucket/films/100%25 ?#[a].mp4")
    assert (place.path, place.name) == ("bucket/films/100%25 ?#[a].mp4", "100%25 ?#[a].mp4")
    web = parse("https://me:p%40ss@Host:8080/my%20film.mp4?sig=1#part")
    assert (web.name, web.login, web.query) == ("my film.mp4", "me:p%40ss", "sig=1")
    assert web.url == "https://host:8080/my%20film.mp4?sig=1"
    assert str(web) == str(web.shown) == "https://host:8080/my%20film.mp4?…"
    assert repr(web) == "<https://host:8080/my%20film.mp4?…>"


def test_children_and_parents_of_folders():
    folder = parse("s3://bucket/films/")
    assert folder.is_folder
    assert str(folder.child("b/a.mp4")) == "s3://bucket/films/b/a.mp4"
    assert str(parse("s3://bucket/films/a.mp4").parent) == "s3://bucket/films/"
    assert str(parse("s3://bucket").child("a.mp4")) == "s3://bucket/a.mp4"
    assert str(parse("gcs://bucket/a")) == "gs://bucket/a"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hidden@host/a.png",
        "https://user:hid/den@host/a.png",
        "https://host/a.png?X-Amz-Signature=hidden",
        "https://host/a.png#hidden",
        "https://host?token=hidden",
        "sftp://hidden:hidden@host/a?hidden#hidden",
        "https://user:hid@den@host/a.png",
        "https://user:hid?den@host/a.png",
        "https://user:hid#den@host/a.png",
    ],
)
def test_what_may_be_secret_is_redacted(url):
    assert "hid" not in redacted(url)
    assert redacted(url).startswith(url[:7])


@pytest.mark.parametrize("url", ["https://host:8080/a.png", "https://[::1]/a", "http://[::1]:80/a", "s3://b/a@b:c.png"])
def test_an_address_without_secrets_is_shown_as_it_is(url):
    assert redacted(url) == url


@pytest.mark.parametrize(
    "url", ["s3://user:hidden@bucket/a", "abfs://a:hidden@b/c", "https:///a", "s3://", "https://a b/c"]
)
def test_addresses_that_make_no_sense_are_refused_without_their_secrets(url):
    with pytest.raises(BadInput) as raised:
        parse(url)
    assert "hidden" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize("name", ["../a", "a/../b", "/a", "a//b", "./a", "a/", "", "a\0b", "x" * 256, "a/.."])
def test_names_that_lead_elsewhere_are_unsafe(name):
    assert unsafe_name(name)


@pytest.mark.parametrize("name", ["a.png", "b/c d.png", "line\nbreak.png", "..a", "a..", "ä" * 127])
def test_other_names_are_safe(name):
    assert not unsafe_name(name)
