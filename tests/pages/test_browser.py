"""The viewer in a real browser, opened from disk: what is seen is measured from the pixels of screenshots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from dagan_cli.pages.viewer import Column, View, Viewer
from dagan_cli.pages.writing import write_viewer
from tests.support.browser import axe_findings, opened
from tests.support.pages import HOSTILE, film, flat, pattern, viewer

pytestmark = pytest.mark.slow

LEVELS = (40, 120, 200)  # of the columns of a page of flat pictures


def flats(views: int = 3, size: tuple[int, int] = (200, 300)) -> Viewer:
    """Return a page whose columns are grey: LEVELS, plus 10 for each later view."""
    made = [View(f"view {v}", [[flat(level + 10 * v, size)] for level in LEVELS]) for v in range(views)]
    return Viewer("Flat", "", [Column(f"column {i}") for i in range(3)], made)


@pytest.fixture
def shown(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page of flat pictures."""
    write_viewer(tmp_path / "page.html", flats())
    with opened(browser, tmp_path / "page.html") as page:
        yield page


def seen(page: Page) -> np.ndarray:
    """Return the pixels of the stage, (H, W, 3), without its labels and the slider's line."""
    page.wait_for_timeout(60)
    hide = "(found, how) => found.forEach(each => { each.style.visibility = how; })"
    marks = page.locator(".tag, .divider, figcaption")
    marks.evaluate_all(hide, "hidden")
    data = page.locator("#stage").screenshot()
    marks.evaluate_all(hide, "")
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def level(page: Page, across: float, down: float = 0.5) -> int:
    pixels = seen(page)
    return int(pixels[int(down * (pixels.shape[0] - 1)), int(across * (pixels.shape[1] - 1)), 0])


def percent(page: Page) -> float:
    return float((page.locator("#percent").text_content() or "").split()[0])


def divider(page: Page) -> float:
    """Return the place of the slider on the page, in CSS pixels."""
    box = page.locator("#divider").bounding_box()
    assert box
    return box["x"] + box["width"] / 2


def edge(page: Page) -> int:
    """Return the column of pixels of the stage where the left picture ends, within the picture."""
    row = seen(page)[100, :, 0].astype(int)
    return int(np.flatnonzero(row == LEVELS[1])[0])


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    page.mouse.move(*end)
    page.mouse.up()


def middle(page: Page) -> tuple[float, float]:
    box = page.locator("#stage").bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_the_first_sight_is_two_columns_and_a_slider_between_them(shown):
    assert [level(shown, 0.4), level(shown, 0.6)] == [40, 120]
    expect(shown.locator("#left")).to_have_text("column 0")
    expect(shown.locator("#right")).to_have_text("column 1")
    assert shown.evaluate("document.querySelectorAll('img[data-picture]').length") == 3


def test_the_names_of_the_columns_stand_on_the_picture(shown):
    picture = shown.locator(".layer.on img").first.bounding_box()
    left, right = (shown.locator(f"#{side}").bounding_box() for side in ("left", "right"))
    assert picture
    assert left
    assert right
    assert left["x"] == pytest.approx(picture["x"] + 8, abs=1)
    assert right["x"] + right["width"] == pytest.approx(picture["x"] + picture["width"] - 8, abs=1)


def test_the_slider_is_moved_by_mouse(shown):
    x, y = middle(shown)
    drag(shown, (x, y), (x + 120, y))
    assert divider(shown) == pytest.approx(x + 120, abs=2)
    assert shown.evaluate("document.querySelector('#stage').getBoundingClientRect().x") + edge(shown) == pytest.approx(
        x + 120, abs=2
    )
    shown.mouse.click(x - 90, y + 20)
    assert divider(shown) == pytest.approx(x - 90, abs=2)


