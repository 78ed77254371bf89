"""Models from the Hugging Face Hub, and to it: the only module that imports huggingface_hub.

The library's own download is not used. As of version 2.4 it waits for minutes on a server that says nothing, accepts
any content of the right length, and forgets what it has of a file when it is stopped.
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

Tell = Callable[[str, int, int | None], None]  # what is fetched, bytes done, bytes in all where known
T = TypeVar("T")

LARGEST = 2**30  # bytes; as `checkpoint.LARGEST`
_LATER = (408, 429, 500, 502, 503, 504)  # statuses that may be others a moment later
_WAITS = (0.5, 1.0, 2.0)  # seconds before another try; then it is an error
_SLOWEST = 50_000  # bytes a second, of an upload that is waited for
_ENOUGH = 2**16  # bytes; a connection that brought so many has not failed


def cached(reference: Reference) -> Fetched | None:
    """The file, if it is in the cache and whole; no request is made. A branch means the commit it was last seen at."""
    return _cache().find(reference)


def fetch(
    reference: Reference, *, sha256: str | None = None, tell: Tell | None = None, update: bool = False
) -> Fetched:
    """The file from the cache, else from the Hub; with `update`, a branch is asked for its newest commit.

    What is in the cache is taken without any request. A download that was cut goes on where it stopped, now or in
    another run; nothing gets a name in the cache before its content is that of the etag, and of `sha256` where given.
    Raises BadModel for all that the network and the Hub can do, in bounded time; CannotWrite for the cache.
    """
    if not update and (found := cached(reference)) and sha256 in (None, sha256_of(found.path)):
        return found
    if _constants().HF_HUB_OFFLINE:
        raise BadModel(
            f"{reference} is not in the cache, and HF_HUB_OFFLINE is set",
            hint="unset it to fetch the model, or name one of `dagan models list`",
        )
    try:
        with _plain_errors(reference):
            commit, etag, size = _within(2 * _constants().HF_HUB_ETAG_TIMEOUT, lambda: _look_up(reference))
    except OSError as error:
        raise _unwritable(error) from error
    pinned = Reference(reference.repository, commit, reference.file)
    if sha256 is not None and len(etag) == 64 and etag != sha256:
        raise BadModel(
            f"{reference} is another file by now: its sha256 is {etag[:12]}..., not {sha256[:12]}...",
            hint=f"update dagan, or name it as it is: -n {pinned}",
        )
    if size is not None and size > LARGEST:
        raise BadModel(f"{reference} is larger than any dagan model", hint="name another file")

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
    """Whether the user has given one: HF_TOKEN, or `hf auth login`."""
    return bool(_library().get_token())


def upload(repository: str, files: dict[str, bytes], *, message: str, private: bool) -> str:
    """Write files, by name, to a repository in one commit, and make it if there is none. Returns the commit.

    With `private`, a repository that is public already is refused. Raises BadModel.
    """
    library = _library()
    if _constants().HF_HUB_OFFLINE:
        raise BadModel(f"cannot upload to {repository}: HF_HUB_OFFLINE is set", hint="unset it")
    if not has_token():
        raise BadModel(
            f"uploading to {repository} needs a token",
            hint="set HF_TOKEN to one that may write: https://huggingface.co/settings/tokens",
        )
    api = library.HfApi(library_name="dagan", library_version=__version__)
    limit = _constants().HF_HUB_DOWNLOAD_TIMEOUT
    library.get_session().timeout = 3 * limit  # of one answer; the library itself sets none

    def send() -> str:
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise BadModel(f"{repository} is public already", hint="name another repository, or leave out --private")
        operations = [library.CommitOperationAdd(name, data) for name, data in files.items()]
        return api.create_commit(repository, operations, commit_message=message).oid

    with _plain_errors(Reference(repository), verb="write to"):
        return _within(6 * limit + sum(map(len, files.values())) / _SLOWEST, send)


def _constants() -> Any:
    """What huggingface_hub takes from the environment. Its telemetry, for which it makes requests, its bars and its
    second protocol are switched off, unless the user has switched them on."""
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_XET"):
        os.environ.setdefault(name, "1")
    try:
        from huggingface_hub import constants
    except ValueError as error:  # of an address, or of a number
        what = f"the settings for the Hub cannot be read: {error}"
        raise BadModel(what, hint="check HF_ENDPOINT, HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT") from error
    return constants


def _library() -> Any:
    """huggingface_hub; `_constants` costs a tenth of its time."""
    _constants()
    import huggingface_hub
    import huggingface_hub.errors
    import huggingface_hub.utils

    huggingface_hub.logging.set_verbosity_error()
    return huggingface_hub


def _cache() -> Cache:
    return Cache(Path(_constants().HF_HUB_CACHE), lambda lock: _library().utils.WeakFileLock(lock))


def _headers() -> dict[str, str]:
    """Those of Hugging Face's tools: the user's token, if there is one, and who asks."""
    headers = _library().utils.build_hf_headers(library_name="dagan", library_version=__version__)
    return headers | {"Accept-Encoding": "identity"}


def _look_up(reference: Reference) -> tuple[str, str, int | None]:
    """Commit, etag and size of the file. Raises the library's errors, and BadModel where something else answers."""
    library = _library()
    url = library.hf_hub_url(reference.repository, reference.file, revision=reference.revision)
    timeout = _constants().HF_HUB_ETAG_TIMEOUT
    facts = _patiently(lambda: library.get_hf_file_metadata(url, timeout=timeout, headers=_headers()))
    if not is_commit(facts.commit_hash or "") or not facts.etag:
        raise BadModel(
            f"{_constants().ENDPOINT} answers, but not as the Hub does",
            hint="check HF_ENDPOINT, and whether a proxy asks for a login",
        )
    etag = facts.etag.lower()
    named_by_content = len(etag) in (40, 64) and set(etag) <= set("0123456789abcdef")
    return facts.commit_hash, etag if named_by_content else f"etag-{sha256(etag.encode()).hexdigest()[:40]}", facts.size


