"""Entry point of `dagan` and `python -m dagan_cli`: answer `--version` fast, else run the command line."""

from __future__ import annotations

import os
import sys

COMMANDS = ("upscale", "eval", "verify", "probe", "models", "doctor", "train", "bench")


def main() -> None:
    """Run the command line; `dagan in.mp4 -s 4` means `dagan upscale in.mp4 -s 4`."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from dagan_cli.version import __version__

        print(f"dagan {__version__}")
        return
    try:
        from dagan_cli.commands.app import run_command

        sys.exit(run_command(with_verb(arguments) or ["--help"]))
    except KeyboardInterrupt:  # before anything was started that needs cleaning up
        sys.exit(130)


def with_verb(arguments: list[str]) -> list[str]:
    """Prepend `upscale` if the verb is left out: the first argument, or one after a flag, looks like a file."""
    if not arguments or arguments[0] in COMMANDS:
        return arguments
    possible = arguments if arguments[0].startswith("-") and arguments[0] != "-" else arguments[:1]
    return ["upscale", *arguments] if any(map(_looks_like_a_file, possible)) else arguments


def _looks_like_a_file(argument: str) -> bool:
    is_flag = argument.startswith("-") and argument != "-"
    named_so = argument == "-" or os.sep in argument or os.path.splitext(argument)[1] or "*" in argument
    return os.path.lexists(argument) or (bool(named_so) and not is_flag)


if __name__ == "__main__":
    main()