def test_the_slider_is_moved_by_keys_wherever_the_focus_is(shown):
    before = divider(shown)
    press(shown, "ArrowLeft", "ArrowLeft")
    assert divider(shown) < before - 10
    shown.locator("#split").focus()
    press(shown, "End")
    assert level(shown, 0.7) == 40
    assert shown.locator("#split").get_attribute("aria-valuetext") == "100 % column 0, then column 1"


def test_the_slider_is_moved_by_a_finger_and_two_fingers_zoom(browser, tmp_path):
    write_viewer(tmp_path / "page.html", flats())
    with opened(browser, tmp_path / "page.html", width=390, height=844, has_touch=True, is_mobile=True) as page:
        touch = page.context.new_cdp_session(page)

        def fingers(kind: str, *points: tuple[float, float]) -> None:
            at = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

        x, y = middle(page)
        fingers("touchStart", (x, y))
        for step in range(1, 9):
            fingers("touchMove", (x + 10 * step, y))
        fingers("touchEnd")
        assert divider(page) == pytest.approx(x + 80, abs=12)
        before = percent(page)
        fingers("touchStart", (x - 20, y), (x + 20, y))
        for step in range(1, 9):
            fingers("touchMove", (x - 20 - 10 * step, y), (x + 20 + 10 * step, y))
        fingers("touchEnd")
        assert percent(page) >= 3 * before


def test_space_blinks_between_the_two_columns(shown):
    press(shown, "Space")
    assert [level(shown, 0.4), level(shown, 0.6)] == [40, 40]
    press(shown, "Space")
    assert [level(shown, 0.4), level(shown, 0.6)] == [120, 120]
    press(shown, "Space")
    assert level(shown, 0.5) == 40
    shown.locator("#blink").click()
    assert level(shown, 0.5) == 120
    shown.locator("[data-mode=difference]").click()
    press(shown, "Space")  # goes to the pictures, and does not press the button again
    assert level(shown, 0.5) == 40


def test_digits_choose_columns(shown):
    press(shown, "3")
    assert [level(shown, 0.4), level(shown, 0.6)] == [40, 200]
    press(shown, "Shift+Digit2")
    assert [level(shown, 0.4), level(shown, 0.6)] == [120, 200]
    press(shown, "2")  # the left one: they change places
    assert [level(shown, 0.4), level(shown, 0.6)] == [200, 120]
    shown.locator("#b").select_option("0")
    assert [level(shown, 0.4), level(shown, 0.6)] == [200, 40]
    press(shown, "Space", "3")
    assert level(shown, 0.5) == 200
    press(shown, "9")  # there is no such column
    assert level(shown, 0.5) == 200


@pytest.mark.parametrize(("gain", "expected"), [("1", 20), ("4", 80), ("16", 255)])
def test_the_difference_is_amplified(browser, tmp_path, gain, expected):
    images = [[flat(100, (200, 300))], [flat(120, (200, 300))]]
    write_viewer(tmp_path / "page.html", Viewer("t", "", [Column("a"), Column("b")], [View("v", images)]))
    with opened(browser, tmp_path / "page.html") as page:
        press(page, "d")
        page.locator(f"[data-gain='{gain}']").click()
        assert level(page, 0.5) == pytest.approx(expected, abs=1)
        assert level(page, 0.01) == 0
        press(page, "d")
        assert [level(page, 0.4), level(page, 0.6)] == [100, 120]


def test_side_by_side_shows_all_columns(shown):
    press(shown, "s")
    pixels = seen(shown)
    found = [int((pixels[..., 0] == each).sum()) for each in LEVELS]
    assert min(found) > 0.98 * max(found) > 10_000  # the stage's corners are round
    press(shown, "s")
    assert [level(shown, 0.4), level(shown, 0.6)] == [40, 120]


