"""Option types with their help groups, parsers of option strings and error handling, shared by all commands.

The parsers raise BadOption.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from dagan_cli.commands.console import fail
from dagan_cli.commands.shown.progress import ProgressMode, Reporter
from dagan_cli.errors import BadOption, DaganError
from dagan_cli.upscale.events import Fetch

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # click's; newer typers carry a copy of click

_FLAG = r"Invalid value for (?:'-\w' / )?'(--[\w-]+)'[^:]*: "
_CHOICE = re.compile(_FLAG + r"(?:Value error, )?(.+) is not one of (.+)")
_TYPE = re.compile(_FLAG + r"Input should be (.+?)(?:, .*)?$")

# Underscores and dashes in long flags are the same: scripts written for other upscalers run.
SETTINGS = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": lambda name: name.replace("_", "-"),
    "max_content_width": 100,
}
BASELINES = ("nearest", "bicubic", "lanczos")
AUTO = "auto"  # as -n: the model is chosen by what each source is
IN_OUT, SIZE, QUALITY, SPEED = "Input and output", "Size and model", "Quality", "Speed and memory"
IMAGES, VIDEO, BATCH, OTHER = "Images", "Video", "Batch and reports", "Options"
DEFAULTS = "Recipes and defaults"

_SIZES = ("720p", "1080p", "1440p", "4k", "8k")


def switch(*names: str, help: str, panel: str = OTHER) -> Any:
    """Return an option that is off unless it is given; `--no-...` turns off a default of the user's own.

    The last name is the long one.
    """
    *short, long = names
    both = f"{long}/--no-{long.removeprefix('--')}"
    return typer.Option(*short, both, help=help, rich_help_panel=panel, show_default=False)


def _completed(values: tuple[str, ...]) -> Any:
    """A shell completion that offers these values."""
    return lambda incomplete: [value for value in values if value.startswith(incomplete)]


def _encoders(incomplete: str) -> list[str]:
    from dagan_cli.media.video.encoders import ENCODERS, has_encoder

    return [name for name in _completed(tuple(ENCODERS))(incomplete) if has_encoder(name)]


def _formats(incomplete: str) -> list[str]:
    from dagan_cli.media.images.formats import FORMATS

    return _completed(tuple(form.suffixes[0][1:] for form in FORMATS))(incomplete)


def model_names(incomplete: str) -> list[str]:
    from weights.catalog import CATALOG
    from weights.folder import models_in_folders

    known = (model.name for model in CATALOG)
    return _completed((AUTO, *known, *models_in_folders(), *BASELINES))(incomplete)


def model_choices(incomplete: str) -> list[str]:
    from weights.catalog import KINDS

    return [*_completed(tuple(KINDS))(incomplete), *model_names(incomplete)]


Model = Annotated[
    str | None,
    typer.Option(
        "-n",
        "--model",
        metavar="MODEL",
        help="The default, auto, is chosen by what each source is; perceptual, fidelity, real or fast: the published "
        "one for the scale; a name, file or hf://owner/repo; or nearest, bicubic, lanczos. `dagan models list` shows "
        "names.",
        autocompletion=model_choices,
        callback=lambda name: None if name == AUTO else name,
        rich_help_panel=SIZE,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="SIZE",
        help="Fit the result inside WxH, or 720p, 1080p, 1440p, 4k, 8k.",
        autocompletion=_completed(_SIZES),
        rich_help_panel=SIZE,
    ),
]
Square = Annotated[
    bool,
    typer.Option(
        "--square/--no-square",
        help="Make the pixels of videos square, where they are not: the result is wider or higher.",
        rich_help_panel=VIDEO,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="Device to compute on: auto, cpu, cuda, cuda:1, mps or openvino:GPU.",
        autocompletion=_completed(("auto", "cpu", "cuda", "cuda:0", "cuda:1", "mps", "openvino:GPU", "openvino:NPU")),
        rich_help_panel=SPEED,
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Use the nodes of a Ray cluster: auto, HOST:PORT, or local:N for N workers on this machine.",
        autocompletion=_completed((AUTO, "local:2")),
        rich_help_panel=SPEED,
    ),
]
RuntimeName = Annotated[
    Literal["auto", "torch", "openvino"],
    typer.Option("--runtime", help="What executes the network: PyTorch or OpenVINO.", rich_help_panel=SPEED),
]
Precision = Annotated[
    Literal["auto", "fp16", "bf16", "fp32"],
    typer.Option("--precision", help="Number format of the network.", rich_help_panel=SPEED),
]
Tile = Annotated[
    str,
    typer.Option(
        "-t",
        "--tile",
        metavar="SIDE",
        help="Tile side in input pixels (96 or more for models of dagan), or auto, or off.",
        autocompletion=_completed(("auto", "off")),
        rich_help_panel=SPEED,
    ),
]
Order = Annotated[
    int | None,
    typer.Option(
        "--order",
        metavar="1|2|4",
        autocompletion=_completed(("1", "2", "4")),
        help="Order of the solver: 1 is the fastest; 2 and 4 take twice and four times as long, for at most 0.3 dB.",
        rich_help_panel=QUALITY,
    ),
]
Detail = Annotated[
    float | None,
    typer.Option(
        "--detail",
        min=0,
        max=1,
        metavar="0..1",
        help="Blend from the fidelity model (0) to the perceptual model (1).",
        rich_help_panel=QUALITY,
    ),
]
_DENOISE = "Blend from the model (0) to the one for compressed, noisy or blurred sources (1)"
Denoise = Annotated[
    float | None,
    typer.Option("--denoise", min=0, max=1, metavar="0..1", help=f"{_DENOISE}.", rich_help_panel=QUALITY),
]
DenoiseOrAuto = Annotated[
    str | None,
    typer.Option(
        "--denoise",
        metavar="0..1|auto",
        autocompletion=_completed(("auto", "0", "1")),
        help=f"{_DENOISE}; auto, the default: as each source needs, if -n is auto too.",
        rich_help_panel=QUALITY,
    ),
]
Grain = Annotated[
    float,
    typer.Option(
        "--grain",
        min=0,
        max=1,
        metavar="0..1",
        help="Add back the grain that the model removes: none (0) to all of it (1).",
        rich_help_panel=QUALITY,
    ),
]
WindowMode = Literal["global", "local"]
Window = Annotated[
    WindowMode | None,
    typer.Option("--window", help="Context of pooling and attention; default: the model's.", rich_help_panel=QUALITY),
]
Ensemble = Annotated[
    bool,
    switch("-x", "--tta", "--ensemble", help="Average over eight flips and turns: 8 times slower.", panel=QUALITY),
]
Codec = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--codec",
        metavar="CODEC",
        help="Video encoder, such as libx265; default: one that fits the source.",
        autocompletion=_encoders,
        rich_help_panel=VIDEO,
    ),
]
EncoderPreset = Annotated[
    str | None,
    typer.Option("--preset", metavar="PRESET", help="Speed preset of the video encoder.", rich_help_panel=VIDEO),
]
Format = Annotated[
    str | None,
    typer.Option(
        "-f",
        "--format",
        "--ext",
        metavar="FORMAT",
        help="Image format: png, jpg, webp, tiff, avif; default: that of the input.",
        autocompletion=_formats,
        rich_help_panel=IMAGES,
    ),
]
Audio = Annotated[
    Literal["copy", "none"], typer.Option("--audio", help="Keep the audio, or drop it.", rich_help_panel=VIDEO)
]
Progress = Annotated[ProgressMode, typer.Option("--progress", help="How progress is shown, on stderr.")]
Lpips = Annotated[Path | None, typer.Option("--lpips", metavar="FILE", help="Also report LPIPS, with these weights.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


class ShownWhole:
    """A command whose summary is wrapped in a list of commands; the command line's library would cut it."""

    def get_short_help_str(self, limit: int = 0) -> str:
        return super().get_short_help_str(sys.maxsize)  # type: ignore[misc]


