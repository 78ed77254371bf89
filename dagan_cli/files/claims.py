"""Claims on outputs: each output has one owner at a time among all threads, processes and machines of dagan.

A claim is a hidden file next to the output. It names its owner, who holds a lock on it and refreshes its time. Three
things tell whether the owner of a claim is gone:

- On one machine, the lock does, exactly and at once: the system releases it when the process ends, however it ends.
  It also holds between containers; those with host names of their own wait for the time once it is released.
- On one machine whose file system has no locks, the process does: whether it is still there.
- Between machines, where a lock may hold or not, the time does: a claim that was not refreshed for EXPIRY seconds has
  no owner. It is compared with the time of a new file next to it, so that clocks of machines do not matter.

A claim without an owner is taken over by renaming it, which only one process can do; it is put back if it is not the
one that was found without an owner. An owner that was asleep until its claim was gone notices that before it changes
anything that has a new owner: see `Claim.require`.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from dagan_cli.errors import CannotWrite
from dagan_cli.files.folder import Folder, tag_of, write_errors

try:
    import fcntl
except ImportError:  # not on this system: then processes and times decide
    fcntl = None

EXPIRY = 60.0  # seconds without a refresh after which a claim of another machine has no owner
REFRESH = 5.0  # seconds between refreshes
_MAKING = 1.0  # seconds in which a new claim gets its content
_POLL = 0.1  # seconds
_HEADING = b"dagan lock: "
_NOTE = re.compile(
    r"process (\d{1,10}) on ([\w.-]{1,255}), started (\d{0,20}), system ([0-9a-f]{16}), processes (\d{1,20}), "
    r"token ([0-9a-f]{16})",
    re.ASCII,
)
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)  # of file systems that have none
_acting = threading.local()  # `owner`: the thread whose outputs this one owns too


class Taken(CannotWrite):
    """Another process or thread owns the output."""


class Lost(CannotWrite):
    """Another process took the output over, as this one was asleep for too long."""


class _Note(NamedTuple):
    """Content of a claim: its owner."""

    process: int
    host: str
    started: str  # time of the process's start in ticks of its system; "" if unknown
    system: str  # the machine since its last start
    processes: str  # number of the table that the process is in: containers have their own
    token: str  # no other claim has it

    def encoded(self) -> bytes:
        who = f"process {self.process} on {self.host}, started {self.started}"
        where = f"system {self.system}, processes {self.processes}"
        return _HEADING + f"{who}, {where}, token {self.token}".encode()


class Claim:
    """A claim of this process. Raises OSError."""

    def __init__(self, folder: Folder, name: str, file: int) -> None:
        self.note = _Note(os.getpid(), _host(), _own_start(os.getpid()), _system(), _processes(), token_hex(8))
        self.uses = 1  # by the thread that owns it
        self._folder, self._name, self._file = folder, name, file
        os.ftruncate(file, 0)
        os.pwrite(file, self.note.encoded(), 0)

    def is_held(self) -> bool:
        """True unless another process took it over."""
        try:
            file = self._folder.open(self._name, os.O_RDONLY)  # which asks the server, where one stores the folder
        except FileNotFoundError:
            return False
        try:
            return os.path.samestat(os.fstat(file), os.fstat(self._file)) and _read(file) == self.note
        finally:
            os.close(file)

    def require(self, target: Path) -> None:
        """Raise Lost if another process took `target` over: call it before anything that others see is changed."""
        if self.is_held():
            return
        folder = self._folder.path
        if not os.path.samestat(folder.stat(), self._folder.facts(".")):  # it was removed, and perhaps made again
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        what = f"another dagan took over {target}, as this one had stopped for {EXPIRY:.0f} seconds or longer"
        raise Lost(what, hint="run the same command again: it does what is left")

    def refresh(self) -> None:
        """Set the time of the claim, by the clock of its file system."""
        with suppress(OSError):  # the next one may succeed
            if os.utime in os.supports_fd:
                os.utime(self._file)
            else:
                os.pwrite(self._file, self.note.encoded(), 0)

    def release(self) -> None:
        """Remove the claim, unless it is another's by now."""
        with suppress(OSError):  # the folder does not exist any more
            if self.is_held():
                self._folder.remove(self._name)
        os.close(self._file)


