"""The site: it builds without a warning, no link in it leads nowhere, and it loads nothing from other servers."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.documentation import ROOT

pytestmark = pytest.mark.slow

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("source", "src"), ("iframe", "src"), ("use", "href")}
POINTERS = {"canonical", "search", "index", "next", "prev", "author"}  # links in the head that load nothing


class Page(HTMLParser):
    """What a page links to, what it loads, and the anchors in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if (name := found.get("id")) or (tag == "a" and (name := found.get("name"))):
            self.anchors.add(name)
        if tag == "a" and (target := found.get("href")) is not None:
            self.links.append(target)
        for what, attribute in LOADED:
            if tag == what and (target := found.get(attribute)) and found.get("rel") not in POINTERS:
                self.loaded.append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    options = ("-W", "--keep-going", "-n", "-q", "-b", "html", "-d", str(folder / "trees"))
    command = [sys.executable, "-m", "sphinx", *options, str(ROOT / "docs"), str(folder / "html")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return folder / "html"


@cache
def page(path: Path) -> Page:
    return Page(path.read_text())


def pages(site: Path) -> list[Path]:
    found = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    assert len(found) > 30
    return found


def test_every_link_leads_to_a_page_and_an_anchor_of_the_site(site):
    broken, checked = [], 0
    for path in pages(site):
        for link in (*page(path).links, *page(path).loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            checked += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            is_there = target.is_relative_to(site) and target.is_file()
            if not is_there or not leads_into(target, unquote(parts.fragment)):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []
    assert checked > 1000


def leads_into(target: Path, anchor: str) -> bool:
    return not anchor or (target.suffix == ".html" and anchor in page(target).anchors)


def test_external_links_are_well_formed(site):
    for path in pages(site):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert parts.scheme == "https", link
                assert re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), link
                assert not re.search(r"\s", link), link


def test_the_pages_load_nothing_from_other_servers(site):
    for path in pages(site):
        assert [each for each in page(path).loaded if urlsplit(each).scheme or each.startswith("//")] == []
    for path in (*site.rglob("*.css"), *site.rglob("*.svg"), *site.rglob("*.html")):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", path.read_text()), path


def test_the_checker_sees_what_is_broken(tmp_path):
    text = '<a href="other.html#here">x</a><img src="//elsewhere/a.png"><h1 id="top">y</h1><a name="old"></a>'
    found = Page(text)
    assert found.links == ["other.html#here"]
    assert found.loaded == ["//elsewhere/a.png"]
    assert found.anchors == {"top", "old"}
    (tmp_path / "other.html").write_text("<p>none</p>")
    assert not leads_into(tmp_path / "other.html", "here")
