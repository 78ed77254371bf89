"""Description of a model as it was used: the fields of the report, and the attributes that decide pixels."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dagan_cli.media.video.segments import SEGMENT
from dagan_cli.model.config import Window
from dagan_cli.upscale.identity import Identity

if TYPE_CHECKING:  # it imports torch
    from dagan_cli.upscaler import Upscaler

SLOW_SEGMENT = 48  # frames of a segment if a network runs on a CPU: the most that are kept unencoded
_MODEL = ("name", "architecture", "sha256", "scale", "order", "detail", "denoise", "window", "grain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """A model on a device. It can be sent to another process, which an `Upscaler` cannot."""

    name: str
    architecture: str | None
    sha256: str | None
    scale: int
    order: int | None
    detail: float | None
    denoise: float | None
    window: Window | None
    grain: float
    words: str  # as options name it
    signature: str  # with the precision
    is_baseline: bool
    device: str  # as --device names it; "" if nothing ran
    is_on_cpu: bool
    precision: str  # such as float16
    runtimes: tuple[str, ...]  # what has executed it so far
    why: str  # the reason for the device and the precision

    @classmethod
    def of(cls, upscaler: Upscaler) -> Used:
        """Describe an upscaler as it is now."""
        choice = upscaler.choice
        return cls(
            **{key: getattr(upscaler, key) for key in (*_MODEL, "words", "signature", "is_baseline")},
            device=choice.name,
            is_on_cpu=choice.device.type == "cpu",
            precision=str(choice.dtype).removeprefix("torch."),
            runtimes=tuple(sorted(upscaler.engine.runtimes)),
            why=choice.why,
        )

    @property
    def is_slow(self) -> bool:
        """True where a frame takes far longer than to write it down."""
        return self.is_on_cpu and not self.is_baseline

    @property
    def segment_length(self) -> int:
        """Frames of a segment of a video."""
        return SLOW_SEGMENT if self.is_slow else SEGMENT

    @classmethod
    def idle(cls, identity: Identity) -> Used:
        """Describe a model that had nothing to do, and was not loaded."""
        known = {key: getattr(identity, key) for key in (*_MODEL, "words")}
        nowhere = {"device": "", "is_on_cpu": False, "precision": "", "runtimes": (), "why": ""}
        return cls(**known, signature="", is_baseline=identity.sha256 is None, **nowhere)

    def model(self) -> dict[str, Any]:
        """Return what identifies the model in a report."""
        return {key: value for key, value in asdict(self).items() if key in _MODEL}
