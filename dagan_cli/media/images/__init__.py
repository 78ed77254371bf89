"""Read and write images: see `read` and `write`; formats that Pillow handles only in part have their own modules."""

from dagan_cli.media.images.info import Picture, PictureInfo
from dagan_cli.media.images.read import LIMIT_PIXELS, open_picture
from dagan_cli.media.images.write import (
    ENCODER_BYTES,
    PictureOutput,
    encode_picture,
    output_suffix,
    plan_output,
    write_picture,
)
from dagan_cli.media.sniff import is_picture

__all__ = [
    "ENCODER_BYTES",
    "LIMIT_PIXELS",
    "Picture",
    "PictureInfo",
    "PictureOutput",
    "encode_picture",
    "is_picture",
    "open_picture",
    "output_suffix",
    "plan_output",
    "write_picture",
]
