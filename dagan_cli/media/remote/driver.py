"""Files in the stores of fsspec's drivers. Credentials come from where each driver finds them, and are never shown."""

from __future__ import annotations

import errno
import importlib
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NoReturn

from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.patience import TRANSIENT, Cancelled, Permanent, Transient, patiently
from dagan_cli.media.remote.store import Changed, Facts, Listed, Opened

_DRIVERS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "hf": "huggingface_hub"}  # modules, and packages
_EXTRA = ("s3fs",)  # those of the extra `remote`
_CREDENTIALS = {
    "s3": "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; FSSPEC_S3_ANON=true reads public buckets",
    "gs": "check GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login",
    "az": "check AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "hf": "check HF_TOKEN, or run hf auth login; gated files need your consent on their page",
}
_FRESH = 30.0  # seconds
_CHUNK = 8 << 20  # bytes of one request
# Names of exceptions of the drivers' libraries, as none of these is imported here.
_OF_NETWORK = {
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectionError",
    "FSTimeoutError",
    "HTTPClientError",
    "IncompleteReadError",
    "ResponseStreamingError",
    "ServerDisconnectedError",
    "ServiceRequestError",
    "ServiceResponseError",
    "Timeout",
    "TransportError",
}
_OF_CREDENTIALS = {
    "ClientAuthenticationError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "RefreshError",
    "SSOTokenLoadError",
    "TokenRetrievalError",
    "UnauthorizedSSOTokenError",
}
_DENIED = {401, 403, "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
_BUSY = {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown"}
_BUSY_NUMBERS = (
    errno.EBUSY,
    errno.ECONNRESET,
    errno.EPIPE,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    getattr(errno, "EREMOTEIO", errno.EIO),
)


def file_system(protocol: str, **options: Any) -> Any:
    """Return fsspec's file system of a protocol. Raises Permanent if its driver is missing or refuses the options."""
    if protocol == "hf":  # as for models; its library would report to its makers
        for name in ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_XET"):
            os.environ.setdefault(name, "1")
    package = _DRIVERS[protocol]
    try:
        importlib.import_module(package)
        import fsspec
    except ImportError:
        hint = f"pip install {package}" + (", or pip install 'dagan[remote]'" if package in _EXTRA else "")
        raise Permanent(f"{protocol}:// needs the package {package}", hint) from None
    with failures(protocol):
        return fsspec.filesystem(protocol, skip_instance_cache=True, use_listings_cache=False, **options)


@contextmanager
def failures(protocol: str, *, of_known: bool = False) -> Iterator[None]:
    """Report the exceptions of a driver as Transient or Permanent. Their texts may hold secrets: none is kept.

    A request `of_known` content may also be Changed. Exceptions of our own pass.
    """
    try:
        yield
    except (Transient, Permanent, Changed, Cancelled):
        raise
    except Exception as error:
        try:
            tell_failure(protocol, error)
        except Changed:
            if of_known:
                raise
        what = f"the store answers with {answered(error)[0]} to a request without conditions"
        raise Permanent(what, "check the address, and try it with another program") from None


def tell_failure(protocol: str, error: Exception) -> NoReturn:
    """Raise Transient, Permanent or Changed for an exception of a driver."""
    status, code = answered(error)
    names = {each.__name__ for one in _chain(error) for each in type(one).__mro__}
    answer = f"the store answers with {code or status}"
    if names & _OF_CREDENTIALS:
        raise Permanent("no valid credentials were found", _CREDENTIALS[protocol]) from None
    if {status, code} & _DENIED or isinstance(error, PermissionError):
        raise Permanent(answer if status else "access is denied", _CREDENTIALS[protocol]) from None
    if status == 404 or isinstance(error, FileNotFoundError):
        hint = "check the name, and that these credentials may see it"
        raise Permanent(
            "there is no such bucket" if code == "NoSuchBucket" else "there is no such file", hint
        ) from None
    if status in (412, 416) or "FlexibleChecksumError" in names:
        raise Changed from None
    if status in TRANSIENT or code in _BUSY:
        raise Transient(answer) from None
    if names & _OF_NETWORK or isinstance(error, TimeoutError | ConnectionError):
        raise Transient(f"the connection failed: {type(error).__name__}") from None
    if isinstance(error, OSError) and error.errno in _BUSY_NUMBERS:
        raise Transient(f"the connection failed: {os.strerror(error.errno or 0).lower()}") from None
    reason = answer if status else f"its driver fails with {type(error).__name__}"
    raise Permanent(reason, "check the address, and try it with another program") from None


def answered(error: BaseException) -> tuple[int | None, str]:
    """Return the status and the error code that a store has answered with; None and "" if it has not."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):  # botocore's
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            code = str(response.get("Error", {}).get("Code", ""))
            code = code if code.isalnum() and code.isascii() and not code.isdigit() and len(code) < 60 else ""
            return status if isinstance(status, int) else None, code
        for status in (
            getattr(response, "status_code", None),
            *(getattr(one, n, None) for n in ("status_code", "status", "code")),
        ):
            if isinstance(status, int) and 300 <= status < 600:
                return status, ""
    return None, ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(8):
        if error is None:
            return
        yield error
        error = error.__cause__


def _name(listed: Listed) -> str:
    return listed.relative


class DriverStore:
    """Files of any driver, read in parts. The drivers here upload whole files, which appear when they are complete."""

    can_write = True

    def __init__(self, protocol: str) -> None:
        self._protocol = protocol
        self._files = file_system(protocol)
        self._lists: dict[str, tuple[float, list[Listed]]] = {}  # of folders, when they were read and sorted

    def look(self, address: Address) -> Facts | None:
        """Return the facts of a file; None if there is none, or a folder."""
        try:
            with failures(self._protocol):
                info = self._files.info(address.path.rstrip("/"))
        except Permanent as error:
            if isinstance(error.__context__, FileNotFoundError):
                return None
            raise
        if info.get("type") == "directory":
            return None
        tag = next((str(info[key]) for key in ("etag", "ETag", "blob_id", "md5Hash", "mtime") if info.get(key)), "")
        return Facts(info.get("size"), tag)

    @contextmanager
    def read(self, address: Address, start: int, known: Facts | None) -> Iterator[Opened]:
        """Read a file from a place on, in parts. Raises Changed if it is another one before or after it."""
        facts = self.look(address)
        if facts is None:
            raise Permanent("there is no such file", "check the name")
        if known and facts != known:
            raise Changed
        size = facts.size
        if size is None:
            raise Permanent("its store declares no size", "download it first, and name the file")

        def blocks() -> Iterator[bytes]:
            for at in range(start, size, _CHUNK):
                yield self.part(address, at, min(size, at + _CHUNK), facts)
            if self.look(address) != facts:
                raise Changed

        yield Opened(facts, start, blocks())

    def part(self, address: Address, start: int, stop: int, known: Facts) -> bytes:
        """Return a part of a file."""
        with failures(self._protocol, of_known=True):
            data = self._files.cat_file(address.path, start=start, end=stop)
        if len(data) != stop - start:
            raise Transient(f"the store sent {len(data):,} of {stop - start:,} bytes")
        return data

    def names(self, folder: Address, *, recursive: bool, prefix: str = "") -> Iterator[Listed]:
        """Yield what is in a folder. For a prefix, a list of the last half a minute will do."""
        root = folder.path.rstrip("/")
        if prefix and not recursive:
            read, known = self._lists.get(root, (0.0, []))
            if not read or time.monotonic() - read > _FRESH:
                known = sorted(self._read(root, recursive=False, may_miss=True), key=_name)
                self._lists[root] = time.monotonic(), known
            for listed in known[bisect_left(known, prefix, key=_name) :]:
                if not listed.relative.startswith(prefix):
                    return
                yield listed
            return
        yield from self._read(root, recursive=recursive, may_miss=bool(prefix))

    def _read(self, root: str, *, recursive: bool, may_miss: bool) -> Iterator[Listed]:
        folders = [root]
        while folders:
            path = folders.pop()
            try:
                infos = patiently(lambda path=path: self._list(path), lambda: False)
            except Permanent as error:
                if path == root and may_miss and isinstance(error.__context__, FileNotFoundError):
                    return
                raise
            for info in infos:
                name = str(info["name"]).rstrip("/")
                relative = name.removeprefix(f"{root}/")
                if not name.startswith(f"{path}/"):  # such as the folder itself, which some drivers list in it
                    continue
                is_folder = info.get("type") == "directory"
                if is_folder and recursive:
                    folders.append(name)
                else:
                    yield Listed(relative, info.get("size"), is_folder)

    def _list(self, path: str) -> list[dict[str, Any]]:
        with failures(self._protocol):
            return self._files.ls(path, detail=True)

    def put(self, file: BinaryIO, address: Address, should_stop: Callable[[], bool]) -> None:
        """Write a local file. Raises Permanent and Cancelled."""

        def send() -> None:
            with failures(self._protocol):
                self._files.put_file(file.name, address.path)

        patiently(send, should_stop)

    def require_writable(self, address: Address) -> None:
        """Know nothing: only an upload shows it."""