@pytest.mark.parametrize("density", [1, 2])
def test_pixels_are_exact_at_one_to_one_and_squares_when_enlarged(browser, tmp_path, density):
    """One pixel of the picture is one of the screen, also where a CSS pixel is several of them."""
    frame = pattern(5, (240, 310))
    write_viewer(tmp_path / "page.html", Viewer("t", "", [Column("a")], [View("v", [[frame]])]))
    with opened(browser, tmp_path / "page.html", device_scale_factor=density) as page:
        page.locator("#one").click()
        pixels = seen(page)
        top, left = ((side - part) // 2 for side, part in zip(pixels.shape[:2], frame.shape[:2], strict=True))
        found = [
            (y, x)
            for y in range(top - 1, top + 2)
            for x in range(left - 1, left + 2)
            if np.array_equal(pixels[y : y + 240, x : x + 310], frame)
        ]
        assert len(found) == 1
        while percent(page) < 800:
            press(page, "+")
        pixels = seen(page)[20:-20, 20:-20]  # without the round corners
        wanted = {tuple(each) for each in frame.reshape(-1, 3)}
        assert {tuple(each) for each in pixels[:, ::3].reshape(-1, 3)} <= wanted  # nothing between two colours
        changes = np.flatnonzero((pixels[100, 1:] != pixels[100, :-1]).any(-1))
        assert {*np.diff(changes) % 8} == {0}


def test_zoom_goes_to_sixteen_and_back_to_the_whole_picture(shown):
    for _ in range(20):
        press(shown, "+")
    expect(shown.locator("#percent")).to_have_text("1600 %")
    expect(shown.locator("#in")).to_be_disabled()
    press(shown, "0")
    expect(shown.locator("#fit")).to_have_attribute("aria-pressed", "true")
    shown.locator("#in").click()
    assert percent(shown) > 200


def spots(page: Page) -> list[tuple[float, float]]:
    """Return for each visible picture the place of its centre in its own frame, in shares of the picture."""
    return page.evaluate("""() => [...document.querySelectorAll('.port')].filter(p => p.offsetWidth).map(p => {
        const port = p.getBoundingClientRect(), img = p.querySelector('img').getBoundingClientRect();
        const share = (a, b, c, d) => Math.round(100 * (a + b / 2 - c) / d) / 100;
        return [share(port.left, port.width, img.left, img.width), share(port.top, port.height, img.top, img.height)];
    })""")


def test_the_wheel_zooms_where_it_points_and_all_columns_and_views_stay_at_that_spot(shown):
    x, y = middle(shown)
    shown.mouse.move(x + 100, y + 60)
    for _ in range(4):
        shown.mouse.wheel(0, -120)
    there = spots(shown)[0]
    assert there[0] > 0.55
    assert there[1] > 0.53
    for keys in (["3"], ["ArrowDown"], ["Space"], ["d"], ["PageUp"], ["s"]):
        press(shown, *keys)
        shown.wait_for_timeout(80)
        for spot in spots(shown):
            assert spot == pytest.approx(there, abs=0.021), keys


def test_a_drag_pans_all_columns_alike(shown):
    press(shown, "s", "+", "+", "+")
    before = spots(shown)
    x, y = middle(shown)
    drag(shown, (x, y), (x - 60, y - 30))
    after = spots(shown)
    assert len(before) == len(after) == 3
    assert all(b[0] > a[0] and b[1] > a[1] for a, b in zip(before, after, strict=True))
    assert after[0] == after[1] == after[2]


def test_views_change_by_key_button_and_list_and_bring_their_numbers(browser, tmp_path):
    write_viewer(tmp_path / "page.html", viewer())
    with opened(browser, tmp_path / "page.html") as page:
        cell = page.locator("#scores tbody tr").nth(1).locator("td").first
        expect(cell).to_have_text("30.1")
        press(page, "ArrowDown")
        expect(page.locator("#title")).to_have_text("image 1.png")
        expect(cell).to_have_text("31.1")
        page.locator("[data-view='2']").click()
        expect(cell).to_have_text("32.1")
        expect(page.locator("[data-view='2']")).to_have_attribute("aria-current", "true")
        expect(page.locator("#place")).to_have_text("3 of 3")
        page.locator("#previous").click()
        expect(page.locator("#title")).to_have_text("image 1.png")
        expect(page.locator("#said")).to_contain_text("image 1.png, view 2 of 3")
        alts = page.locator(".layer.on img").evaluate_all("found => found.map(each => each.alt)")
        assert alts == ["image 1.png: reference", "image 1.png: result 1"]


def test_the_pixels_of_a_later_view_are_its_own(shown):
    press(shown, "ArrowDown", "ArrowDown")
    assert [level(shown, 0.4), level(shown, 0.6)] == [60, 140]


def test_views_of_other_sizes_and_shapes_are_fitted_and_keep_their_columns_together(browser, tmp_path):
    sizes = [(200, 300), (400, 100), (50, 700)]
    views = [View(str(size), [[flat(level, size)] for level in LEVELS]) for size in sizes]
    write_viewer(tmp_path / "page.html", Viewer("t", "", [Column(f"c {i}") for i in range(3)], views))
    with opened(browser, tmp_path / "page.html") as page:
        for height, width in sizes:
            page.wait_for_timeout(80)
            boxes = [page.locator(".layer.on img").nth(i).bounding_box() for i in range(2)]
            assert boxes[0] == boxes[1]
            assert boxes[0]
            assert boxes[0]["width"] / boxes[0]["height"] == pytest.approx(width / height, rel=0.01)
            stage = page.locator("#stage").bounding_box()
            assert stage
            assert boxes[0]["width"] <= stage["width"]
            assert boxes[0]["height"] <= stage["height"]
            press(page, "ArrowDown")


def test_keys_scroll_the_page_where_the_pictures_are_out_of_sight(browser, tmp_path):
    write_viewer(tmp_path / "page.html", viewer())
    with opened(browser, tmp_path / "page.html", height=300) as page:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        before = page.evaluate("scrollY")
        press(page, "PageUp")
        page.wait_for_function(f"scrollY < {before}")
        expect(page.locator("#title")).to_have_text("image 0.png")


def test_the_scrubber_goes_through_the_views_in_the_order_of_time(browser, tmp_path):
    write_viewer(tmp_path / "page.html", film())
    with opened(browser, tmp_path / "page.html") as page:
        scrubber = page.locator("#time")
        expect(scrubber).to_have_value("2")
        scrubber.focus()
        press(page, "Home")
        expect(page.locator("#title")).to_have_text("frame 0")
        press(page, "ArrowRight")
        expect(page.locator("#title")).to_have_text("frame 24")
        expect(scrubber).to_have_attribute("aria-valuetext", "0:01.000, frame 24")


def test_a_click_on_a_curve_shows_the_nearest_view(browser, tmp_path):
    write_viewer(tmp_path / "page.html", film())
    with opened(browser, tmp_path / "page.html") as page:
        chart = page.locator(".chart")
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        assert box

        def at(seconds: float) -> float:
            return (46 + seconds / 2 * (380 - 46 - 10)) / 380 * box["width"]

        chart.click(position={"x": at(0.9), "y": 50})
        expect(page.locator("#title")).to_have_text("frame 24")
        mark = chart.locator(".mark").get_attribute("d") or ""
        assert float(mark[1:].split()[0]) == pytest.approx(46 + 0.5 * 324, abs=0.1)
        chart.click(position={"x": at(0.1), "y": 50})
        expect(page.locator("#title")).to_have_text("frame 0")


def test_frames_play_at_their_rate_in_both_columns_and_pause(browser, tmp_path):
    write_viewer(tmp_path / "page.html", film())
    with opened(browser, tmp_path / "page.html") as page:
        assert [level(page, 0.4), level(page, 0.6)] == [0, 40]
        page.locator("#play").click()
        expect(page.locator("#play")).to_have_text("Pause")
        shots = [seen(page)[200, ::400, 0] for _ in range(6)]
        assert len({int(shot[1]) for shot in shots}) > 1
        page.locator("#play").click()
        page.locator("#frame").fill("2")
        assert [level(page, 0.4), level(page, 0.6)] == [60, 100]
        expect(page.locator("#frame-text")).to_have_text("3 of 4")
        page.wait_for_timeout(300)
        expect(page.locator("#frame")).to_have_value("2")


def test_a_command_is_copied_or_selected_from_a_file(browser, tmp_path):
    write_viewer(tmp_path / "page.html", viewer())
    with opened(browser, tmp_path / "page.html") as page:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        button = page.locator(".copy").nth(1)
        button.click()
        expect(button).to_have_text(re.compile("Copied|Press Ctrl"))
        assert page.evaluate("String(getSelection())") == "dagan upscale -n 1"


def test_without_scripts_the_first_view_and_all_numbers_are_there(browser, tmp_path):
    write_viewer(tmp_path / "page.html", viewer(size=(300, 400)))
    with opened(browser, tmp_path / "page.html", java_script_enabled=False) as page:
        pictures = page.locator(".layer img")
        assert all(box and box["width"] > 100 for box in (pictures.nth(i).bounding_box() for i in range(3)))
        assert not page.locator("#play, #split, [data-mode=split], .copy").first.is_visible()
        expect(page.get_by_text("dagan upscale -n 1")).to_be_visible()
        expect(page.get_by_role("cell", name="31.1")).to_be_visible()
        assert page.locator("noscript p").bounding_box()


def test_names_from_files_are_text_in_the_browser_too(browser, tmp_path):
    images = [[pattern(1)], [pattern(2)]]
    made = Viewer(HOSTILE, HOSTILE, [Column(HOSTILE), Column("b")], [View(HOSTILE, images), View("next", images)])
    write_viewer(tmp_path / "page.html", made)
    with opened(browser, tmp_path / "page.html") as page:
        press(page, "ArrowDown", "ArrowUp", "d", "s", "Space")
        assert page.locator("#title").text_content() == HOSTILE.replace("\u202e", "\\u202e")
        assert page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_is_wider_than_the_screen(browser, tmp_path, width):
    names = [Column("a model of a very long name, " * 3 + str(i), [("fact", "x" * 200)], "y" * 300) for i in range(5)]
    views = [View("z" * 120 + str(v), [[pattern(v)] for _ in range(5)], [["31.415"] * 8] * 5) for v in range(9)]
    scores = [f"score {i}, dB" for i in range(8)]
    write_viewer(tmp_path / "page.html", Viewer("w" * 150, "u" * 300, names, views, scores, notes=["v" * 300]))
    with opened(browser, tmp_path / "page.html", width=width) as page:
        for mode in ("split", "single", "side", "difference"):
            page.locator(f"[data-mode={mode}]").click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("made", "width"), [(viewer, 1280), (film, 390)])
def test_axe_finds_nothing_serious(browser, tmp_path, scheme, made, width):
    write_viewer(tmp_path / "page.html", made())
    with opened(browser, tmp_path / "page.html", width=width, color_scheme=scheme, reduced_motion="reduce") as page:
        assert axe_findings(page) == []
        for key in ("d", "s", "?"):
            press(page, key)
            assert axe_findings(page) == []


def test_all_controls_can_be_reached_and_the_focus_is_seen(shown):
    reached = set()
    for _ in range(40):
        press(shown, "Tab")
        if shown.evaluate("document.activeElement === document.body"):
            continue  # the browser's own controls have the focus
        reached.add(shown.evaluate("document.activeElement.id || document.activeElement.textContent"))
        outline = shown.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"
    assert {"a", "b", "blink", "split", "in", "out", "fit", "one", "stage", "help", "next"} - reached <= {"out"}