class _Keeper:
    """All claims of this process, which one thread refreshes; it ends when there are none."""

    def __init__(self) -> None:
        self.held: dict[tuple[object, ...], Claim] = {}  # by process, thread and output
        self._tokens: dict[str, Claim] = {}
        self._process = os.getpid()
        self._refreshes = False
        self._lock = threading.Lock()

    def add(self, claim: Claim) -> None:
        if self._process != os.getpid():  # after a fork: the claims, the thread and its lock are those of the parent
            self._process, self._tokens, self._refreshes, self._lock = os.getpid(), {}, False, threading.Lock()
        with self._lock:
            self._tokens[claim.note.token] = claim
            if not self._refreshes:
                self._refreshes = True
                threading.Thread(target=self._refresh, name="dagan-claims", daemon=True).start()

    def release(self, claim: Claim) -> None:
        with self._lock:  # so that no closed file is refreshed
            self._tokens.pop(claim.note.token, None)
            claim.release()

    def has(self, token: str) -> bool:
        return self._process == os.getpid() and token in self._tokens

    def _refresh(self) -> None:
        while True:
            time.sleep(REFRESH)
            with self._lock:
                for claim in self._tokens.values():
                    claim.refresh()
                if not self._tokens:
                    self._refreshes = False
                    return


_keeper = _Keeper()


@contextmanager
def owned(target: Path, *, patience: float = 0.0) -> Iterator[Claim]:
    """Own `target` among all of dagan; its folder is made if missing. A thread may own it twice.

    The claim is removed at the end. That of a process that was killed stays, and the next owner removes what it left.
    Raises Taken if it is owned for longer than `patience` seconds, CannotWrite.
    """
    with write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with Folder.opened(target.parent) as folder:
            here = folder.facts(".")
            thread = getattr(_acting, "owner", threading.get_ident())
            key = (os.getpid(), thread, here.st_dev, here.st_ino, target.name)
            if (claim := _keeper.held.get(key)) is not None:
                claim.uses += 1
                try:
                    yield claim
                finally:
                    claim.uses -= 1
                return
            claim = _claimed(folder, target, time.monotonic() + patience)
            _keeper.held[key] = claim
            try:
                yield claim
            finally:
                del _keeper.held[key]
                _keeper.release(claim)


@contextmanager
def acting_for(thread: int) -> Iterator[None]:
    """Own in this thread what the other `thread` owns and has handed over; it must not write it at the same time."""
    _acting.owner = thread
    try:
        yield
    finally:
        del _acting.owner


def tidy(target: Path) -> None:
    """Remove what a killed process left next to `target`, unless it is owned."""
    with suppress(OSError, CannotWrite):
        target.with_name(_name_for(target)).lstat()
        with owned(target):
            pass


def _name_for(target: Path) -> str:
    return f".dagan-{tag_of(target)}.lock"


def _claimed(folder: Folder, target: Path, until: float) -> Claim:
    """Return a new claim, once no other one is there. Raises Taken, CannotWrite for a foreign file of that name."""
    name, has_remains = _name_for(target), False
    until_named = max(until, time.monotonic() + _MAKING)
    while True:
        file, is_new = _claim_file(folder, name)
        claim, note, is_left = None, None, False
        try:
            lock = _try_lock(file, patience=_MAKING if is_new else 0.0)
            note = _read(file)
            is_left = lock is not False and (is_new or _is_left(folder, file, note, has_lock=lock is True))
            if is_left and (is_new or (lock and note is not None and note.system == _system())):
                claim = Claim(folder, name, file)
                if claim.is_held():  # else the name was renamed, or removed by its last owner
                    if has_remains or not is_new:
                        _remove_parts(folder, target)
                    _keeper.add(claim)
                    return claim
                claim = None
            elif is_left:
                has_remains = _moved_away(folder, name, target, file, note) or has_remains
        finally:
            if claim is None:
                os.close(file)
        if not is_left:
            if time.monotonic() >= (until if note else until_named):  # one that is being made says soon whose it is
                raise Taken(f"{_holder(note)} is writing {target}", hint="wait for it, or stop it")
            time.sleep(_POLL)


def _claim_file(folder: Folder, name: str) -> tuple[int, bool]:
    """Return the open file of a claim, and True if it is new. Raises CannotWrite for a foreign file of that name."""
    try:
        return folder.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
    except FileExistsError:
        pass
    try:
        file = folder.open(name, os.O_RDWR)
    except FileNotFoundError as error:  # its owner has just removed it; a file that is created here would be nobody's
        if os.path.islink(folder.path / name):
            raise _foreign(folder.path / name) from error
        return _claim_file(folder, name)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO):  # BSD: EMLINK for a link
            raise
        raise _foreign(folder.path / name) from error
    facts = os.fstat(file)
    if facts.st_nlink > 1:  # it may be just put back
        time.sleep(_POLL)
        facts = os.fstat(file)
    content = os.pread(file, 512, 0) if stat.S_ISREG(facts.st_mode) else b"?"
    if facts.st_nlink > 1 or (content and not content.startswith(_HEADING)):
        os.close(file)
        raise _foreign(folder.path / name)
    return file, False


