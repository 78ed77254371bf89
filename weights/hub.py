"""Download models from the Hugging Face Hub, and upload them: the only module that imports huggingface_hub.

The library's own download is not used. As of version 2.4 it waits for minutes on a silent server, accepts any content
of the right length, and loses the received part of a file when it is interrupted.

No message shows an address of the settings with the password or token that it may contain: see `address`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from dagan_cli.errors import BadModel, CannotWrite
from dagan_cli.version import __version__
from weights.address import forget_secrets, secrets_of_settings, shown
from weights.cache import LARGEST, Cache, Fetched, bytes_in, matches, sha256_of, writable
from weights.receive import Line, TooSlow, arriving
from weights.reference import FILE, Reference, is_commit

Tell = Callable[[str, int, int | None], None]  # file name, bytes received, total bytes if known
T = TypeVar("T")

_HEADER = 2**20  # bytes; a dagan model's header is far smaller
_LATER = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may be temporary
_WAITS = (0.5, 1.0, 2.0)  # seconds before each retry; then it is an error
_SLOWEST = 50_000  # bytes per second; slower uploads time out
_DRIP = 1000  # bytes per second; a slower download counts as interrupted. A modem of 1990 reaches more
_ENOUGH = 2**16  # bytes; a connection that delivered this many does not count as failed
_TRANSFERS = 4  # a download receives at most this many times the file's size
_REDIRECTS = 20  # as in the library


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
            commit, etag, size = _within(2 * _seconds("HF_HUB_ETAG_TIMEOUT"), lambda: _look_up(reference))
    except OSError as error:
        raise _unwritable(error) from error
    pinned = Reference(reference.repository, commit, reference.file)
    if sha256 is not None and len(etag) == 64 and etag != sha256:
        raise BadModel(
            f"{reference} has changed: its sha256 is {etag[:12]}..., not {sha256[:12]}...",
            hint=f"update dagan, or use the new file: -n {pinned}",
        )
    if size is not None and size < 1:
        raise _senseless(size, reference)
    if size is not None and size > LARGEST:
        raise _too_large(reference)

    cache = _cache()
    try:
        with cache.place(reference, commit, etag) as blob:
            if not cache.holds(blob, etag):
                with _plain_errors(reference):
                    _download(pinned, blob, etag, size, tell)
            if sha256 is not None and sha256_of(blob) != sha256:
                blob.unlink()
                raise _corrupt(reference)
    except OSError as error:
        raise _unwritable(error) from error
    return Fetched(cache.path(pinned), pinned)


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
    limit = _seconds("HF_HUB_DOWNLOAD_TIMEOUT")

    def send() -> str:
        library.get_session().timeout = 3 * limit  # per response; the library itself sets no timeout
        api.create_repo(repository, private=private, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise BadModel(f"{repository} is already public", hint="use another repository, or leave out --private")
        operations = [library.CommitOperationAdd(name, data) for name, data in files.items()]
        return api.create_commit(repository, operations, commit_message=message).oid

    with _plain_errors(Reference(repository), verb="write to"):
        try:
            return _within(6 * limit + sum(map(len, files.values())) / _SLOWEST, send)
        except (LookupError, TypeError, AttributeError) as error:  # the library found other JSON than it expects
            raise _no_hub() from error


def _constants() -> Any:
    """Import huggingface_hub.constants, its settings from the environment. Raises BadModel.

    Telemetry (which makes requests), progress bars and Xet are off unless the user has turned them on.
    """
    for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_XET"):
        os.environ.setdefault(name, "1")
    try:
        from huggingface_hub import constants
    except ValueError:  # an invalid address or number; its text may quote a password
        names = ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT")
        numbers = [name for name in names if not re.fullmatch(r"\s*[+-]?\d*\s*", os.environ.get(name, ""))]
        what = f"{numbers[0]} is not a whole number" if numbers else "HF_ENDPOINT is not a valid address"
        hint = "check HF_ENDPOINT, HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT"
        raise BadModel(f"invalid settings for the Hub: {what}", hint=hint) from None
    return constants


def _seconds(name: str) -> int:
    """Return a time limit of the settings: from 1 second to an hour, which sockets and threads can wait for."""
    return min(max(1, getattr(_constants(), name)), 3600)


def _endpoint() -> str:
    """Return the Hub's address for messages."""
    return shown(_constants().ENDPOINT) or "the address in HF_ENDPOINT"


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
    timeout = _seconds("HF_HUB_ETAG_TIMEOUT")
    facts = _patiently(lambda: library.get_hf_file_metadata(url, timeout=timeout, headers=_headers()))
    if not is_commit(facts.commit_hash or "") or not facts.etag:
        raise _no_hub()
    etag = facts.etag.lower()
    named_by_content = len(etag) in (40, 64) and set(etag) <= set("0123456789abcdef")
    return facts.commit_hash, etag if named_by_content else f"etag-{sha256(etag.encode()).hexdigest()[:40]}", facts.size


