"""Addresses of remote files: which are allowed, what of them may be shown, and which names are safe."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from dagan_cli.errors import BadInput
from dagan_cli.media.template import LONGEST_NAME

if TYPE_CHECKING:
    _Native = Path
else:
    _Native = type(Path())  # Path itself makes objects of another class

HTTP = ("http", "https")
OBJECTS = {"s3": "s3", "gs": "gs", "gcs": "gs", "hf": "hf", "az": "az", "abfs": "az"}  # protocols, by their first name
_URL = re.compile(r"(?P<protocol>[a-z][a-z0-9+.-]+)(?P<between>::?//|::)", re.IGNORECASE)
_COLLAPSED = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")
_KNOWN = "s3://, gs://, az://, hf://, https:// and http://"


class UrlPath(_Native):
    """The text of a URL where a path is expected: in events and reports. It is redacted, and never opened."""

    def __str__(self) -> str:
        return _COLLAPSED.sub(r"\1://", super().__str__())


@dataclass(frozen=True, slots=True)
class Address:
    """A remote file or folder. `repr` and `str` hide what may be secret."""

    protocol: str  # s3, gs, hf, az, http or https
    path: str  # without the protocol: "bucket/films/a.mp4"; of http, percent-encoded after the host
    query: str = ""  # of http; often a signature
    login: str = ""  # of http: "user:password", percent-encoded

    @property
    def name(self) -> str:
        """The last part of the path, decoded; "" for a folder."""
        last = self.path.rpartition("/")[2] if "/" in self.path else ""
        return unquote(last) if self.protocol in HTTP else last

    @property
    def parent(self) -> Address:
        """The folder of a file, with a slash at its end."""
        return replace(self, path=f"{self.path.rstrip('/').rpartition('/')[0]}/", query="")

    @property
    def is_folder(self) -> bool:
        """True if the address ends like that of a folder: with a slash, or after the bucket."""
        return self.path.endswith("/") or "/" not in self.path

    def child(self, relative: str) -> Address:
        """Return the address of a file below this folder."""
        last = quote(relative, safe="/") if self.protocol in HTTP else relative
        return replace(self, path=f"{self.path.rstrip('/')}/{last}", query="")

    @property
    def shown(self) -> UrlPath:
        """The address without logins and queries, for people and reports."""
        return UrlPath(str(self))

    @property
    def key(self) -> str:
        """A name for this place in a folder of this machine; it holds no part of the address."""
        return sha256(f"{self.protocol}://{self.path}".encode("utf-8", "surrogateescape")).hexdigest()[:24]

    @property
    def url(self) -> str:
        """The address to ask a server of http for, without the login."""
        return f"{self.protocol}://{self.path}" + (f"?{self.query}" if self.query else "")

    def __str__(self) -> str:
        return f"{self.protocol}://{self.path}{'?…' if self.query else ''}"

    def __repr__(self) -> str:
        return f"<{self}>"


def is_url(name: str) -> bool:
    """True if `name` has the form of a URL, allowed or not, and no local file has that name."""
    found = _URL.match(name)
    return found is not None and "//" in name and not os.path.lexists(name)


def names_url(path: Path) -> bool:
    """True if a path was made from the text of a URL, which loses a slash then, and no local file has that name."""
    return _COLLAPSED.match(str(path)) is not None and is_url(str(UrlPath(path)))


def redacted(name: str) -> str:
    """Return any URL without its login, its query and its fragment."""
    head, between, rest = name.partition("://")
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = rest.partition("/")
    _, at, bare = host.rpartition("@")
    end = "?…" if "?" in name else ""
    is_place = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?", host)
    if not at and ((":" in host and "@" in path) or not is_place):  # a password with a slash, ? or # in it
        return f"{head}{between}…"
    return f"{head}{between}{bare}{slash}{path}{end}" if between else name


def parse(name: str) -> Address:
    """Return the address that a URL states. Raises BadInput for protocols that are not allowed, and invalid URLs."""
    shown = redacted(name)
    found = _URL.match(name)
    protocol = found["protocol"].lower() if found else ""
    if found is None or found["between"] != "://" or "::" in name.partition("?")[0]:
        what = f"{shown} is a chain of URLs, and only plain ones are read"
        raise BadInput(what, hint=f"name the file itself: {_KNOWN} are known")
    if protocol == "file":
        raise BadInput(f"{shown} is a URL of a local file", hint=f"name the file itself: {shown[7:]}")
    if protocol not in (*HTTP, *OBJECTS):
        what = f"{shown} has a protocol that dagan does not know"
        raise BadInput(what, hint=f"use one of {_KNOWN}, or download it first and name the file")
    if protocol in HTTP:
        return _of_http(name, protocol, shown)
    path = name[found.end() :]
    bucket = path.partition("/")[0]
    if "@" in bucket:
        what = f"{shown} holds a login or an account, which is not used"
        raise BadInput(what, hint="leave it out; both come from the environment, see docs/remote.md")
    if not bucket or any(part in ("", ".", "..") for part in path.rstrip("/").split("/")) or "\0" in path:
        raise BadInput(f"{shown} is no valid address", hint=f"write {protocol}://BUCKET/FOLDER/FILE")
    return Address(OBJECTS[protocol], path)


def _of_http(name: str, protocol: str, shown: str) -> Address:
    bad = BadInput(f"{shown} is no valid address", hint="check it; write special characters as %20 and the like")
    try:
        parts = urlsplit(name)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise bad from None
    if not host or re.search(r"[\s\0-\x1f]", name):
        raise bad
    login, _, _ = parts.netloc.rpartition("@")
    place = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return Address(protocol, place + path, parts.query, login)


def unsafe_name(relative: str) -> str:
    """Return why a path below a folder cannot be that of a file here, or ""."""
    parts = relative.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "its name leads out of the folder, or holds an empty part"
    if "\0" in relative or (os.sep != "/" and (os.sep in relative or ":" in relative)):
        return "its name holds a character that names of files cannot have"
    if any(len(part.encode("utf-8", "surrogateescape")) > LONGEST_NAME for part in parts):
        return f"its name is longer than {LONGEST_NAME} bytes"
    return ""