def _download(reference: Reference, blob: Path, etag: str, size: int | None, tell: Tell | None) -> None:
    """Fill the blob. What a run before this one has left of it is trusted once, and then fetched anew."""
    part = blob.with_name(f"{etag}.incomplete")
    for _ in range(2):
        _receive(reference, part, size, tell)
        if (size is None or part.stat().st_size == size) and matches(part, etag):
            part.replace(blob)
            return
        part.unlink()
    raise _corrupt(reference)


def _receive(reference: Reference, part: Path, size: int | None, tell: Tell | None) -> None:
    """Append to the part until it has its size. Raises the library's error when nothing more comes."""
    library, http = _library(), _http()
    url = library.hf_hub_url(reference.repository, reference.file, revision=reference.revision)
    tries, told, name = 0, 0.0, f"{reference.repository}/{reference.file}"
    while True:
        have = before = part.stat().st_size if part.is_file() else 0
        if size is not None and have >= size:
            return
        try:
            headers = _headers() | ({"Range": f"bytes={have}-"} if have else {})
            timeout = _constants().HF_HUB_DOWNLOAD_TIMEOUT
            with library.get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
                if have and response.status_code == 416:  # it has become shorter, or is whole
                    return
                library.utils.hf_raise_for_status(response)
                goes_on = have > 0 and response.status_code == 206
                have = have if goes_on else 0
                with part.open("ab" if goes_on else "wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                        have += len(chunk)
                        if have > (size or LARGEST):
                            return
                        if tell and time.monotonic() - told > 0.1:
                            told = time.monotonic()
                            tell(name, have, size)
                        if not goes_on and have - len(chunk) < 2**20:
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
            raise BadModel(f"the download of {reference} broke off", hint="the same command goes on from there")
        time.sleep(_WAITS[tries])
        tries = tries + 1 if have - before < _ENOUGH else 0


def _refuse_foreign(reference: Reference, part: Path) -> None:
    """End the download of what cannot be a dagan model once its header is there. The rest is checked on loading."""
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
        hint="its header names no generator; `dagan models list` names models that are",
    )


