"""Baselines on planes: the codes are those of the way through RGB, in exact arithmetic."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from dagan_cli.engine.colour import LUMA, from_rgb, to_rgb
from dagan_cli.engine.planewise import plane_resizer
from dagan_cli.engine.resample import Kernel, resample
from dagan_cli.planes import HALVINGS, UNSPECIFIED, Chroma, PixelLayout, Siting, plane_shapes

CURVES = {
    "nearest": (0.5, lambda t: np.where(t < 0.5, 1.0, 0.0)),
    "bicubic": (2, lambda t: np.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)),
    "lanczos": (3, lambda t: np.sinc(t) * np.sinc(t / 3)),
}
TIE = 1e-8  # of a code value: float64 is this exact, and what lies half-way is rounded up


def layout(**changes: object) -> PixelLayout:
    usual = {"matrix": "bt709", "full_range": False, "depth": 8, "chroma": "420", "alpha": False, "siting": "left"}
    return PixelLayout(**(usual | {"tags": UNSPECIFIED} | changes))  # pyright: ignore[reportArgumentType]


def any_planes(form: PixelLayout, width: int, height: int) -> list[np.ndarray]:
    dtype = np.uint8 if form.depth == 8 else np.uint16
    random = np.random.default_rng(3)
    return [random.integers(0, 2**form.depth, shape).astype(dtype) for shape in plane_shapes(form, width, height)]


def enlarging(n: int, factor: int, kernel: str) -> np.ndarray:
    support, curve = CURVES[kernel]
    distance = np.abs(np.arange(n)[None] - ((np.arange(n * factor)[:, None] + 0.5) / factor - 0.5))
    taps = np.where(distance < support, curve(distance), 0)
    return taps / taps.sum(axis=1, keepdims=True)


def upsampling(n: int, halvings: int, cosited: bool) -> np.ndarray:
    """(n, chroma samples): linear interpolation, once for each halving; the ends repeat."""
    matrix = np.eye(-(-n >> halvings))
    for _ in range(halvings):
        count = len(matrix)
        places = np.clip(np.arange(2 * count) / 2 - (0 if cosited else 0.25), 0, count - 1)
        matrix = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count))) @ matrix
    return matrix[:n]


def downsampling(n: int, halvings: int, cosited: bool) -> np.ndarray:
    """(chroma samples, n): (-1 2 6 2 -1)/8 on a sample, (-1 3 3 -1)/4 between two; the ends repeat."""
    taps = {-2: -1, -1: 2, 0: 6, 1: 2, 2: -1} if cosited else {-1: -2, 0: 6, 1: 6, 2: -2}  # in eighths
    matrix = np.eye(n)
    for _ in range(halvings):
        if len(matrix) % 2:  # the sample past the end, which upsampling would have made
            past = matrix[-1] if cosited or len(matrix) == 1 else 1.5 * matrix[-1] - 0.5 * matrix[-2]
            matrix = np.vstack([matrix, past])
        rows = np.arange(0, len(matrix), 2)
        places = [np.clip(rows + offset, 0, len(matrix) - 1) for offset in taps]
        matrix = np.sum([tap / 8 * matrix[place] for tap, place in zip(taps.values(), places, strict=True)], axis=0)
    return matrix


def through_rgb(
    planes: list[np.ndarray], form: PixelLayout, after: PixelLayout, factors: tuple[int, int], kernel: str
) -> list[np.ndarray]:
    """The plain slow way in float64, up to the rounding: planes -> RGB -> larger -> planes, as code values."""

    def ranges(of: PixelLayout) -> tuple[float, float, float, float]:
        step, top = 2 ** (of.depth - 8), 2**of.depth - 1
        full = of.full_range or of.chroma == "rgb"
        return (0, top, 128 * step, top) if full else (16 * step, 219 * step, 128 * step, 224 * step)

    def along(matrix_of, siting: Siting) -> tuple[np.ndarray, np.ndarray]:
        return matrix_of(0, siting == "topleft"), matrix_of(1, siting != "center")

    shape = planes[0].shape
    low, span, middle, swing = ranges(form)
    colours = [plane.astype(np.float64) for plane in planes[: form.planes - form.alpha]]
    kr, kb = LUMA.get(form.matrix, (0.0, 0.0))
    if len(colours) == 3 and form.chroma != "rgb":
        up = along(lambda axis, cosited: upsampling(shape[axis], HALVINGS[form.chroma][axis], cosited), form.siting)
        y, cb, cr = (colours[0] - low) / span, *((up[0] @ (c - middle) @ up[1].T) / swing for c in colours[1:])
        r, b = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
        rgb = [r, (y - kr * r - kb * b) / (1 - kr - kb), b]
    else:
        rgb = [(c - low) / span for c in colours]
    rows, columns = (enlarging(n, factor, kernel) for n, factor in zip(shape, factors, strict=True))
    rgb = [rows @ channel @ columns.T for channel in rgb]

    low, span, middle, swing = ranges(after)
    if len(rgb) == 3 and form.chroma != "rgb":
        size = rgb[0].shape
        down = along(
            lambda axis, cosited: downsampling(size[axis], HALVINGS[after.chroma][axis], cosited), after.siting
        )
        r, g, b = rgb
        y = kr * r + (1 - kr - kb) * g + kb * b
        chroma = ((b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr)))
        made = [y * span + low, *(down[0] @ c @ down[1].T * swing + middle for c in chroma)]
    else:
        made = [channel * span + low for channel in rgb]
    if after.alpha:
        gain = (2**after.depth - 1) / (2**form.depth - 1)
        made.append(rows @ planes[-1].astype(np.float64) @ columns.T * gain)
    return made


def assert_exact(got: list[np.ndarray], exact: list[np.ndarray], depth: int, doubt: float) -> None:
    """Codes are the nearest ones; within `doubt` of half-way between two, either of them."""
    assert [plane.shape for plane in got] == [plane.shape for plane in exact]
    for plane, values in zip(got, exact, strict=True):
        nearest = np.clip(np.floor(values + 0.5 + TIE), 0, 2**depth - 1)
        wrong = plane != nearest
        assert np.abs(plane[wrong] - nearest[wrong]).max(initial=0) <= 1
        assert np.abs(values[wrong] % 1 - 0.5).max(initial=0) <= doubt


def resized(planes, form, after, factors, kernel) -> list[np.ndarray]:
    height, width = planes[0].shape
    resize = plane_resizer(form, (height, width), after, (width * factors[1], height * factors[0]), kernel)
    assert resize is not None
    return resize(planes)


@pytest.mark.parametrize("size", [(262, 38), (37, 259)])  # an axis is long from 256 samples on
@pytest.mark.parametrize(
    ("siting", "kernel"),
    [("left", "nearest"), ("left", "lanczos"), *((siting, "bicubic") for siting in get_args(Siting))],
)
@pytest.mark.parametrize("chroma", get_args(Chroma))
def test_the_codes_are_those_of_the_way_through_rgb_in_exact_arithmetic(chroma, siting, kernel, size):
    form = layout(chroma=chroma, siting=siting, matrix="rgb" if chroma == "rgb" else "bt709")
    planes = any_planes(form, *size)
    got = resized(planes, form, form, (2, 2), kernel)
    assert_exact(got, through_rgb(planes, form, form, (2, 2), kernel), 8, doubt=2e-4)


@pytest.mark.parametrize("factors", [(1, 2), (3, 3), (2, 1), (1, 1), (4, 3)])
@pytest.mark.parametrize("size", [(259, 29), (30, 257), (1, 1), (3, 2)])
def test_odd_sizes_and_other_whole_factors_are_exact_too(size, factors):
    form = layout(matrix="bt601", full_range=True)
    planes = any_planes(form, *size)
    got = resized(planes, form, form, factors, "bicubic")
    assert_exact(got, through_rgb(planes, form, form, factors, "bicubic"), 8, doubt=2e-4)


@pytest.mark.parametrize(
    ("form", "after", "doubt"),
    [
        (layout(depth=10, matrix="bt2020", siting="topleft"), layout(depth=10, matrix="bt2020"), 1e-3),
        (layout(chroma="422"), layout(chroma="444", depth=10), 1e-3),
        (layout(chroma="411", full_range=True), layout(chroma="420"), 2e-4),
        (layout(alpha=True, depth=10), layout(alpha=True, depth=12), 4e-3),
        (layout(alpha=True), layout(), 2e-4),
        (layout(depth=16, chroma="444"), layout(depth=16, chroma="444"), 0.06),
    ],
)
def test_the_layout_may_change_on_the_way(form, after, doubt):
    planes = any_planes(form, 264, 44)
    got = resized(planes, form, after, (2, 2), "bicubic")
    assert_exact(got, through_rgb(planes, form, after, (2, 2), "bicubic"), after.depth, doubt)


def test_luma_of_eight_bits_is_exact_where_the_way_through_rgb_in_fp32_was_not():
    form = layout()
    planes = any_planes(form, 400, 300)
    luma = np.floor(through_rgb(planes, form, form, (2, 2), "bicubic")[0] + 0.5 + TIE).clip(0, 255)
    assert np.array_equal(resized(planes, form, form, (2, 2), "bicubic")[0], luma)
    rgb = to_rgb([torch.from_numpy(plane) for plane in planes], form)
    by_rgb = from_rgb(resample(rgb[None], (800, 600))[0], form)[0].numpy()
    assert 0 < np.count_nonzero(by_rgb != luma) < 0.001 * luma.size  # halves went either way


def test_a_frame_that_keeps_its_size_is_passed_on_untouched():
    form = layout(alpha=True)
    planes = any_planes(form, 300, 270)
    for kernel in get_args(Kernel):
        got = resized(planes, form, form, (1, 1), kernel)
        assert all(np.array_equal(one, other) for one, other in zip(got, planes, strict=True))


def test_the_work_is_done_in_one_thread_and_the_caller_keeps_its_own():
    before, form = torch.get_num_threads(), layout()
    resized(any_planes(form, 300, 270), form, form, (2, 2), "bicubic")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("after", "size"),
    [
        (layout(matrix="bt601"), (96, 64)),
        (layout(), (72, 48)),
        (layout(), (47, 32)),
        (layout(chroma="gray"), (96, 64)),
        (layout(chroma="410"), (48, 32)),
        (layout(alpha=True), (96, 64)),
    ],
)
def test_what_planes_cannot_do_by_themselves_needs_rgb(after, size):
    assert plane_resizer(layout(chroma="444"), (32, 48), after, size, "bicubic") is None
