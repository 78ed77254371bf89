"""GIF: palettes, transparency, times."""

import numpy as np

from dagan_cli.media.images import (
    gif,
)
from tests.support.images import info_of, noise, opened, photo, written


def test_a_gif_keeps_few_colours_exactly_and_many_closely():
    few = photo((20, 20, 3)) // 64 * 64
    np.testing.assert_array_equal(opened(written([few], info_of(few), "gif"))[1][0], few)
    many = noise(64, 64, 3) // 2 + 64
    _, (frame,) = opened(written([many], info_of(many), "gif"))
    assert np.abs(frame.astype(float) - many).mean() < 16


def test_a_gif_keeps_transparency_and_clears_each_frame():
    frames = [photo((12, 12, 4)) // 64 * 64 for _ in range(3)]
    for index, frame in enumerate(frames):
        frame[..., 3] = 0
        frame[index * 4 : index * 4 + 4, :, 3] = 255
    info = info_of(frames[0], frames=3, durations=(50.0, 50.0, 50.0))
    again, copies = opened(written(frames, info, "gif"))
    assert again.channels == 4
    for frame, copy in zip(frames, copies, strict=True):
        np.testing.assert_array_equal(copy[..., 3], frame[..., 3])
        np.testing.assert_array_equal(copy[copy[..., 3] > 0], frame[frame[..., 3] > 0])


def test_gif_times_are_rounded_without_drifting():
    frame = photo((4, 4, 3))
    info = info_of(frame, frames=30, durations=(1000 / 30,) * 30)
    again, _ = opened(written([frame] * 30, info, "gif"))
    assert sum(again.durations) == 1000
    assert set(again.durations) == {30.0, 40.0}


def test_gif_palettes_leave_room_for_the_transparent_colour():
    frame = np.dstack([np.arange(256, dtype=np.uint8).reshape(16, 16)] * 3 + [np.full((16, 16), 255, np.uint8)])
    frame[0, 0, 3] = 0
    indices, palette, unseen = gif.indexed(frame)
    assert unseen == len(palette) - 1 == 255
    assert (indices == unseen).sum() == 1
    np.testing.assert_array_equal(palette[indices][1:], frame[1:, :, :3])