class GroupedCommand(ShownWhole, TyperCommand):
    """A command whose help lists the options in groups, by their `rich_help_panel`.

    The help stays plain text: rich would take longer to load than everything else.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_groups(self, ctx, formatter)


class GroupedCommands(ShownWhole, TyperGroup):
    """A command with subcommands whose help lists the options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write_groups(self, ctx, formatter)
        self.format_commands(ctx, formatter)


def _write_groups(command: Any, ctx: Any, formatter: Any) -> None:
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        if record := parameter.get_help_record(ctx):
            usual = OTHER
            if parameter.param_type_name == "argument":
                usual, record = "Arguments", (record[0].partition(" <")[0], record[1])
            groups.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
    for heading in [name for name in groups if name != OTHER] + [OTHER] * (OTHER in groups):
        with formatter.section(heading):
            formatter.write_dl(groups[heading], col_max=max(20, min(34, formatter.width - 44)))


def as_bad_option(error: Any, hint: str) -> BadOption:
    """Word a UsageError of the command line's library as our own; `hint` is for those that have no choices to list."""
    what = " ".join(error.format_message().split()).rstrip(".")
    if choice := _CHOICE.match(what):
        return BadOption(f"invalid {choice[1]} {choice[2]}", hint=f"use one of {choice[3].replace(chr(39), '')}")
    if kind := _TYPE.match(what):
        what = f"invalid {kind[1]}: it should be {kind[2]}"
    return BadOption(what, hint=hint)


