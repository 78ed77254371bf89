"""Frames <-> RGB: exact both ways, and equal to what zimg computes."""

from __future__ import annotations

import subprocess
from typing import get_args

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from dagan_cli.engine.colour import LUMA, from_alpha, from_rgb, to_alpha, to_rgb
from dagan_cli.planes import Chroma, ColourTags, PixelLayout, Siting

TAGS = ColourTags(range=1, matrix=1, primaries=1, transfer=1)
ZIMG_MATRIX = {"bt709": "709", "bt601": "170m", "bt2020": "2020_ncl"}


def layout(**changes) -> PixelLayout:
    values = {"matrix": "bt709", "full_range": False, "depth": 8, "chroma": "420", "alpha": False, "siting": "left"}
    return PixelLayout(**(values | changes), tags=TAGS)


def any_planes(form: PixelLayout, width: int, height: int, *batch: int) -> list[torch.Tensor]:
    """Every code value is possible, also those outside of the RGB cube."""
    dtype = torch.uint8 if form.depth == 8 else torch.uint16
    across, down = form.chroma_size(width, height)
    sizes = [(height, width), (down, across), (down, across)][: form.planes]
    return [torch.randint(0, 2**form.depth, (*batch, *size)).to(dtype) for size in sizes]


def furthest(one: tuple[torch.Tensor, ...], other: list[torch.Tensor]) -> int:
    return max(int((a.int() - b.int()).abs().max()) for a, b in zip(one, other, strict=True))


