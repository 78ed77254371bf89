"""Errors for the user: what failed, what to try next, and the exit code. Imports nothing."""


class DaganError(Exception):
    """A failure the user can do something about; `hint` is the next thing to try."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(what)
        self.hint = hint
        self.add_note(f"try: {hint}")  # shown below the error in the traceback of a Python program

    def __reduce__(self) -> tuple[object, ...]:
        return _restored, (type(self), self.args, self.__dict__)  # as it takes more than `args` to make one


class BadInput(DaganError):
    """A file that cannot be read, or holds nothing that can be upscaled."""


class BadOption(DaganError):
    """An option that is invalid, alone or combined with another one."""

    exit_code = 2


class NoInput(DaganError):
    """The command line names no usable input."""

    exit_code = 3


class BadModel(DaganError):
    """A model that is missing, damaged, of another kind, or not reachable."""

    exit_code = 4


class OutOfMemory(DaganError):
    """Even the smallest tile, or the images to train on, do not fit."""

    exit_code = 5


class CannotWrite(DaganError):
    """The output could not be written: disk full, read-only, not permitted, encoder failed."""

    exit_code = 6

    def __init__(self, what: str, *, hint: str, ends_the_batch: bool = False) -> None:
        super().__init__(what, hint=hint)
        self.ends_the_batch = ends_the_batch  # a full disk is full for all later outputs too


class Mismatch(DaganError):
    """An output does not preserve what its input contains."""

    exit_code = 7


def _restored(kind: type[DaganError], arguments: tuple[object, ...], facts: dict[str, object]) -> DaganError:
    """Return an error that another process has raised."""
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(facts)
    return error