def _unwritable(error: OSError) -> CannotWrite:
    return CannotWrite(
        f"cannot use the cache {_constants().HF_HOME}: {(error.strerror or str(error)).lower()}",
        hint="make room there, or name another folder with HF_HOME",
    )


def _corrupt(reference: Reference) -> BadModel:
    return BadModel(
        f"what was sent as {reference} is damaged: its content does not match its checksum",
        hint="nothing of it was kept; try again, or without the proxy in between",
    )


def _patiently(call: Callable[[], T]) -> T:
    """Try again, three times, where the server says that it may work later."""
    for wait in _WAITS:
        try:
            return call()
        except _http().HTTPError as error:
            if _status(error) not in _LATER:
                raise
        time.sleep(wait)
    return call()


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The call's result, within a time: looking up a name, or an answer that drips in, obeys no timeout of a socket."""
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
    """The HTTP library beneath: httpx or httpx2, as huggingface_hub's version has it."""
    base = _library().errors.HfHubHTTPError.__mro__[1]
    return sys.modules[base.__module__.partition(".")[0]]


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    return None if response is None else response.status_code


@contextmanager
def _plain_errors(reference: Reference, *, verb: str = "read") -> Iterator[None]:
    """Errors of the library and the network become BadModel, in the user's words."""
    library = _library()
    names, endpoint, repository = library.errors, _constants().ENDPOINT, reference.repository
    try:
        yield
    except names.GatedRepoError as error:
        hint = f"ask for access at {endpoint}/{repository}, then set HF_TOKEN"
        raise BadModel(f"{repository} is open only to those its owner lets in", hint=hint) from error
    except names.RepositoryNotFoundError as error:
        hint = "check the name; for a private one, set HF_TOKEN"
        raise BadModel(f"{endpoint} has no repository {repository}, or it is private", hint=hint) from error
    except names.RevisionNotFoundError as error:
        hint = f"leave out @{reference.revision} for the newest, or name a branch, tag or commit"
        raise BadModel(f"{repository} has no revision {reference.revision}", hint=hint) from error
    except names.EntryNotFoundError as error:
        others = _others(reference)
        hint = f"it has {others}" if others else "the repository holds no .safetensors file"
        raise BadModel(f"{repository} has no file {reference.file} at {reference.revision}", hint=hint) from error
    except (_http().HTTPError, _http().InvalidURL, RuntimeError, ValueError) as error:
        status = _status(error) or _status(error.__cause__ or error)
        if status in (401, 403):
            what = f"{endpoint} does not let you {verb} {repository}"
            raise BadModel(what, hint=f"set HF_TOKEN to a token that may {verb} it") from error
        if status is not None:
            what, hint = f"{endpoint} answers with an error, {status}", "try again later"
        else:
            what, hint = f"{endpoint} does not answer ({type(error).__name__})", "check the connection, and HF_ENDPOINT"
        raise BadModel(what, hint=f"{hint}; the models in the package need no network") from error


def _others(reference: Reference) -> str:
    """Files of the repository that could have been meant, for a hint; nothing where that cannot be learnt."""
    library = _library()
    seconds = _constants().HF_HUB_ETAG_TIMEOUT
    try:
        api = library.HfApi(library_name="dagan", library_version=__version__)
        ask = lambda: api.model_info(reference.repository, revision=reference.revision, timeout=seconds)  # noqa: E731
        names = [entry.rfilename for entry in _within(seconds, ask).siblings or ()]
    except Exception:
        return ""
    return ", ".join(name for name in names if name.endswith(".safetensors"))[:200]