def _foreign(path: Path) -> CannotWrite:
    return CannotWrite(f"{path} is in the way, and dagan did not make it", hint="remove it, or write elsewhere")


def _try_lock(file: int, patience: float) -> bool | None:
    """Lock the file; return False if another process has locked it for `patience` seconds, None if there are no locks.

    Others lock a new claim for a moment too, to see whose it is.
    """
    if fcntl is None:
        return None
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.001)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return None


def _read(file: int) -> _Note | None:
    """Return the content of a claim; None if it is not written yet."""
    text = os.pread(file, 512, 0).removeprefix(_HEADING).decode("ascii", "replace")
    found = _NOTE.fullmatch(text)
    return found and _Note(int(found[1]), *found.groups()[1:])


def _is_left(folder: Folder, file: int, note: _Note | None, *, has_lock: bool) -> bool:
    """True if the owner of a claim is gone; `has_lock` if this process holds the lock on it."""
    if note is None:
        return abs(_age(folder, file)) > _MAKING
    if _keeper.has(note.token):
        return False
    if note.system == _system():
        lives = False if has_lock else _lives(note)
        if lives is not None:
            return not lives
    return abs(_age(folder, file)) > EXPIRY  # nobody refreshes it, if it is of the future


def _age(folder: Folder, file: int) -> float:
    """Return the seconds since a claim was refreshed, by the clock of its file system."""
    before, probe = os.fstat(file).st_mtime, f".dagan-{token_hex(8)}.part"
    try:
        with folder.create(probe) as new:
            return os.fstat(new.fileno()).st_mtime - before
    finally:
        folder.remove(probe)


def _moved_away(folder: Folder, name: str, target: Path, file: int, note: _Note | None) -> bool:
    """Free the name of a claim without an owner; return False, and put it back, if it is another one by now."""
    found, apart = os.fstat(file), f".dagan-{tag_of(target)}.{token_hex(8)}.part"
    try:
        folder.rename(name, apart)
    except FileNotFoundError:
        return False
    is_same = False
    with suppress(OSError), folder.read(apart) as moved:
        facts = os.fstat(moved.fileno())
        is_same = os.path.samestat(facts, found) and facts.st_mtime_ns == found.st_mtime_ns
        is_same = is_same and _read(moved.fileno()) == note
    if not is_same:
        with suppress(FileExistsError):  # then its owner notices
            folder.rename(apart, name, replace=False)
    folder.remove(apart)
    return is_same


def _remove_parts(folder: Folder, target: Path) -> None:
    """Remove the temporary files of owners that were killed."""
    part = re.compile(re.escape(f".dagan-{tag_of(target)}.") + r"[0-9a-f]{16}\.part(\..*)?", re.DOTALL)
    for name in folder.names():
        if part.fullmatch(name):
            folder.remove(name)


def _holder(note: _Note | None) -> str:
    return "another dagan process" if note is None else f"another dagan (process {note.process} on {note.host})"


@cache
def _host() -> str:
    return re.sub(r"[^\w.-]", "-", socket.gethostname(), flags=re.ASCII)[:255] or "unknown"


@cache
def _system() -> str:
    """Return what identifies this machine since its last start: names of machines repeat."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = str(uuid.getnode())
    return sha256(f"{socket.gethostname()} {boot}".encode()).hexdigest()[:16]


@cache
def _processes() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return "0"


@cache
def _own_start(process: int) -> str:
    return _started(process) or ""


def _started(process: int) -> str | None:
    """Return the time of a process's start, in ticks; "" for one that has ended, None where the system does not say."""
    try:
        state, *facts = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if state in "ZX" else facts[18]  # fields 3 and 22: see proc(5)
    except (OSError, ValueError, IndexError):
        return None


def _lives(note: _Note) -> bool | None:
    """True if the owner of a claim of this system is there, None if the system does not say."""
    if fcntl is None or not note.process or note.processes != _processes():
        return None
    try:
        os.kill(note.process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    started = _started(note.process)
    return None if started is None or not note.started else started == note.started