@contextmanager
def friendly_errors(debug: bool) -> Iterator[None]:
    """Print a DaganError as two lines and exit with its code; anything else is a bug and keeps its traceback."""
    try:
        yield
    except DaganError as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def fetched(model: str) -> str:
    """Download a model that is only on the Hub; return a name, pinned to its commit, that needs no network."""
    from weights.catalog import pinned

    with Reporter("auto", quiet=False, verbose=False) as reporter:
        return pinned(model, lambda *progress: reporter.show(Fetch(*progress)))


def listed_inputs(source: str | None, nul: bool) -> list[str]:
    """The paths listed in `--files-from`: a file, or - for stdin. Each stays a path, whatever its name."""
    if source is None:
        return []
    from dagan_cli.media.find import Listed, read_list

    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise BadOption(f"cannot read --files-from {source}: {error.strerror}", hint="check the path") from error
    if not nul and b"\0" in data:
        raise BadOption(f"--files-from {source} holds NUL bytes", hint="add -0 if they separate its paths")
    return [Listed(os.path.join(".", path) if str(path) == "-" else path) for path in read_list(data, nul=nul)]


def result_folder(output: str | None, names: list[str]) -> Path | None:
    """Folder for results too large for memory: on the disk that the output will be written to."""
    place = output or names[0]
    folder = place if os.path.isdir(place) else os.path.dirname(place) or "."
    return Path(folder) if os.path.isdir(folder) else None


def tile_side(text: str) -> int | Literal["auto", "off"]:
    """Parse --tile: auto, off, or the side in input pixels; 0 means off too."""
    if text == "auto" or text == "off":
        return text
    return whole_number("--tile", text) or "off"


def whole_number(flag: str, text: str) -> int:
    """Parse a whole number from 0 up."""
    if not text.isdecimal():
        raise BadOption(f"invalid {flag} {text!r}: it is not a whole number", hint=f"use {flag} auto, or a number")
    return int(text)


def share(model: str | None, denoise: str | None) -> float | None:
    """Parse --denoise: a number, or auto for a model that is chosen for each source."""
    if denoise is None or (denoise == AUTO and model is None):
        return None
    if denoise == AUTO:
        raise BadOption(f"--denoise auto does not go with -n {model}", hint="leave out one of them")
    try:
        return float(denoise)
    except ValueError:
        raise BadOption(f"invalid --denoise {denoise!r}", hint="use a number from 0 to 1, or auto") from None


def one_of(flag: str, value: str, choices: tuple[Any, ...]) -> Any:
    """Return the value if it is one of the choices."""
    if value not in choices:
        raise BadOption(f"invalid {flag} {value!r}", hint=f"use one of {', '.join(choices)}")
    return value


def key_value(option: str) -> tuple[str, str]:
    """Parse an encoder option, `key=value`."""
    key, separator, value = option.partition("=")
    if not separator or not key:
        raise BadOption(f"invalid -e {option!r}: it is not key=value", hint="for example -e tune=film")
    return key, value


def moment(flag: str, text: str | None) -> float | None:
    """Parse a time such as 12.5, 2:30 or 1:02:03.5 into seconds."""
    if text is None:
        return None
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or any(number >= 60 for number in numbers[1:]) or text.startswith("-"):
        raise BadOption(f"invalid {flag} {text!r}", hint=f"use seconds, such as {flag} 12.5, or {flag} 1:02:03")
    return sum(number * 60**power for power, number in enumerate(reversed(numbers)))


def time_budget(flag: str, text: str) -> float:
    """Parse a duration such as 90s, 20m or 3h into seconds."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 1)
    try:
        seconds = float(text.rstrip("smh")) * unit
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise BadOption(f"invalid {flag} {text!r}", hint="use a time such as 90s, 20m or 3h")
    return seconds


def page_path(output: str, usual: str) -> Path:
    """Return the path of a page. Raises BadOption for stdout and URLs; `usual` is an example of a name."""
    from dagan_cli.media.remote.address import is_url, redacted

    if output in ("", "-") or is_url(output):
        raise BadOption(
            f"-o {redacted(output)}: the page is a file on this machine", hint=f"name a file, such as {usual}"
        )
    return Path(output)
