"""An image in Pillow's memory: its samples, and an image of samples."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageCms

from dagan_cli.media.images.metadata import profile_space

CHANNELS = {"L": 1, "I;16": 1, "F": 1, "LA": 2, "RGB": 3, "RGBA": 4}  # modes in which samples are read


def mode_for(image: Image.Image) -> str:
    """Return the mode of `CHANNELS` that holds `image` without loss. Raises ValueError for 32-bit integers."""
    if image.mode in ("1", "L", "LA", "La"):
        return "LA" if image.has_transparency_data else "L"
    if image.mode.startswith("I;16"):
        return "I;16"
    if image.mode == "I":
        raise ValueError("32-bit integer samples are not supported")
    if image.mode == "F":
        return "F"
    return "RGBA" if image.has_transparency_data else "RGB"


def samples_of(image: Image.Image, mode: str) -> np.ndarray:
    """Return samples (H, W, C) in one of the modes of `CHANNELS`."""
    image.load()
    if mode in ("I;16", "F"):
        samples = np.asarray(image)
        return samples.astype(np.uint16 if mode == "I;16" else np.float32)[..., None]
    if image.mode in ("CMYK", "LAB"):
        image = _through_profile(image)
    samples = np.asarray(image if image.mode == mode else image.convert(mode))
    return samples[..., None] if samples.ndim == 2 else samples


def _through_profile(image: Image.Image) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    if image.mode == "LAB":
        source = ImageCms.createProfile("LAB")
    elif profile := cmyk_profile(image):
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    else:
        return image.convert("RGB")
    converted = ImageCms.profileToProfile(image, source, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB")
    assert converted is not None, "None is returned only for in-place conversion"
    return converted


def cmyk_profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile") or b""
    return profile if profile_space(profile) == "CMYK" else None


def image_of(samples: np.ndarray) -> Image.Image:
    """(H, W, C) uint8, or with C = 1 uint16 or float32 -> an image of the mode in `CHANNELS`."""
    return Image.fromarray(samples[..., 0] if samples.shape[2] == 1 else samples)
