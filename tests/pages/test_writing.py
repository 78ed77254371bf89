"""A page stands alone, holds all that it was given, obeys nothing that a file slips in, and is bounded."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from dagan_cli.errors import CannotWrite
from dagan_cli.pages import writing
from dagan_cli.pages.rendering import MARK
from dagan_cli.pages.viewer import Column, Curve, View, Viewer
from dagan_cli.pages.writing import LARGEST, viewer_html, write_viewer
from tests.support.pages import HOSTILE, Page, film, pattern, pictures_in, viewer


def policy_of(text: str) -> dict[str, list[str]]:
    (content,) = [a["content"] for a in Page(text).attributes("meta") if a.get("http-equiv")]
    return {name: values for name, *values in (part.split() for part in str(content).split(";"))}


def data_of(text: str) -> dict:
    start = text.index(">", text.index('id="data"')) + 1
    return json.loads(text[start : text.index("</script>", start)])


def test_the_file_is_the_page(tmp_path):
    write_viewer(tmp_path / "page.html", viewer())
    content = (tmp_path / "page.html").read_bytes()
    assert content == viewer_html(viewer()).encode()
    assert MARK in content[:4096]


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "page.html").mkdir()
    with pytest.raises(CannotWrite):
        write_viewer(tmp_path / "page.html", viewer())
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("made", [viewer, film])
def test_the_page_needs_nothing_from_elsewhere(made):
    text = viewer_html(made())
    found = Page(text)
    assert not {tag for tag, _ in found.elements} & {"iframe", "object", "embed", "base", "form", "video", "audio"}
    for _, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "srcset", "xlink:href", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
    for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest"):
        assert word not in text


def test_the_policy_forbids_every_request_and_allows_only_the_page_s_own_styles_and_scripts():
    text = viewer_html(viewer())
    policy = policy_of(text)
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
    assert policy["img-src"] == ["data:"]
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        found = Page(text)
        kinds = iter([attributes.get("type") for attributes in found.attributes(tag)])
        bodies = [body for body in found.all(tag) if next(kinds) is None]
        hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies]
        assert policy[name] == [f"'sha256-{each}'" for each in hashes]
        assert len(hashes) == 2


def test_all_that_was_given_is_readable_without_scripts():
    given = viewer()
    found = Page(viewer_html(given))
    texts = [text.strip() for _, text in found.texts]
    for column in given.columns:
        assert {column.label, column.command, *(word for fact in column.facts for word in fact)} <= {*texts}
    for told in (
        given.title,
        given.lead,
        *given.notes,
        given.views[0].note,
        *(cell for row in given.table for cell in row),
    ):
        assert told in texts
    assert {score for scores in given.views[0].scores for score in scores} <= {*texts}
    sources = [a for a in found.attributes("img") if a.get("data-picture") and a.get("src")]
    assert [a["alt"] for a in sources] == [f"image 0.png: {column.label}" for column in given.columns]


def test_the_pixels_on_the_page_are_those_that_were_given():
    given = viewer(views=2)
    frames = [frame for view in given.views for frames in view.images for frame in frames]
    found = pictures_in(viewer_html(given))
    assert len(found) == len(frames) == 6
    assert all(np.array_equal(one, other) for one, other in zip(found, frames, strict=True))


def test_only_the_first_view_has_pictures_with_a_source():
    found = Page(viewer_html(viewer(views=5)))
    assert len([a for a in found.attributes("img") if a.get("data-picture") and a.get("src")]) == 3
    assert len([a for a in found.attributes("script") if a.get("type") == "text/plain"]) == 12


def test_a_column_of_the_same_pixels_is_embedded_once_and_says_so():
    same = [[pattern(1)], [pattern(1)], [pattern(2)]]
    text = viewer_html(Viewer("t", "", [Column("a"), Column("b"), Column("c")], [View("v", same)]))
    assert len(pictures_in(text)) == 2
    assert text.count("the same pixels as a picture before it") == 1


def hostile() -> Viewer:
    images = [[pattern(1)], [pattern(2)]]
    return Viewer(
        HOSTILE,
        HOSTILE,
        [Column(HOSTILE, [(HOSTILE, HOSTILE)], HOSTILE), Column(HOSTILE + "2")],
        [View(HOSTILE, images, [[HOSTILE], [HOSTILE]], HOSTILE, 1.0), View(HOSTILE, images, [[HOSTILE]] * 2)],
        [HOSTILE],
        [[HOSTILE, HOSTILE], [HOSTILE, HOSTILE]],
        [Curve(HOSTILE, [0, 1], [[1, 2], [2, 3]])],
        [HOSTILE],
    )


def test_what_a_name_slips_in_is_shown_and_not_obeyed():
    text = viewer_html(hostile())
    found = Page(text)
    assert not [1 for _, attributes in found.elements if "onerror" in attributes]
    assert not found.attributes("b") or {*found.all("b")} == {HOSTILE.replace("\u202e", "\\u202e")}
    assert [attributes.get("type") for attributes in found.attributes("script")] == [None, "application/json", None]
    assert "\u202e" not in text
    assert found.all("h1") == [HOSTILE.replace("\u202e", "\\u202e")]
    assert data_of(text)["columns"][0] == HOSTILE.replace("\u202e", "\\u202e")


@pytest.mark.slow
def test_the_page_stays_below_its_limit_and_counts_the_views_without_pictures(monkeypatch):
    given = viewer(views=40, size=(120, 160))
    assert len(viewer_html(given)) > 1_000_000
    monkeypatch.setattr(writing, "LARGEST", 600_000)
    text = viewer_html(given)
    shown = len(data_of(text)["views"])
    assert 0.8 * 600_000 < len(text.encode()) <= 600_000
    assert 1 < shown < 40
    assert f"{40 - shown} of 40 views are without pictures" in text
    assert "image 39.png" in Page(text).all("th")  # its numbers stay


def test_views_without_pictures_stay_in_a_table_even_where_none_was_given(monkeypatch):
    monkeypatch.setattr(writing, "LARGEST", 120_000)
    text = viewer_html(replace(viewer(views=30), table=()))
    assert len(data_of(text)["views"]) < 30
    assert Page(text).all("th").count("image 29.png") == 3
    assert "59.1" in Page(text).all("td")


@pytest.mark.parametrize(("limit", "word"), [(260_000, "stored as JPEG"), (140_000, "are crops")])
def test_a_first_view_that_is_too_large_is_shown_and_the_page_says_how(monkeypatch, limit, word):
    given = viewer(views=1, columns=2, size=(220, 260))
    monkeypatch.setattr(writing, "LARGEST", limit)
    text = viewer_html(given)
    assert len(text.encode()) <= limit
    assert [each for each in Page(text).all("p") if word in each]


def test_rows_beyond_the_room_of_the_table_are_counted(monkeypatch):
    monkeypatch.setattr(writing, "_TABLE", 1000)
    text = viewer_html(replace(viewer(), table=[["a", "b"], *([f"row {i}", "1"] for i in range(100))]))
    listed = [cell for cell in Page(text).all("th") if cell.startswith("row ")]
    assert 10 < len(listed) < 100
    assert f"{100 - len(listed)} more rows are left out" in text


def test_tables_say_what_their_heads_are_for():
    found = Page(viewer_html(viewer()))
    assert all(attributes.get("scope") in ("col", "row") for attributes in found.attributes("th"))
    assert len(found.attributes("caption")) == len(found.attributes("table"))


def test_a_page_without_views_columns_or_numbers_is_a_page():
    assert "<h1>" in viewer_html(Viewer("Nothing", "", [], []))


@pytest.mark.parametrize("part", [{"scores": ()}, {"notes": ()}, {"curves": ()}, {"lead": ""}, {"table": ()}])
def test_parts_that_are_missing_leave_the_rest(part):
    assert "image 0.png" in viewer_html(replace(viewer(), **part))


def test_the_normal_page_has_a_limit_of_twenty_megabytes():
    assert LARGEST == 20_000_000
