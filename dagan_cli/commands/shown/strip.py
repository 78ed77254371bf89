"""Draw a preview in the terminal: a row of images for each place, an image for each model."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from dagan_cli.commands.console import echo
from dagan_cli.commands.shown.inline import Protocol, drawn
from dagan_cli.commands.shown.terminal import pixels_across, protocol_here

if TYPE_CHECKING:
    import numpy as np

    from dagan_cli.preview.result import Preview, Spot

_GAP = 4  # pixels between images
_LEAST = 48  # pixels; narrower parts show nothing


def show_strip(preview: Preview) -> str | None:
    """Draw all places on stdout; return the reason if the terminal cannot show images. Raises NoStdout."""
    protocol = protocol_here()
    if protocol.startswith("reason: "):
        return protocol.removeprefix("reason: ")
    from dagan_cli.preview.result import INPUT

    labels = " | ".join([INPUT, *(option.model for option in preview.options)])
    room = pixels_across()
    for spot in preview.spots:
        echo(f"{spot.why}, {spot.title}:\n{labels}")
        echo(drawn(row_of(spot, room), cast(Protocol, protocol)))
    return None


def row_of(spot: Spot, room: int) -> np.ndarray:
    """Return the images of a place side by side, (H, W, 3) uint8: the middle of each, so that they fit into `room`.

    They are cut, not scaled: what differs is small. Of a second, its middle frame is shown.
    """
    import numpy as np

    stills = [frames[len(frames) // 2] for frames in spot.images]
    height, width, _ = stills[0].shape
    part = min(width, max(_LEAST, (room - _GAP * (len(stills) - 1)) // len(stills)))
    left = (width - part) // 2
    gap = np.zeros((height, _GAP, 3), np.uint8)
    row = [stills[0][:, left : left + part]]
    for still in stills[1:]:
        row += [gap, still[:, left : left + part]]
    return np.ascontiguousarray(np.concatenate(row, axis=1))
