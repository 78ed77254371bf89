"""`dagan` and `python -m dagan_cli`: the fast answers first, the command line after."""

from __future__ import annotations

import os
import sys

COMMANDS = ("upscale", "eval", "models", "doctor", "train", "bench")


def main() -> None:
    """Run the command line; `dagan in.mp4 -s 4` means `dagan upscale in.mp4 -s 4`."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["--version"], ["-V"]):
        from dagan_cli import __version__

        print(f"dagan {__version__}")
        return
    if arguments and arguments[0] not in COMMANDS and any(os.path.exists(argument) for argument in arguments):
        sys.argv.insert(1, "upscale")
    from dagan_cli.app import app

    app(prog_name="dagan")


if __name__ == "__main__":
    main()
