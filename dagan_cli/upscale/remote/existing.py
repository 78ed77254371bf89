"""Results that are in a store already: found by name, and compared by the record in them, read in parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dagan_cli.files import open_regular
from dagan_cli.media.images.formats import format_of_suffix
from dagan_cli.media.made.beside import MOST, path_beside, record_of, write_beside
from dagan_cli.media.made.identity import identity_in
from dagan_cli.media.made.record import SOURCE, from_text, to_text
from dagan_cli.media.made.stored import record_in
from dagan_cli.media.remote.address import HTTP, Address, unsafe_name
from dagan_cli.media.remote.fetch import RemoteFile
from dagan_cli.media.remote.patience import Permanent, patiently
from dagan_cli.media.remote.store import Facts, Stores
from dagan_cli.upscale.made import known_result
from dagan_cli.upscale.remote.sources import STREAM, Entry, as_output_error
from dagan_cli.upscale.remote.spool import create
from dagan_cli.upscale.request import Request
from dagan_cli.upscale.work import Engines


@dataclass(frozen=True, slots=True)
class Existing:
    """A file where the result of an input could go."""

    name: str
    record: dict[str, str] | None  # None: dagan did not make it


@dataclass(frozen=True, slots=True)
class Looked:
    """An input and what is where its result goes, before it is fetched."""

    size: int | None  # bytes of the input
    existing: tuple[Existing, ...] = ()
    identity: str = ""  # of the input, where an existing result has been made from a file of its size
    is_earlier: bool = False  # it is the result of another input


def look(entry: Entry, request: Request, stores: Stores, has_source: bool, should_stop: Callable[[], bool]) -> Looked:
    """Look at an input and at existing results, which takes a few small requests.

    Raises Permanent, CannotWrite for the place of the result, and Cancelled.
    """
    place, size, target = entry.place, entry.size, entry.target
    facts = None
    if isinstance(place, Address) and (size is None or has_source):
        facts = _facts(place, stores, should_stop)
        size = facts.size
        if has_source and _record(place, facts, stores, should_stop) is not None:
            return Looked(size, is_earlier=True)
    if target is None or request.overwrite:
        return Looked(size)
    try:
        existing = tuple(_existing(entry, target, request, stores, should_stop))
    except Permanent as error:
        raise as_output_error(target.shown, error) from None
    sizes = {each.record[SOURCE].partition("-")[0] for each in existing if each.record}
    identity = _identity(place, facts, stores, should_stop) if str(size) in sizes else ""
    return Looked(size, existing, identity)


def _facts(place: Address, stores: Stores, should_stop: Callable[[], bool]) -> Facts:
    facts = patiently(lambda: stores.of(place).look(place), should_stop)
    if facts is None:
        hint = "check the name, and that these credentials may see it"
        if place.protocol in HTTP:
            hint = "name each file: a web server expands no patterns" if "*" in place.path else "check the address"
        raise Permanent("there is no such file", hint)
    return facts


def finished(entry: Entry, looked: Looked, request: Request, engines: Engines) -> tuple[Address, str] | None:
    """Return the result of an input, and its model, if it exists and is that of this run. Raises BadModel.

    None is also what is only known when the input is read: what the name of its result is, for example.
    """
    if entry.target is None:
        return None
    for each in looked.existing:
        suffix = PurePosixPath(each.name).suffix.lower()
        place = entry.target if entry.root.out_is_file else entry.target.child(each.name)
        is_due = entry.root.out_is_file or entry.kind == "video" or suffix == _usual_suffix(entry, request)
        if not is_due:
            continue
        if request.skip_existing:
            if entry.kind == "picture" or entry.root.out_is_file:
                return place, ""
        elif each.record and looked.identity:
            model = known_result(each.record, looked.identity, entry.kind, Path(each.name), request, engines)
            if model is not None:
                return place, model
    return None


def stand_in(existing: Existing, folder: Path) -> Path:
    """Write an empty file in place of an existing result, with the record of that; return its path."""
    path = folder / existing.name
    with create(path) as file:
        if existing.record:
            write_beside(path, file, to_text(existing.record))
    return path


def _existing(
    entry: Entry, target: Address, request: Request, stores: Stores, should_stop: Callable[[], bool]
) -> list[Existing]:
    store = stores.of(target)
    if entry.root.out_is_file:
        facts = patiently(lambda: store.look(target), should_stop)
        return [Existing(target.name, _record(target, facts, stores, should_stop))] if facts else []
    template = request.template
    prefix = f"{entry.stem}_" if template is None else entry.stem if template.text.startswith("{stem}") else ""
    listed = list(store.names(target, recursive=False, prefix=prefix))
    names = [each.relative for each in listed if not each.is_folder and _may_be_result(each.relative, entry, request)]
    found = []
    for name in names:
        place = target.child(name)
        if facts := patiently(lambda place=place: store.look(place), should_stop):
            record = None if request.skip_existing else _record(place, facts, stores, should_stop)
            found.append(Existing(name, record))
    return found


def _may_be_result(name: str, entry: Entry, request: Request) -> bool:
    """True if the result of an input may have this name, which a file of the spool gets too."""
    if "/" in name or unsafe_name(name):
        return False
    stem = PurePosixPath(name).stem
    kinds = {entry.stem, f"{entry.stem}_{PurePosixPath(entry.name).suffix[1:]}"}
    if request.template is None:
        part = f"_{request.part.name}" if request.part.name else ""
        return stem in {f"{each}_{request.goal.name}{end}" for each in kinds for end in {"", part}}
    pattern = request.template.pattern
    found = pattern.fullmatch(stem) if pattern else None
    return pattern is None or (found is not None and found["stem"].lower() in {each.lower() for each in kinds})


def _usual_suffix(entry: Entry, request: Request) -> str:
    """Return the suffix that the result of an image has, unless the input is in a format that is not written."""
    own = PurePosixPath(entry.name).suffix.lower()
    form = format_of_suffix(f".{request.format}") if request.format else None
    return own if form is None or form is format_of_suffix(own) else form.suffixes[0]


def _record(place: Address, facts: Facts, stores: Stores, should_stop: Callable[[], bool]) -> dict[str, str] | None:
    """Return the record in a remote file, or in the hidden one next to it. Raises Permanent and Cancelled."""
    if not (facts.size and facts.in_ranges):
        return None
    store = stores.of(place)
    with RemoteFile(store, place, facts, should_stop) as file:
        try:
            # Decoders read with a lock that the main thread needs too: no server may hold that.
            found = file.without_waiting(lambda: record_in(file, place.name))  # type: ignore[arg-type]
        except OSError:  # it changed
            found = None
        if file.error is not None:
            raise file.error
        if found is not None:
            return found
        hidden = place.parent.child(path_beside(Path(place.name)).name)
        known = patiently(lambda: store.look(hidden), should_stop)
        if known is None or known.size is None or known.size > MOST:
            return None
        with RemoteFile(store, hidden, known, should_stop) as beside, suppress(OSError):  # it changed
            return from_text(record_of(beside.read(), lambda: identity_in(file)))  # type: ignore[arg-type]
        return None


def _identity(place: Address | Path, facts: Facts | None, stores: Stores, should_stop: Callable[[], bool]) -> str:
    """Return the identity of an input by its content; "" if parts of it cannot be read."""
    if isinstance(place, Path):
        if place == Path(STREAM):
            return ""
        with open_regular(place) as local:
            return identity_in(local)
    facts = facts or _facts(place, stores, should_stop)
    if facts.size is None or not facts.in_ranges:
        return ""
    with RemoteFile(stores.of(place), place, facts, should_stop) as file, suppress(OSError):  # it changed
        return identity_in(file)  # type: ignore[arg-type]
    return ""
