"""Entry point of `dagan` and `python -m dagan_cli`: answer `--version` fast, else run the command line."""

from __future__ import annotations

import gc
import os
import sys

from dagan_cli.commands.console import echo, escape_messages, fail
from dagan_cli.commands.shown.streams import NoStdout, end, finish, prepare

COMMANDS = (
    "upscale",
    "preview",
    "compare",
    "eval",
    "verify",
    "probe",
    "models",
    "doctor",
    "train",
    "bench",
    "config",
    "recipes",
)


def program() -> None:
    """Run `main` as the whole of a process."""
    try:
        main()
    except SystemExit as ended:
        end(ended.code)


def main() -> None:
    """Run the command line; `dagan in.mp4 -s 4` means `dagan upscale in.mp4 -s 4`."""
    prepare()
    try:
        sys.exit(_run(sys.argv[1:]))
    except NoStdout as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:  # before anything was started that needs cleaning up
        sys.exit(130)
    finally:
        finish()


def _run(arguments: list[str]) -> int:
    if arguments in (["--version"], ["-V"]):
        from dagan_cli.version import __version__

        echo(f"dagan {__version__}")
        return 0
    arguments = with_verb(arguments) or ["--help"]
    if arguments[0] == "upscale":
        gc.disable()  # importing makes hardly any garbage; the command enables it before its work
    from dagan_cli.commands.app import run_command

    escape_messages()
    return run_command(arguments)


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
    program()
