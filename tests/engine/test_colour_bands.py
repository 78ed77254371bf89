"""Large frames are converted in bands of rows: no value depends on where a band ends."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from dagan_cli.engine import colour
from dagan_cli.planes import UNSPECIFIED, Chroma, PixelLayout, Siting, plane_shapes


@pytest.mark.parametrize("size", [(40, 99), (37, 96), (1, 50)])
@pytest.mark.parametrize("siting", get_args(Siting))
@pytest.mark.parametrize("chroma", get_args(Chroma))
def test_a_frame_in_bands_is_the_frame_as_a_whole(chroma, siting, size, monkeypatch):
    form = PixelLayout(
        matrix="rgb" if chroma == "rgb" else "bt709",
        full_range=False,
        depth=8,
        chroma=chroma,
        alpha=False,
        siting=siting,
        tags=UNSPECIFIED,
    )
    random = np.random.default_rng(5)
    planes = [torch.from_numpy(random.integers(0, 256, shape, np.uint8)) for shape in plane_shapes(form, *size)]
    changed = torch.from_numpy(random.random((2, 3, size[1], size[0]), np.float32))
    whole = colour.from_rgb(changed, form)
    seen: list[int] = []
    convert = colour._from_rgb

    def counted(rgb, layout):
        seen.append(rgb.shape[-2])
        return convert(rgb, layout)

    monkeypatch.setattr(colour, "_from_rgb", counted)
    monkeypatch.setattr(colour, "_BAND", 16 * size[0])
    bands = colour.from_rgb(changed, form)
    assert len(seen) == -(-size[1] // 16)
    assert max(seen) <= 32
    assert all(torch.equal(one, other) for one, other in zip(bands, whole, strict=True))
    again = colour.from_rgb(colour.to_rgb(planes, form), form)  # and nothing is lost at a seam
    if chroma not in ("410", "411"):  # of odd sizes, these do not come back exactly as a whole either
        assert all(torch.equal(one, other) for one, other in zip(again, planes, strict=True))
