"""Pages to test with, and an independent parser that reads them."""

from __future__ import annotations

import base64
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
from PIL import Image

from dagan_cli.pages.viewer import Column, Curve, View, Viewer

HOSTILE = '</script><img src=x onerror="alert(1)">\u202e\'"&<b>'


class Page(HTMLParser):
    """The elements of a page and the texts in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # tag, text
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def all(self, tag: str) -> list[str]:
        return [text for of, text in self.texts if of == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for of, attributes in self.elements if of == tag]


def pictures_in(text: str) -> list[np.ndarray]:
    """Return the pixels of all pictures of a viewer, in the order of their numbers, without thumbnails."""
    found: dict[int, str] = {}
    inside = None
    for tag, attributes in Page(text).elements:
        if tag == "img" and attributes.get("data-picture") and attributes.get("src"):
            found[int(attributes["data-picture"] or 0)] = (attributes["src"] or "").partition("base64,")[2]
        if tag == "script" and attributes.get("type") == "text/plain":
            inside = str(attributes["id"])
            start = text.index(">", text.index(f'id="{inside}"')) + 1
            found[int(inside[1:])] = text[start : text.index("<", start)]
    decoded = (Image.open(BytesIO(base64.b64decode(found[i]))) for i in sorted(found))
    return [np.asarray(image.convert("RGB")) for image in decoded]


def pattern(seed: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Return (H, W, 3) uint8: smooth, and with a little noise, so that it is no two times the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    waves = [128 + 90 * np.sin(x / (9 + 3 * c) + y / 13 + seed) for c in range(3)]
    return (np.stack(waves, -1) + rng.integers(-9, 10, (*size, 3))).clip(0, 255).astype(np.uint8)


def flat(level: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    return np.full((*size, 3), level, np.uint8)


def viewer(views: int = 3, columns: int = 3, size: tuple[int, int] = (48, 64)) -> Viewer:
    """Return a page of stills: each picture has pixels of its own."""
    names = ["reference", *(f"result {i}" for i in range(1, columns))]
    return Viewer(
        "A comparison",
        "What is compared with what.",
        [Column(name, [("whole job", f"about {i} min")], f"dagan upscale -n {i}") for i, name in enumerate(names)],
        [
            View(
                f"image {v}.png",
                [[pattern(100 * v + c, size)] for c in range(columns)],
                [["", ""], *([f"{30 + v}.{c}", f"0.9{v}{c}"] for c in range(1, columns))],
                "worst by PSNR-Y" if v == 0 else "",
            )
            for v in range(views)
        ],
        ["PSNR-Y, dB", "SSIM"],
        [["image", "result 1"], *([f"image {v}.png", f"{30 + v}.1"] for v in range(views))],
        notes=["The protocol of the numbers."],
    )


def film(views: int = 3, frames: int = 4) -> Viewer:
    """Return a page of a video, its views not in the order of time: 2 s, 0 s, 1 s."""
    seconds = [2.0, 0.0, 1.0, 3.0][:views]
    return Viewer(
        "A film",
        "Two columns.",
        [Column("reference"), Column("result")],
        [
            View(
                f"frame {round(24 * at)}",
                [[flat(40 * c + 30 * f + v) for f in range(frames)] for c in range(2)],
                [["-"], [f"{30 + at}"]],
                seconds=at,
                rate=8.0,
            )
            for v, at in enumerate(seconds)
        ],
        ["PSNR-Y, dB"],
        curves=[Curve("PSNR-Y, dB", [0, 0.5, 1, 1.5, 2], [[None] * 5, [30, 31, None, 29, 32]])],
    )