def _download(reference: Reference, blob: Path, etag: str, size: int | None, tell: Tell | None) -> None:
    """Fill the blob. A partial file from an earlier run is tried once, then downloaded again."""
    part = blob.with_name(f"{etag}.incomplete")
    for _ in range(2):
        _receive(reference, part, size, tell)
        if size in (None, bytes_in(part)) and matches(part, etag):
            part.replace(blob)
            return
        part.unlink(missing_ok=True)
    raise _corrupt(reference)


def _receive(reference: Reference, part: Path, size: int | None, tell: Tell | None) -> None:
    """Append to the partial file until it has its size. Raises the library's error if no more data arrives.

    Ends in a promised time, whatever the server does. A try ends as soon as less than _DRIP bytes per second arrived in
    a window of 2 * HF_HUB_DOWNLOAD_TIMEOUT; the default is 10 s, so the window is 20 s. A server that drips sends too
    little in four tries, which take 4 * 20 s + 3.5 s of waits = 83.5 s. One that sends nothing of the file gets one
    try: 20 s. One that is fast at times has `size` / _DRIP seconds more: 83.5 s + 800 s for a model of 800 kB.
    """
    library, http = _library(), _http()
    url = library.hf_hub_url(reference.repository, reference.file, revision=reference.revision)
    window = 2 * _seconds("HF_HUB_DOWNLOAD_TIMEOUT")  # longer than the limit for silence, which has a clearer message
    limit = LARGEST if size is None else size
    deadline = time.monotonic() + limit / _DRIP + len(_WAITS) * window + sum(_WAITS)  # for the start of a last window
    tries, received, reported, name = 0, 0, 0.0, f"{reference.repository}/{reference.file}"
    while True:
        have = before = bytes_in(part)
        is_over = False
        if size is not None and have >= size:
            return
        try:
            headers = _headers() | ({"Range": f"bytes={have}-"} if have else {})
            with closing(arriving(partial(_response, reference, url, headers), window, window * _DRIP)) as items:
                status = next(items)
                if status == 416:  # the file is shorter now, or complete
                    return
                resumes = have > 0 and status == 206
                have = have if resumes else 0
                start = None if resumes else bytearray()
                with writable(part, resume=resumes) as file:
                    for chunk in items:
                        file.write(chunk[: limit + 1 - have])  # one byte too many shows that it is another file
                        have += len(chunk)
                        received += len(chunk)
                        is_over = received > _TRANSFERS * limit or time.monotonic() > deadline
                        if is_over or have > limit:
                            break
                        if start is not None:
                            start += chunk[: _HEADER + 8 - len(start)]
                            start = _refuse_foreign(reference, part, start)
                        if tell and time.monotonic() - reported > 0.1:
                            reported = time.monotonic()
                            tell(name, have, size)
            if have > limit:
                if size is not None:
                    return
                part.unlink()
                raise _too_large(reference)
            if have == size or (size is None and not is_over):
                if tell:
                    tell(name, have, have)
                return
        except (http.HTTPError, TooSlow) as error:
            silent = isinstance(error, http.TimeoutException | TooSlow) and have <= before
            if silent or tries == len(_WAITS) or _status(error) not in (None, *_LATER):
                raise
        if is_over or tries == len(_WAITS) or time.monotonic() > deadline:
            raise BadModel(f"the download of {reference} was interrupted", hint="run the same command to continue")
        time.sleep(_WAITS[tries])
        tries = tries + 1 if have - before < _ENOUGH else 0


def _response(reference: Reference, url: str, headers: dict[str, str], line: Line) -> Generator[int | bytes]:
    """Yield the status of the response, then its content as it was sent. Raises the library's errors, and BadModel.

    Redirects are followed here, because the library would wait for their bodies, however long. It takes the token out
    of the headers for another host.
    """
    library = _library()
    session = library.get_session()
    timeout = _seconds("HF_HUB_DOWNLOAD_TIMEOUT")
    request = session.build_request("GET", url, headers=headers, timeout=timeout, extensions={"trace": line.trace})
    for _ in range(_REDIRECTS):
        line.uses(None)
        with closing(session.send(request, stream=True, follow_redirects=False)) as response:
            line.uses(response.extensions.get("network_stream"))
            promised = response.headers.get("X-Linked-Size", "0")
            if not re.fullmatch("[0-9]{1,19}", promised):
                raise _senseless(promised, reference)
            if response.next_request is not None:
                request = response.next_request
                continue
            past_the_end = response.status_code == 416 and "Range" in headers
            if not (response.is_success or past_the_end):
                # Without its body, which the library would read, however long it is.
                found = _http().Response(response.status_code, headers=response.headers, request=response.request)
                library.utils.hf_raise_for_status(found)
            yield response.status_code
            if response.is_success:
                yield from response.iter_raw()  # decompressing could make any number of bytes of it
            return
    raise _http().TooManyRedirects("too many redirects", request=request)


