"""Download models from the Hugging Face Hub, and upload them: the only module that imports huggingface_hub.

The library's own download is not used. As of version 2.4 it waits for minutes on a silent server, accepts any content
of the right length, and loses the received part of a file when it is interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from dagan_cli.errors import BadModel, CannotWrite
from dagan_cli.version import __version__
from weights.cache import Cache, Fetched, matches, sha256_of
from weights.reference import Reference, is_commit

Tell = Callable[[str, int, int | None], None]  # file name, bytes received, total bytes if known
T = TypeVar("T")

LARGEST = 2**30  # bytes; as `checkpoint.LARGEST`
_LATER = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may be temporary
_WAITS = (0.5, 1.0, 2.0)  # seconds before each retry; then it is an error
_SLOWEST = 50_000  # bytes per second; slower uploads time out
_ENOUGH = 2**16  # bytes; a connection that delivered this many does not count as failed


def cached(reference: Reference) -> Fetched | None:
    """Return the file if it is cached and complete; no request is made. A branch means its last known commit."""
    return _cache().find(reference)


def fetch(
    reference: Reference, *, sha256: str | None = None, tell: Tell | None = None, update: bool = False
) -> Fetched:
    """Return the file from the cache, else from the Hub; with `update`, get the newest commit of a branch.

    A cached file needs no request. An interrupted download continues where it stopped, now or in another run; no file
    gets a name in the cache before its content matches the etag, and `sha256` if given.
    Raises BadModel for all failures of the network and the Hub, in bounded time; CannotWrite for the cache.
    """
    if not update and (found := cached(reference)) and sha256 in (None, sha256_of(found.path)):
        return found
    if _constants().HF_HUB_OFFLINE:
        raise BadModel(
            f"{reference} is not in the cache, and HF_HUB_OFFLINE is set",
            hint="unset it to download the model, or use one of `dagan models list`",
        )
    try:
        with _plain_errors(reference):
            commit, etag, size = _within(2 * _constants().HF_HUB_ETAG_TIMEOUT, lambda: _look_up(reference))
    except OSError as error:
        raise _unwritable(error) from error
    pinned = Reference(reference.repository, commit, reference.file)
    if sha256 is not None and len(etag) == 64 and etag != sha256:
        raise BadModel(
            f"{reference} has changed: its sha256 is {etag[:12]}..., not {sha256[:12]}...",
            hint=f"update dagan, or use the new file: -n {pinned}",
        )
    if size is not None and size > LARGEST:
        raise BadModel(f"{reference} is larger than any dagan model", hint="use another file")

    try:
        with _cache().place(reference, commit, etag) as blob:
            if not (blob.is_file() and matches(blob, etag)):
                with _plain_errors(reference):
                    _download(pinned, blob, etag, size, tell)
            if sha256 is not None and sha256_of(blob) != sha256:
                blob.unlink()
                raise _corrupt(reference)
    except OSError as error:
        raise _unwritable(error) from error
    return Fetched(_cache().path(pinned), pinned)


def has_token() -> bool:
    """True if the user has set a token: HF_TOKEN, or `hf auth login`."""
    return bool(_library().get_token())


def upload(repository: str, files: dict[str, bytes], *, message: str, private: bool) -> str:
    """Write files, by name, to a repository in one commit, and create it if needed. Returns the commit.

    With `private`, an existing public repository is refused. Raises BadModel.
    """
    library = _library()
    if _constants().HF_HUB_OFFLINE:
        raise BadModel(f"cannot upload to {repository}: HF_HUB_OFFLINE is set", hint="unset it")
    if not has_token():
        raise BadModel(
            f"uploading to {repository} needs a token",
            hint="set HF_TOKEN to one with write access: https://huggingface.co/settings/tokens",
        )
    api = library.HfApi(library_name="dagan", library_version=__version__)
    limit = _constants().HF_HUB_DOWNLOAD_TIMEOUT
    library.get_session().timeout = 3 * limit  # per response; the library itself sets no timeout

    def send() -> str:
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise BadModel(f"{repository} is already public", hint="use another repository, or leave out --private")
        operations = [library.CommitOperationAdd(name, data) for name, data in files.items()]
        return api.create_commit(repository, operations, commit_message=message).oid

    with _plain_errors(Reference(repository), verb="write to"):
        return _within(6 * limit + sum(map(len, files.values())) / _SLOWEST, send)


def _constants() -> Any:
    """Import huggingface_hub.constants, its settings from the environment. Raises BadModel.

    Telemetry (which makes requests), progress bars and Xet are off unless the user has turned them on.
    """
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_XET"):
        os.environ.setdefault(name, "1")
    try:
        from huggingface_hub import constants
    except ValueError as error:  # an invalid address or number
        what = f"invalid settings for the Hub: {error}"
        raise BadModel(what, hint="check HF_ENDPOINT, HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT") from error
    return constants


def _library() -> Any:
    """Import huggingface_hub; `_constants` alone takes a tenth of the time."""
    _constants()
    import huggingface_hub
    import huggingface_hub.errors
    import huggingface_hub.utils

    huggingface_hub.logging.set_verbosity_error()
    return huggingface_hub


def _cache() -> Cache:
    return Cache(Path(_constants().HF_HUB_CACHE), lambda lock: _library().utils.WeakFileLock(lock))


def _headers() -> dict[str, str]:
    """Return the headers of Hugging Face's tools: the user's token, if any, and the user agent."""
    headers = _library().utils.build_hf_headers(library_name="dagan", library_version=__version__)
    return headers | {"Accept-Encoding": "identity"}


def _look_up(reference: Reference) -> tuple[str, str, int | None]:
    """Return commit, etag and size of the file. Raises the library's errors, and BadModel if it is not the Hub."""
    library = _library()
    url = library.hf_hub_url(reference.repository, reference.file, revision=reference.revision)
    timeout = _constants().HF_HUB_ETAG_TIMEOUT
    facts = _patiently(lambda: library.get_hf_file_metadata(url, timeout=timeout, headers=_headers()))
    if not is_commit(facts.commit_hash or "") or not facts.etag:
        raise BadModel(
            f"{_constants().ENDPOINT} does not respond like the Hub",
            hint="check HF_ENDPOINT, and whether a proxy requires a login",
        )
    etag = facts.etag.lower()
    named_by_content = len(etag) in (40, 64) and set(etag) <= set("0123456789abcdef")
    return facts.commit_hash, etag if named_by_content else f"etag-{sha256(etag.encode()).hexdigest()[:40]}", facts.size


