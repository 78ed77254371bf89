"""A Hugging Face Hub on the loopback: a real HTTP server that speaks what the client needs, and fails as it is told."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "1234567890abcdef1234567890abcdef12345678"
LARGE = ".safetensors"  # kept apart from git, and served by another host
DRIP = 0.2  # seconds between the bytes of a drip


@dataclass
class Repository:
    """Files of one commit; `main` names it."""

    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = COMMIT
    private: bool = False
    gated: bool = False


@dataclass
class Request:
    """One that came in."""

    method: str
    path: str
    headers: dict[str, str]  # names in small letters


@dataclass
class FakeHub:
    """What the server has, what has been asked of it, and how the next answers go wrong."""

    port: int = 0
    repositories: dict[str, Repository] = field(default_factory=dict)
    token: str = "hf_right"
    requests: list[Request] = field(default_factory=list)
    # The next answers about a file, and the next bodies: an integer is a status, "silent", "cut", "corrupt", "slow"
    # (nothing comes after half of it), "long"; None is a good one. The last one stays. "drip body", "drip headers" and
    # "drip chunks" send a byte at a time, without an end, and so does "drip error", with status 418; "flood" sends two
    # gigabytes more.
    heads: deque[Any] = field(default_factory=deque)
    bodies: deque[Any] = field(default_factory=deque)
    # Headers that replace those of answers about a file, and of large files; None leaves one out.
    head_headers: dict[str, str | None] = field(default_factory=dict)
    body_headers: dict[str, str | None] = field(default_factory=dict)
    moved: str = ""  # address of another server, to which questions about files are redirected
    large_at: str = ""  # address of the server that has the large files; default: this machine by another name
    wordy_redirects: bool = False  # redirects have a body without an end
    stored: dict[str, bytes] = field(default_factory=dict)  # large files that were uploaded, by sha256
    flooded: int = 0  # bytes of floods that were sent
    dripping: int = 0  # answers that are being sent a byte at a time
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def other_host(self) -> str:
        """The same machine by another name: another host for the rules on tokens and redirects."""
        return f"http://localhost:{self.port}"

    def asked(self, method: str, part: str = "") -> list[Request]:
        return [request for request in self.requests if request.method == method and part in request.path]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def etag_of(name: str, data: bytes) -> str:
    """As the Hub names contents: sha256 of large files, git's sha1 of the others."""
    return sha256(data).hexdigest() if name.endswith(LARGE) else sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client has gone
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._note()
        self._resolve()

    def do_GET(self) -> None:
        path = self._note()
        if match := re.fullmatch(r"/large/([0-9a-f]{64})", path):
            self._large(match[1])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/.+)?", path):
            repository = self.hub.repositories.get(match[1])
            if repository is None:
                self._refuse(404, "RepoNotFound")
                return
            siblings = [{"rfilename": name} for name in repository.files]
            facts = {"id": match[1], "sha": repository.commit, "private": repository.private, "siblings": siblings}
            self._json(facts)
        else:
            self._resolve()

    def do_PUT(self) -> None:
        path = self._note()
        self.hub.stored[path.rpartition("/")[2]] = self._body()
        self._send(200, b"")

    def do_POST(self) -> None:
        path, hub = self._note(), self.hub
        body = self._body()
        if path.endswith(".git/info/lfs/objects/batch"):
            self._json({"transfer": "basic", "objects": [self._where(entry) for entry in json.loads(body)["objects"]]})
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._refuse(401, message="Invalid credentials in Authorization header")
        elif self._fault(hub.heads):
            return
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            known = name in hub.repositories
            private = asked.get("private", asked.get("visibility") == "private")
            hub.repositories.setdefault(name, Repository(private=private))
            self._json({"url": f"{hub.url}/{name}"}, 409 if known else 200)
        elif "/preupload/" in path:
            self._json(
                {
                    "files": [
                        {
                            "path": entry["path"],
                            "uploadMode": "lfs" if entry["path"].endswith((LARGE, ".png")) else "regular",
                            "shouldIgnore": False,
                            "oid": None,
                        }
                        for entry in json.loads(body)["files"]
                    ]
                }
            )
        elif "/commit/" in path:
            name = path.removeprefix("/api/models/").partition("/commit/")[0]
            self._commit(hub.repositories[name], body)
            self._json({"commitUrl": f"{hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})
        else:  # .../verify
            self._json({})

    def _where(self, entry: dict[str, Any]) -> dict[str, Any]:
        """How a large file is to be uploaded."""
        href = f"{self.hub.url}/stored/{entry['oid']}"
        actions = {"upload": {"href": href, "header": {}}, "verify": {"href": f"{href}/verify"}}
        return {**entry, "actions": actions}

    def _commit(self, repository: Repository, body: bytes) -> None:
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.stored[value["oid"]]

    def _resolve(self) -> None:
        """`/{owner}/{repo}/resolve/{revision}/{file}`: what there is, or where it is."""
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", urlsplit(self.path).path)
        if match is None:
            self._refuse(404)
            return
        if self.hub.moved:
            self._send(307, b"", {"Location": f"{self.hub.moved}{self.path}"})
            return
        if self._fault(self.hub.heads):
            return
        name, revision, file = map(unquote, match.groups())
        repository = self.hub.repositories.get(name)
        allowed = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if repository is None or (repository.private and not allowed):
            self._refuse(404 if allowed else 401, "RepoNotFound")
        elif repository.gated and not allowed:
            self._refuse(403, "GatedRepo")
        elif revision not in ("main", repository.commit):
            self._refuse(404, "RevisionNotFound")
        elif file not in repository.files:
            self._refuse(404, "EntryNotFound", commit=repository.commit)
        else:
            data, etag = repository.files[file], etag_of(file, repository.files[file])
            headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{etag}"'}
            if file.endswith(LARGE):
                headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))}
                headers |= {"Location": f"{self.hub.large_at or self.hub.other_host}/large/{etag}"}
                headers |= self.hub.head_headers
                if self.hub.wordy_redirects and self.command == "GET":
                    self._begin(302, headers | {"Transfer-Encoding": "chunked"})
                    self._drip(b"1\r\nx\r\n")
                else:
                    self._send(302, b"", headers)
            else:
                self._send(200, data, headers | self.hub.head_headers)

    def _large(self, etag: str) -> None:
        """A large file, or the range of it that was asked for, as it should be or with a fault."""
        contents = [data for repository in self.hub.repositories.values() for data in repository.files.values()]
        data = next(data for data in contents if sha256(data).hexdigest() == etag)
        fault = _next(self.hub.bodies)
        if isinstance(fault, int):
            self._refuse(fault)
            return
        first, status, headers = 0, 200, {"Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "")):
            first, status = int(match[1]), 206
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        rest = data[first:]
        headers |= self.hub.body_headers
        if fault == "flood" or str(fault).startswith("drip"):
            self._endless(fault, status, rest, headers)
            return
        if fault == "corrupt":
            rest = rest[:-1] + bytes([rest[-1] ^ 1])
        if fault == "long":
            rest += b"\0" * 10
        if fault in ("cut", "slow"):
            self._send(status, rest[: len(rest) // 2], headers, announced=len(rest))
            if fault == "slow":
                self.hub.closing.wait(20)
            self.close_connection = True
        elif fault == "silent":
            self.hub.closing.wait(20)
            self.close_connection = True
        else:
            self._send(status, rest, headers)

    def _endless(self, fault: str, status: int, body: bytes, headers: dict[str, str | None]) -> None:
        if fault in ("drip body", "drip error"):
            self._begin(418 if fault == "drip error" else status, headers | {"Content-Length": str(len(body))})
            self._drip(*(body[i : i + 1] for i in range(len(body))))
        elif fault == "drip headers":
            self._begin(status, headers, is_whole=False)
            self.wfile.write(b"X-Long: ")
            self._drip(b"x")
        elif fault == "drip chunks":
            self._begin(status, headers | {"Transfer-Encoding": "chunked"})
            self.wfile.write(b"1000;")  # the length of the first chunk, and an extension that does not end
            self._drip(b"x")
        else:
            self._begin(status, headers | {"Transfer-Encoding": "chunked"})
            self.close_connection = True
            for piece in (body, *[bytes(2**16)] * 2**15):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.hub.flooded += len(piece)

    def _begin(self, status: int, headers: dict[str, str | None], *, is_whole: bool = True) -> None:
        """Send a status and headers. Without `is_whole`, more headers follow."""
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        if is_whole:
            self.end_headers()
        else:
            self.flush_headers()

    def _drip(self, *pieces: bytes) -> None:
        """Send small pieces at intervals that no timeout of a socket notices, again and again."""
        self.hub.dripping += 1
        self.close_connection = True
        try:
            while True:
                for piece in pieces:
                    if self.hub.closing.wait(DRIP):
                        return
                    self.wfile.write(piece)
                    self.wfile.flush()
        finally:
            self.hub.dripping -= 1

    def _fault(self, plan: deque[Any]) -> bool:
        fault = _next(plan)
        if str(fault).startswith("drip"):
            self._endless(fault, 200, b"", {})
        elif fault == "silent":
            self.hub.closing.wait(20)
            self.close_connection = True
        elif isinstance(fault, int):
            self._refuse(fault)
        return fault is not None

    def _note(self) -> str:
        self.hub.requests.append(Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        return urlsplit(self.path).path

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _refuse(self, status: int, code: str = "", *, commit: str = "", message: str = "") -> None:
        headers = {"X-Error-Code": code, "X-Repo-Commit": commit, "X-Error-Message": message or code}
        self._send(status, b"{}", {name: value for name, value in headers.items() if value})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str | None] | None = None, announced: int = -1
    ) -> None:
        length = {"Content-Length": str(len(body) if announced < 0 else announced)}
        self._begin(status, length | (headers or {}))
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()


def _next(plan: deque[Any]) -> Any:
    if not plan:
        return None
    return plan.popleft() if len(plan) > 1 else plan[0]
