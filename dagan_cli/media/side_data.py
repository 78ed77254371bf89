"""Side data of frames, of kinds that PyAV has no name for too: it would raise ValueError for any data of such a frame.

FFmpeg attaches, for example, the EXIF data of the frames of Motion JPEG, as cameras write it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from av.frame import Frame
from av.sidedata.sidedata import SideData, Type


def side_data(frame: Frame) -> Iterable[SideData]:
    return cast(Iterable[SideData], frame.side_data)


def _unnamed(cls: type[Type], value: object) -> Type:
    """Return a member for a number without a name, as `Enum._missing_` must."""
    member = object.__new__(cls)
    member._name_, member._value_ = f"UNNAMED_{value}", value
    return member


Type._missing_ = classmethod(_unnamed)  # type: ignore[assignment]