def zimg(planes: list[torch.Tensor], pix_fmt: str, size: tuple[int, int], conversion: str, out: str) -> bytes:
    raw = b"".join(plane.numpy().tobytes() for plane in planes)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", pix_fmt]
    command += ["-s", f"{size[0]}x{size[1]}", "-i", "-", "-vf", f"zscale=filter=bilinear:{conversion},format={out}"]
    command += ["-f", "rawvideo", "-pix_fmt", out, "-"]
    return subprocess.run(command, input=raw, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", LUMA)
def test_a_full_colour_frame_that_nothing_changed_comes_back_with_its_own_code_values(matrix, full_range, depth):
    form = layout(matrix=matrix, full_range=full_range, depth=depth, chroma="444")
    planes = any_planes(form, 63, 41)
    assert furthest(from_rgb(to_rgb(planes, form), form), planes) == 0


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("siting", get_args(Siting))
@pytest.mark.parametrize("chroma", get_args(Chroma))
def test_a_frame_with_fewer_colour_samples_comes_back_exactly_too(chroma, siting, depth):
    form = layout(chroma=chroma, siting=siting, depth=depth)
    planes = any_planes(form, 64, 48)
    assert furthest(from_rgb(to_rgb(planes, form), form), planes) == 0


@pytest.mark.parametrize("size", [(37, 23), (37, 24), (38, 23), (1, 1), (1, 9), (3, 2)])
@pytest.mark.parametrize("siting", get_args(Siting))
@pytest.mark.parametrize("chroma", ["420", "422", "440", "444"])
def test_an_odd_size_comes_back_exactly_too(chroma, siting, size):
    form = layout(chroma=chroma, siting=siting)
    planes = any_planes(form, *size)
    assert furthest(from_rgb(to_rgb(planes, form), form), planes) == 0


@pytest.mark.parametrize(
    ("form", "code", "rgb"),
    [
        (layout(chroma="444"), (235, 128, 128), (1, 1, 1)),
        (layout(chroma="444"), (16, 128, 128), (0, 0, 0)),
        (layout(chroma="444"), (63, 102, 240), (1, 0, 0)),
        (layout(chroma="444", matrix="bt601"), (81, 90, 240), (1, 0, 0)),
        (layout(chroma="444", depth=10), (940, 512, 512), (1, 1, 1)),
        (layout(chroma="444", full_range=True), (255, 128, 128), (1, 1, 1)),
        (layout(chroma="rgb", matrix="rgb"), (255, 0, 51), (1, 0, 0.2)),
    ],
)
def test_well_known_colours_have_their_standard_code_values(form, code, rgb):
    dtype = torch.uint8 if form.depth == 8 else torch.uint16
    planes = [torch.full((2, 2), value).to(dtype) for value in code]
    half_a_step = 0.5 / 219 * 2
    assert to_rgb(planes, form)[:, 0, 0].tolist() == pytest.approx(rgb, abs=half_a_step)
    picture = torch.tensor(rgb).float()[:, None, None].expand(3, 2, 2)
    assert [int(plane[0, 0]) for plane in from_rgb(picture, form)] == list(code)


@pytest.mark.slow
@pytest.mark.parametrize("siting", get_args(Siting))
@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize("matrix", ZIMG_MATRIX)
def test_rgb_is_what_zimg_makes_of_the_same_frame(matrix, depth, siting):
    form = layout(matrix=matrix, depth=depth, siting=siting)
    planes = any_planes(form, 48, 32)
    pix_fmt = "yuv420p" if depth == 8 else "yuv420p10le"
    conversion = f"matrixin={ZIMG_MATRIX[matrix]}:rangein=limited:chromalin={siting}:matrix=gbr:range=full"
    raw = zimg(planes, pix_fmt, (48, 32), conversion, "gbrpf32le")
    g, b, r = np.frombuffer(raw, np.float32).reshape(3, 32, 48)
    difference = (to_rgb(planes, form) - torch.from_numpy(np.stack([r, g, b]))).abs().max()
    assert difference * 219 * 2 ** (depth - 8) < 0.002  # of a code value


@pytest.mark.parametrize("full_range", [False, True])
def test_code_values_are_what_zimg_makes_of_the_same_rgb(full_range):
    form = layout(chroma="444", full_range=full_range)
    source = layout(chroma="rgb", matrix="rgb")
    rgb = any_planes(source, 64, 48)
    conversion = f"matrixin=gbr:rangein=full:matrix=709:range={'full' if full_range else 'limited'}:d=none"
    raw = zimg([rgb[1], rgb[2], rgb[0]], "gbrp", (64, 48), conversion, "yuv444p")
    planes = [torch.from_numpy(plane) for plane in np.frombuffer(raw, np.uint8).reshape(3, 48, 64).copy()]
    made = from_rgb(to_rgb(rgb, source), form)
    assert furthest(made, planes) <= 1
    red, green, blue = (plane.double() for plane in rgb)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # BT.709, item 3.2
    steps = (1, 1) if full_range else (219 / 255, 224 / 255)
    exact = luma * steps[0], (blue - luma) / 1.8556 * steps[1], (red - luma) / 1.5748 * steps[1]
    for ours, theirs, value in zip(made, planes, exact, strict=True):
        half_way = (value % 1 - 0.5).abs() < 1e-3  # it may be rounded either way
        assert half_way.float().mean() < 0.01
        assert torch.equal(ours[~half_way], theirs[~half_way])


@pytest.mark.parametrize("siting", get_args(Siting))
def test_a_smooth_picture_loses_at_most_one_code_value_of_colour_at_half_resolution(siting):
    form, full = layout(siting=siting), layout(chroma="444")
    y, x = torch.meshgrid(torch.linspace(0, 3, 96), torch.linspace(0, 4, 128), indexing="ij")
    smooth = torch.stack([torch.sin(x), torch.cos(y), torch.sin(x + y)]) * 0.2 + 0.5
    halved = to_rgb(from_rgb(smooth, form), form)
    inner = (slice(None), slice(2, -2), slice(2, -2))  # at the rim there is nothing to interpolate with
    planes = [plane[inner[1:]] for plane in from_rgb(smooth, full)]
    assert furthest(from_rgb(halved[inner], full), planes) <= 1


def test_a_sharp_colour_edge_does_not_move_sideways():
    form = layout()
    picture = torch.zeros(3, 16, 32)
    picture[0, :, 16:] = 1
    back = to_rgb(from_rgb(picture, form), form)[0, 8]
    assert back[:15].abs().max() < 0.15
    assert (back[17:] - 1).abs().max() < 0.15


def test_colours_outside_the_rgb_cube_keep_their_excursion():
    planes = [torch.full((2, 2), value, dtype=torch.uint8) for value in (16, 255, 1)]
    rgb = to_rgb(planes, layout(chroma="444"))
    assert rgb.min() < -0.5
    assert rgb.max() > 1


def test_values_that_no_code_stands_for_become_the_nearest_one():
    picture = torch.tensor([2.0, -1.0, 1.0])[:, None, None].expand(3, 2, 2)
    assert [int(plane[0, 0]) for plane in from_rgb(picture, layout(chroma="rgb", matrix="rgb"))] == [255, 0, 255]


@pytest.mark.slow
def test_many_frames_at_once_are_the_same_as_one_by_one():
    form = layout()
    planes = any_planes(form, 32, 16, 3)
    batch = to_rgb(planes, form)
    assert batch.shape == (3, 3, 16, 32)
    torch.testing.assert_close(batch[1], to_rgb([plane[1] for plane in planes], form))
    assert furthest(from_rgb(batch, form), planes) == 0


def test_half_precision_rgb_is_taken_and_the_callers_tensors_are_left_as_they_were():
    form = layout(chroma="rgb", matrix="rgb")
    rgb = torch.rand(3, 8, 8)
    before = rgb.clone()
    from_rgb(rgb, form)
    from_rgb(rgb, layout())
    assert torch.equal(rgb, before)
    assert furthest(from_rgb(rgb.half(), form), list(from_rgb(rgb, form))) <= 1


@pytest.mark.parametrize("depth", [8, 10, 16])
def test_alpha_comes_back_exactly_and_is_always_full_range(depth):
    form = layout(alpha=True, depth=depth)
    (plane,) = any_planes(layout(chroma="gray", depth=depth), 16, 8)
    alpha = to_alpha([plane], form)
    assert alpha.shape == (1, 8, 16)
    assert 0 <= float(alpha.min()) <= float(alpha.max()) <= 1
    assert furthest((from_alpha(alpha, form),), [plane]) == 0