def _download(reference: Reference, blob: Path, etag: str, size: int | None, tell: Tell | None) -> None:
    """Fill the blob. A partial file from an earlier run is tried once, then downloaded again."""
    part = blob.with_name(f"{etag}.incomplete")
    for _ in range(2):
        _receive(reference, part, size, tell)
        if (size is None or part.stat().st_size == size) and matches(part, etag):
            part.replace(blob)
            return
        part.unlink()
    raise _corrupt(reference)


def _receive(reference: Reference, part: Path, size: int | None, tell: Tell | None) -> None:
    """Append to the partial file until it has its size. Raises the library's error if no more data arrives."""
    library, http = _library(), _http()
    url = library.hf_hub_url(reference.repository, reference.file, revision=reference.revision)
    tries, reported, name = 0, 0.0, f"{reference.repository}/{reference.file}"
    while True:
        have = before = part.stat().st_size if part.is_file() else 0
        if size is not None and have >= size:
            return
        try:
            headers = _headers() | ({"Range": f"bytes={have}-"} if have else {})
            timeout = _constants().HF_HUB_DOWNLOAD_TIMEOUT
            with library.get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
                if have and response.status_code == 416:  # the file is shorter now, or complete
                    return
                library.utils.hf_raise_for_status(response)
                resumes = have > 0 and response.status_code == 206
                have = have if resumes else 0
                with part.open("ab" if resumes else "wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                        have += len(chunk)
                        if have > (size or LARGEST):
                            return
                        if tell and time.monotonic() - reported > 0.1:
                            reported = time.monotonic()
                            tell(name, have, size)
                        if not resumes and have - len(chunk) < 2**20:
                            file.flush()
                            _refuse_foreign(reference, part)
            if size is None or have == size:
                if tell:
                    tell(name, have, have)
                return
        except http.HTTPError as error:
            silent = isinstance(error, http.TimeoutException) and have <= before
            if silent or tries == len(_WAITS) or _status(error) not in (None, *_LATER):
                raise
        if tries == len(_WAITS):
            raise BadModel(f"the download of {reference} was interrupted", hint="run the same command to continue")
        time.sleep(_WAITS[tries])
        tries = tries + 1 if have - before < _ENOUGH else 0


def _refuse_foreign(reference: Reference, part: Path) -> None:
    """Stop the download of a file whose header is not that of a dagan model. Loading checks the rest."""
    with part.open("rb") as file:
        size = int.from_bytes(start, "little") if len(start := file.read(8)) == 8 else None
        if size is None:
            return
        header = file.read(min(size, 2**20))
    if 2 <= size <= 2**20:
        if len(header) < size:
            return
        with suppress(ValueError, RecursionError, KeyError, TypeError):
            if "dagan" in json.loads(header)["__metadata__"]:
                return
    part.unlink()
    raise BadModel(
        f"{reference} is not a dagan model",
        hint="its header has no generator config; `dagan models list` shows dagan models",
    )


def _unwritable(error: OSError) -> CannotWrite:
    return CannotWrite(
        f"cannot use the cache {_constants().HF_HOME}: {(error.strerror or str(error)).lower()}",
        hint="free some space, or set HF_HOME to another folder",
    )


def _corrupt(reference: Reference) -> BadModel:
    return BadModel(
        f"the download of {reference} is damaged: its content does not match its checksum",
        hint="it was deleted; try again, or without a proxy",
    )


def _patiently(call: Callable[[], T]) -> T:
    """Retry up to three times if the server reports a temporary error."""
    for wait in _WAITS:
        try:
            return call()
        except _http().HTTPError as error:
            if _status(error) not in _LATER:
                raise
        time.sleep(wait)
    return call()


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Return the call's result within a time: socket timeouts limit neither DNS lookups nor slow responses."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise _http().TimeoutException(f"no answer within {seconds} s")
    return results[0]


def _http() -> Any:
    """Return the HTTP library in use: httpx or httpx2, depending on huggingface_hub's version."""
    base = _library().errors.HfHubHTTPError.__mro__[1]
    return sys.modules[base.__module__.partition(".")[0]]


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return None if response is None else response.status_code


@contextmanager
def _plain_errors(reference: Reference, *, verb: str = "read") -> Iterator[None]:
    """Turn errors of the library and the network into BadModel, with a message for the user."""
    library = _library()
    names, endpoint, repository = library.errors, _constants().ENDPOINT, reference.repository
    try:
        yield
    except names.GatedRepoError as error:
        hint = f"ask for access at {endpoint}/{repository}, then set HF_TOKEN"
        raise BadModel(f"access to {repository} is restricted by its owner", hint=hint) from error
    except names.RepositoryNotFoundError as error:
        hint = "check the name; for a private one, set HF_TOKEN"
        raise BadModel(f"{endpoint} has no repository {repository}, or it is private", hint=hint) from error
    except names.RevisionNotFoundError as error:
        hint = f"leave out @{reference.revision} for the newest, or use a branch, tag or commit"
        raise BadModel(f"{repository} has no revision {reference.revision}", hint=hint) from error
    except names.EntryNotFoundError as error:
        others = _others(reference)
        hint = f"it has {others}" if others else "the repository has no .safetensors file"
        raise BadModel(f"{repository} has no file {reference.file} at {reference.revision}", hint=hint) from error
    except (_http().HTTPError, _http().InvalidURL, RuntimeError, ValueError) as error:
        status = _status(error) or _status(error.__cause__ or error)
        if status in (401, 403):
            what = f"{endpoint} denies permission to {verb} {repository}"
            raise BadModel(what, hint=f"set HF_TOKEN to a token with permission to {verb} it") from error
        if status is not None:
            what, hint = f"{endpoint} returned HTTP error {status}", "try again later"
        else:
            what, hint = f"{endpoint} does not respond ({type(error).__name__})", "check the connection and HF_ENDPOINT"
        raise BadModel(what, hint=f"{hint}; the models in the package need no network") from error


def _others(reference: Reference) -> str:
    """List the repository's .safetensors files, for a hint; empty if they cannot be listed."""
    library = _library()
    seconds = _constants().HF_HUB_ETAG_TIMEOUT
    try:
        api = library.HfApi(library_name="dagan", library_version=__version__)
        ask = lambda: api.model_info(reference.repository, revision=reference.revision, timeout=seconds)  # noqa: E731
        names = [entry.rfilename for entry in _within(seconds, ask).siblings or ()]
    except Exception:  # this only enriches the hint of an error that is already being reported
        return ""
    return ", ".join(name for name in names if name.endswith(".safetensors"))[:200]
