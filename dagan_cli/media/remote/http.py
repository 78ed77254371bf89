"""Files on web servers, read with the standard library: it shows the headers that resuming a download needs.

Redirects lead to http and https only, and never from https to http. A login in the URL goes to its own host alone.
"""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from email.message import Message
from typing import IO, Any, BinaryIO, NoReturn
from urllib.parse import unquote, urljoin, urlsplit

from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.patience import TRANSIENT, Permanent, Transient
from dagan_cli.media.remote.store import BLOCK, Changed, Facts, Listed, Opened
from dagan_cli.version import __version__

_TIMEOUT = 30.0  # seconds without a byte
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_ELSEWHERE = "the server redirects to a place that is not followed", "name the file where it is, if you trust that"
_ADVICE = {
    401: "the server asks for a login: https://USER:PASSWORD@HOST/...",
    403: "check that the address is right, and that a signed one has not expired",
    404: "check the address",
    407: "check the login of the proxy, in https_proxy",
    410: "it was removed; check the address",
}


class HttpStore:
    """Files on web servers; they can be read, and not written or listed."""

    can_write = False

    def __init__(self) -> None:
        handlers = (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=ssl.create_default_context()),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(),
        )
        self._opener = urllib.request.OpenerDirector()  # one of all handlers would read file:// and ftp:// too
        for handler in handlers:
            self._opener.add_handler(handler)

    def look(self, address: Address) -> Facts | None:
        """Return the facts of a file, as the server answers a HEAD request; unknown ones if it answers none."""
        try:
            with closing(self._asked(address, {}, "HEAD")) as response:
                return _facts(response.headers, _length(response.headers))
        except _Status as error:
            if error.code in (404, 410):
                return None
            if error.code in (400, 403, 405, 501):  # signed for GET only, or HEAD is not allowed
                return Facts(None, in_ranges=False)
            error.tell()

    @contextmanager
    def read(self, address: Address, start: int, known: Facts | None) -> Iterator[Opened]:
        """Read a file from a place on, or all of it again if the server sends no ranges. Raises Changed."""
        headers = {}
        if start and known:
            headers["Range"] = f"bytes={start}-"
            if known.tag:
                headers["If-Range"] = known.tag
        try:
            with closing(self._asked(address, headers)) as response:
                facts, at = _placed(response, start)
                if known and at and (known.size not in (None, facts.size) or known.tag != facts.tag):
                    raise Changed
                yield Opened(facts, at, _blocks(response))
        except _Status as error:
            if error.code in (412, 416):
                raise Changed from None
            error.tell()

    def part(self, address: Address, start: int, stop: int, known: Facts) -> bytes:
        """Return a part of a file. Raises Changed, also if the server sends no ranges."""
        headers = {"Range": f"bytes={start}-{stop - 1}"} | ({"If-Range": known.tag} if known.tag else {})
        try:
            with closing(self._asked(address, headers)) as response:
                facts, at = _placed(response, start)
                if response.status != 206 or at != start or facts.size != known.size:
                    raise Changed
                data = b"".join(_blocks(response, stop - start))
        except _Status as error:
            if error.code in (412, 416):
                raise Changed from None
            error.tell()
        if len(data) != stop - start:
            raise Transient(f"the server sent {len(data):,} of {stop - start:,} bytes")
        return data

    def names(self, folder: Address, *, recursive: bool, prefix: str = "") -> Iterator[Listed]:
        """Raise Permanent: web servers list no files."""
        raise Permanent("a web server lists no files", "name the files themselves, or a list of them with --files-from")

    def put(self, file: BinaryIO, address: Address, should_stop: Callable[[], bool]) -> None:
        """Raise Permanent: files on web servers are only read."""
        self.require_writable(address)

    def require_writable(self, address: Address) -> None:
        """Raise Permanent: files on web servers are only read."""
        raise Permanent("files on web servers are only read", "name a folder or a bucket with -o")

    def _asked(self, address: Address, headers: dict[str, str], method: str = "GET") -> Any:
        """Return the response to a request. Raises _Status, Transient and Permanent."""
        request = urllib.request.Request(address.url, method=method)
        for name, value in {"User-Agent": f"dagan/{__version__}", "Accept-Encoding": "identity", **headers}.items():
            request.add_header(name, value)
        if address.login:
            word = b64encode(unquote(address.login).encode("utf-8", "surrogateescape")).decode()
            request.add_unredirected_header("Authorization", f"Basic {word}")
        try:
            return self._opener.open(request, timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            with closing(error):
                raise _Status(error.code, _seconds(error.headers)) from None
        except urllib.error.URLError as error:
            _tell_failure(error.reason)
        except (OSError, http.client.HTTPException, ValueError) as error:
            _tell_failure(error)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https, and keeps the login for its own host."""

    max_redirections = 5

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, newurl))
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https"):
            raise Permanent(*_ELSEWHERE)
        request = urllib.request.Request(new.geturl(), headers=dict(req.headers), method=req.get_method())
        login = req.unredirected_hdrs.get("Authorization")
        if login and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", login)
        return request

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


class _Status(Exception):
    """The server answers with an error."""

    def __init__(self, code: int, after: float) -> None:
        super().__init__(code)
        self.code, self.after = code, after

    def tell(self) -> NoReturn:
        """Raise Transient or Permanent."""
        phrase = http.client.responses.get(self.code, "").lower()
        what = f"the server answers with {self.code}" + (f", {phrase}" if phrase else "")
        if 300 <= self.code < 400:
            raise Permanent(*_ELSEWHERE) from None
        if self.code in TRANSIENT:
            raise Transient(what, self.after) from None
        raise Permanent(what, _ADVICE.get(self.code, "check the address, and try it with another program")) from None


def _tell_failure(error: object) -> NoReturn:
    """Raise Transient for failures of the network, and Permanent for others."""
    if isinstance(error, ssl.SSLCertVerificationError):
        what = f"the certificate of the server is not trusted: {error.verify_message}"
        raise Permanent(what, "check the address, or add the certificate of your company to SSL_CERT_FILE") from None
    if isinstance(error, http.client.InvalidURL | ValueError):
        raise Permanent("the address or an answer of the server is invalid", "check the address") from None
    if isinstance(error, TimeoutError):
        raise Transient(f"the server sent nothing for {_TIMEOUT:.0f} s") from None
    reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
    raise Transient(f"the connection failed: {reason.lower()}") from None


def _blocks(response: Any, most: int | None = None) -> Iterator[bytes]:
    """Yield the bytes of a body, at most so many."""
    left = most
    while left is None or left > 0:
        try:
            block = response.read1(BLOCK if left is None else min(BLOCK, left))
        except (OSError, http.client.HTTPException, ValueError) as error:
            _tell_failure(error)
        if not block:
            return
        left = None if left is None else left - len(block)
        yield block


def _placed(response: Any, start: int) -> tuple[Facts, int]:
    """Return the facts of the whole file, and the place of the first byte of the body. Raises Transient."""
    headers: Message = response.headers
    if headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise Permanent("the server sends it compressed", "download it first, and name the file")
    if response.status != 206:
        return _facts(headers, _length(headers)), 0
    found = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if not found or int(found[1]) != start:
        raise Permanent("the server sends another part than it was asked for", "download it first, and name the file")
    return _facts(headers, None if found[3] == "*" else int(found[3])), start


def _facts(headers: Message, size: int | None) -> Facts:
    tag = headers.get("ETag", "").strip()
    tag = headers.get("Last-Modified", "").strip() if not tag or tag.startswith("W/") else tag
    return Facts(size, tag, in_ranges=headers.get("Accept-Ranges", "").strip().lower() == "bytes" and size is not None)


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _seconds(headers: Message | None) -> float:
    """Return how long the server asks to wait, in seconds."""
    text = headers.get("Retry-After", "").strip() if headers else ""
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0.0