def _refuse_foreign(reference: Reference, part: Path, start: bytearray) -> bytearray | None:
    """Stop the download of a file whose start is not that of a model. Loading checks the rest.

    A file of the default name must be a dagan model: any repository can have one. Another file may be one of another
    program. Returns None if it can be a model, or the start of the file if more of it is needed to tell.
    """
    if not reference.file.endswith(".safetensors"):
        if len(start) < 4:
            return start
        if start.startswith((b"PK\3\4", b"\x80")):  # PyTorch's archive, and its older format
            return None
        part.unlink()
        raise BadModel(f"{reference} is not a PyTorch file", hint="check the name of the file in the repository")
    size = int.from_bytes(start[:8], "little")
    if len(start) < 8 or (2 <= size <= _HEADER and len(start) < 8 + size):
        return start
    with suppress(ValueError, RecursionError, KeyError, TypeError):
        header = json.loads(start[8 : 8 + size])
        if size <= _HEADER and ("dagan" in header["__metadata__"] if reference.file == FILE else header.keys()):
            return None
    part.unlink()
    raise BadModel(
        f"{reference} is not a dagan model",
        hint="its header has no generator config; name the file if it is a model of another program",
    )


def _no_hub() -> BadModel:
    hint = "check HF_ENDPOINT, and whether a proxy requires a login"
    return BadModel(f"{_endpoint()} does not respond like the Hub", hint=hint)


def _senseless(size: object, reference: Reference) -> BadModel:
    return BadModel(
        f"{_endpoint()} reports a size of {str(size)[:20]!r} bytes for {reference}",
        hint="check HF_ENDPOINT, and whether a proxy is in the way",
    )


def _too_large(reference: Reference) -> BadModel:
    return BadModel(f"{reference} is larger than any dagan model", hint="use another file")


def _unwritable(error: OSError) -> CannotWrite:
    reason = (error.strerror or str(error)).lower()
    place = f": {error.filename}" if isinstance(error.filename, str) else ""
    return CannotWrite(
        f"cannot use the cache {_constants().HF_HOME}: {reason}{place}",
        hint="free some space, remove what is in the way, or set HF_HOME to another folder",
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
    http = _http()
    try:
        yield
    except (http.HTTPError, http.InvalidURL, TooSlow, ImportError, RuntimeError, ValueError) as error:
        if isinstance(error, ImportError) and "socksio" not in str(error):
            raise
        described = _described(error, reference, verb)
        token = _library().get_token()
        secrets = secrets_of_settings() | ({token} if token else set())
        raise described from error if forget_secrets(error, secrets) else None


def _described(error: BaseException, reference: Reference, verb: str) -> BadModel:
    """Return the message for the user."""
    names, endpoint, repository = _library().errors, _endpoint(), reference.repository
    if isinstance(error, names.GatedRepoError):
        hint = f"ask for access at {endpoint}/{repository}, then set HF_TOKEN"
        return BadModel(f"access to {repository} is restricted by its owner", hint=hint)
    if isinstance(error, names.RepositoryNotFoundError):
        hint = "check the name; for a private one, set HF_TOKEN"
        return BadModel(f"{endpoint} has no repository {repository}, or it is private", hint=hint)
    if isinstance(error, names.RevisionNotFoundError):
        hint = f"leave out @{reference.revision} for the newest, or use a branch, tag or commit"
        return BadModel(f"{repository} has no revision {reference.revision}", hint=hint)
    if isinstance(error, names.EntryNotFoundError):
        others = _others(reference)
        hint = f"it has {others}" if others else "the repository has no .safetensors file"
        return BadModel(f"{repository} has no file {reference.file} at {reference.revision}", hint=hint)
    status = _status(error) or _status(error.__cause__ or error)
    if status in (401, 403):
        what = f"{endpoint} denies permission to {verb} {repository}"
        return BadModel(what, hint=f"set HF_TOKEN to a token with permission to {verb} it")
    if status is not None:
        what, hint = f"{endpoint} returned HTTP error {status}", "try again later"
    elif isinstance(error, TooSlow):
        what, hint = f"{endpoint} sends less than {_DRIP} bytes per second", "try again later"
    elif isinstance(error, ImportError):
        what, hint = "a SOCKS proxy needs the Python package socksio", "install it, or unset ALL_PROXY"
    else:
        what = f"{endpoint} does not respond ({type(error).__name__})"
        hint = "check the connection, HF_ENDPOINT and proxy settings"
    return BadModel(what, hint=f"{hint}; the models in the package need no network")


def _others(reference: Reference) -> str:
    """List the repository's .safetensors files, for a hint; empty if they cannot be listed."""
    library = _library()
    seconds = _seconds("HF_HUB_ETAG_TIMEOUT")
    try:
        api = library.HfApi(library_name="dagan", library_version=__version__)
        ask = lambda: api.model_info(reference.repository, revision=reference.revision, timeout=seconds)  # noqa: E731
        names = [entry.rfilename for entry in _within(seconds, ask).siblings or ()]
        return ", ".join(name for name in names if name.endswith(".safetensors"))[:200]
    except Exception:  # this only enriches the hint of an error that is already being reported
        return ""
