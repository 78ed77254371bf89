"""Small networks of other programs with random weights, by the classes of spandrel, and real ones from ncnn files."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from dagan_cli.community.library import import_spandrel

_SWIN = {"img_size": 16, "embed_dim": 8, "depths": (2,), "num_heads": (2,), "window_size": 8, "upscale": 2}
_DAT = {"img_size": 16, "embed_dim": 32, "split_size": [4, 4], "depth": [2], "num_heads": [2], "upscale": 2}
_DRUNET = {"in_nc": 4, "out_nc": 3, "nc": [4, 4, 4, 4], "nb": 2}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {  # architecture -> class and configuration
    "ESRGAN": ("ESRGAN", {"num_filters": 8, "num_blocks": 1, "plus": True}),
    "ESRGAN, unshuffled": ("ESRGAN", {"in_nc": 12, "num_filters": 8, "num_blocks": 1, "shuffle_factor": 2}),
    "Compact": ("Compact", {"num_feat": 8, "num_conv": 2, "upscale": 2}),
    "SPAN": ("SPAN", {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 2}),
    "SwinIR": ("SwinIR", {**_SWIN, "upsampler": "pixelshuffledirect"}),
    "HAT": ("HAT", {**_SWIN, "squeeze_factor": 4}),
    "ATD": ("ATD", {**_SWIN, "category_size": 16, "num_tokens": 8, "upsampler": "pixelshuffle"}),
    "DAT": ("DAT", _DAT),
    "OmniSR": ("OmniSR", {"num_feat": 16, "up_scale": 2}),
    "RealPLKSR": ("PLKSR", {"dim": 16, "n_blocks": 1, "upscaling_factor": 2, "kernel_size": 5}),
    "RealCUGAN": ("RealCUGAN", {}),
    "SAFMN": ("SAFMN", {"dim": 8, "n_blocks": 1, "upscaling_factor": 2}),
    "RCAN": ("RCAN", {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 16, "scale": 2}),
    "SwiftSRGAN": ("SwiftSRGAN", {"num_channels": 8, "num_blocks": 1, "upscale_factor": 2}),
    "SCUNet": ("SCUNet", {"config": [1] * 7, "dim": 64}),
    "NAFNet": ("NAFNet", {"width": 4, "middle_blk_num": 1, "enc_blk_nums": [1], "dec_blk_nums": [1]}),
    "DRUNet": ("DRUNet", _DRUNET),
    "DnCNN, grey": ("DnCNN", {"nc": 8, "nb": 8, "act_mode": "R"}),
}
_NAMES = {"RealPLKSR": "RealPLKSR", "RealCUGAN": "UpCunet2x"}


def small(name: str) -> dict[str, Tensor]:
    """Return the state dict of a small network with random weights, the same ones each time."""
    import_spandrel()
    package, choices = SMALL[name]
    module = importlib.import_module(f"spandrel.architectures.{package}")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(module, _NAMES.get(name, package))(**choices).state_dict()
