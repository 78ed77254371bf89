"""Test-mux a packet into a scratch container before the real one."""

from __future__ import annotations

import io
from contextlib import suppress
from fractions import Fraction
from typing import cast

import av
from av.container import OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream


class Trial:
    """A container of the same format with this stream only; its bytes are discarded.

    Muxers inspect some packets and refuse damaged ones, but only when writing them, in the middle of the video; and the
    mp4 muxer inspects a stream's header only at the end.
    """

    def __init__(self, source: Stream, form: str) -> None:
        self._source, self._form = source, form
        self._taken = False  # any packet was accepted
        self._out = self._opened()

    def takes(self, packet: Packet) -> bool:
        try:
            if not self._taken:
                with self._opened() as first:
                    self._mux(first, packet)
            self._mux(self._out, packet)
        except FFmpegError:
            if not self._taken:  # start again like the real file, which does not get this packet
                self.close()
                self._out = self._opened()
            return False
        self._taken = True
        return True

    def close(self) -> None:
        with suppress(FFmpegError):
            self._out.close()

    def _opened(self) -> OutputContainer:
        out = av.open(_Nowhere(), "w", format=self._form, metadata_errors="surrogateescape")
        out.add_stream_from_template(self._source, opaque=True)
        out.start_encoding()
        return out

    def _mux(self, out: OutputContainer, packet: Packet) -> None:
        times = packet.pts, packet.dts, packet.duration
        packet.stream, packet.time_base = out.streams[0], cast(Fraction, out.streams[0].time_base)
        try:
            out.mux(packet)
        finally:
            packet.pts, packet.dts, packet.duration = times


class _Nowhere:
    """A file that discards its data; some muxers require `seek`."""

    def __init__(self) -> None:
        self._at = 0

    def write(self, data: bytes) -> int:
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0 if whence == io.SEEK_SET else self._at)
        return self._at

    def tell(self) -> int:
        return self._at
