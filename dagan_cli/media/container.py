"""Open media files safely, and map suffixes to containers."""

from __future__ import annotations

import os
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from dagan_cli.errors import BadInput, BadOption
from dagan_cli.files import open_regular

# Output suffix -> FFmpeg's name of the container. The first suffix of a container is its default.
CONTAINERS = {".mkv": "matroska", ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".webm": "webm"}
SUFFIXES = {form: next(s for s, f in CONTAINERS.items() if f == form) for form in CONTAINERS.values()}
# Demuxers of ordinary media files; image, playlist and device demuxers are excluded.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,h264,hevc,vvc,m4v,ivf,obu,av1,yuv4mpegpipe,mxf,dv,nut,"
    "wtv,rm,swf,mjpeg,vc1,h263,dirac,dnxhd,bink,smk,flic,film_cpk,4xm,roq,ea,gxf,lxf,nsv,nuv,pva,r3d,avs,cavsvideo"
)
ADVICE = "check that it plays; a damaged file can often be repaired with: ffmpeg -i IN -c copy OUT.mkv"


def container_of(target: Path) -> str:
    """Return FFmpeg's name of the container that the suffix of `target` selects. Raises BadOption."""
    suffix = target.suffix.lower()
    if suffix not in CONTAINERS:
        raise BadOption(
            f"cannot write video to {target}: unsupported suffix {suffix or '(none)'}", hint="use .mkv or .mp4"
        )
    return CONTAINERS[suffix]


def open_input(path: Path) -> InputContainer:
    """Open a media file for reading; URLs and devices are refused. Raises BadInput."""
    try:
        open_regular(path).close()  # FFmpeg itself would open a FIFO or a device
        return av.open(
            os.path.abspath(path),  # a relative name such as "a:b.mp4" would be parsed as a protocol
            options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
            metadata_errors="surrogateescape",
        )
    except OSError as error:
        raise BadInput(f"{path} cannot be opened: {(error.strerror or str(error)).lower()}", hint=ADVICE) from error
    except (FFmpegError, ValueError) as error:
        raise BadInput(f"{path} is not a video that can be read", hint=ADVICE) from error
