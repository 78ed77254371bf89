"""Stores on the loopback: an S3 that checks keys, and a web server with ranges; both fail as they are told."""

from __future__ import annotations

import hmac
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI-secret"


@dataclass
class Store:
    """What a server holds, what has been asked of it, and how the next answers go wrong."""

    files: dict[str, bytes] = field(default_factory=dict)  # by path: "bucket/films/a.mp4"
    port: int = 0
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path with query, headers
    # By method, or by method and path: what happens to the next requests, one after the other. A number is a status,
    # ("cut", n) ends the connection after n bytes of the body, ("call", f) calls f before the answer, and
    # ("headers", {...}) replaces headers of it; None is a good answer.
    faults: dict[str, deque[Any]] = field(default_factory=dict)
    ranges: bool = True
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)  # of several parts, unfinished
    kinds: dict[str, str] = field(default_factory=dict)  # Content-Type of what was uploaded
    login: str = ""  # "user:password" that the web server wants
    moved: dict[str, str] = field(default_factory=dict)  # redirects, by path
    page: int = 1000  # names of one page of a list
    is_hostile: bool = False  # a list holds all names of a bucket, whatever it is asked for

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find the store and its key, and nothing of this machine's own settings."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def fail(self, request: str, *how: Any) -> None:
        self.faults[request] = deque(how)

    def requests(self, method: str, part: str = "") -> list[tuple[str, str, dict[str, str]]]:
        return [each for each in self.asked if each[0] == method and part in each[1]]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing about clients that were killed."""


@contextmanager
def serving(kind: type[BaseHTTPRequestHandler]) -> Iterator[Store]:
    store = Store()
    server = _Server(("127.0.0.1", 0), type("Handler", (kind,), {"store": store}))
    server.daemon_threads = True
    store.port = server.server_address[1]
    thread = threading.Thread(target=lambda: server.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()


class Web(BaseHTTPRequestHandler):
    """A web server."""

    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/")

    def do_GET(self) -> None:
        if self.enter():
            self.send_file()

    do_HEAD = do_GET

    def enter(self) -> bool:
        """Note a request, and let it fail if that is planned."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.store.asked.append((self.command, self.path, headers))
        planned = self.store.faults.get(f"{self.command} {self.key}") or self.store.faults.get(self.command)
        self.fault = planned.popleft() if planned else None
        if isinstance(self.fault, tuple) and self.fault[0] == "call":
            self.fault[1]()
        if isinstance(self.fault, int):
            self.answer(self.fault)
            return False
        return self.may_enter()

    def may_enter(self) -> bool:
        if place := self.store.moved.get(self.key):
            self.answer(302, headers={"Location": place})
            return False
        if self.store.login:
            import base64

            if self.headers.get("Authorization") != f"Basic {base64.b64encode(self.store.login.encode()).decode()}":
                self.answer(401)
                return False
        return True

    def send_file(self) -> None:
        data = self.store.files.get(self.key)
        if data is None:
            self.missing()
            return
        tag = f'"{md5(data).hexdigest()}"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes" if self.store.ranges else "none"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if self.headers.get("If-Match", tag) != tag:
            self.answer(412, self.error("PreconditionFailed"))
        elif wanted and self.store.ranges and self.headers.get("If-Range", tag) == tag:
            start = int(wanted[1])
            stop = min(len(data), int(wanted[2] or len(data)) + 1) if wanted[2] else len(data)
            if start >= len(data):
                self.answer(416)
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self.answer(206, data[start:stop], headers)
        else:
            self.answer(200, data, headers)

    def missing(self) -> None:
        self.answer(404)

    def error(self, code: str) -> bytes:
        return code.encode()

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        sent = {"Content-Length": str(len(body)), **(headers or {})}
        kind, what = cast(tuple[str, Any], self.fault if isinstance(self.fault, tuple) else ("", None))
        if kind == "headers":
            sent |= what
        self.send_response(status)
        for name, value in sent.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[:what] if kind == "cut" else body)
        self.wfile.flush()
        if kind == "cut":
            time.sleep(0.05)  # what was sent is received before the end
        if kind in ("cut", "headers"):
            self.close_connection = True


class S3(Web):
    """As much of S3 as uploads, downloads and lists need."""

    def may_enter(self) -> bool:
        code = self.refusal()
        if code:
            self.answer(403, self.error(code))
        return not code

    def refusal(self) -> str:
        """Check the signature (Signature Version 4, of headers) without the library that made it."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/s3/aws4_request, ?"
            r"SignedHeaders=([^,]+), ?Signature=(\w+)",
            self.headers.get("Authorization", ""),
        )
        if not found:
            return "AccessDenied"
        access, day, region, names, signature = found.groups()
        if access != KEY:
            return "InvalidAccessKeyId"
        parts = urlsplit(self.path)
        query = "&".join(sorted(f"{quote(k, '~')}={quote(v, '~')}" for k, v in parse_qsl(parts.query, True)))
        signed = "".join(f"{name}:{' '.join(self.headers.get(name, '').split())}\n" for name in names.split(";"))
        body = self.headers.get("x-amz-content-sha256", "")
        canonical = "\n".join((self.command, quote(unquote(parts.path), "/~"), query, signed, names, body))
        scope = f"{day}/{region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{self.headers['x-amz-date']}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{SECRET}".encode()
        for word in (day, region, "s3", "aws4_request", text):
            key = hmac.digest(key, word.encode(), "sha256")
        return "" if key.hex() == signature else "SignatureDoesNotMatch"

    def do_GET(self) -> None:
        if self.enter():
            if "/" in self.key.rstrip("/"):
                self.send_file()
            else:
                self.send_list()

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        data = self.body()
        if not self.enter():
            return
        if self.no_bucket():
            return
        if "partNumber" in self.query:
            parts = self.store.uploads.get(self.query["uploadId"])
            if parts is None:
                self.answer(404, self.error("NoSuchUpload"))
                return
            parts[int(self.query["partNumber"])] = data
        else:
            self.store.files[self.key] = data
            self.store.kinds[self.key] = self.headers.get("Content-Type", "")
        self.answer(200, headers={"ETag": f'"{md5(data).hexdigest()}"'})

    def do_POST(self) -> None:
        self.body()
        if not self.enter() or self.no_bucket():
            return
        bucket, _, key = self.key.partition("/")
        if "uploads" in self.query:
            name = f"upload-{len(self.store.asked)}"
            self.store.uploads[name] = {}
            self.store.kinds[self.key] = self.headers.get("Content-Type", "")
            self.answer_xml(
                f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key>"
                f"<UploadId>{name}</UploadId></InitiateMultipartUploadResult>"
            )
            return
        parts = self.store.uploads.pop(self.query["uploadId"])
        self.store.files[self.key] = b"".join(parts[number] for number in sorted(parts))
        self.answer_xml(
            f'<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>"x-1"</ETag>'
            "</CompleteMultipartUploadResult>"
        )

    def do_DELETE(self) -> None:
        if self.enter():
            if "uploadId" in self.query:
                self.store.uploads.pop(self.query["uploadId"], None)
            else:
                self.store.files.pop(self.key, None)
            self.answer(204)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query, True))

    def body(self) -> bytes:
        if self.headers.get("Expect", "") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return data
        whole = b""
        while data:
            size, _, data = data.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            if not length:
                break
            whole, data = whole + data[:length], data[length + 2 :]
        return whole

    def no_bucket(self) -> bool:
        """Answer that there is no such bucket, and return True, unless there is one: it holds a file."""
        bucket = self.key.partition("/")[0]
        if any(name.startswith(f"{bucket}/") for name in self.store.files):
            return False
        self.answer(404, self.error("NoSuchBucket"))
        return True

    def missing(self) -> None:
        if not self.no_bucket():
            self.answer(404, self.error("NoSuchKey"))

    def send_list(self) -> None:
        if self.no_bucket():
            return
        bucket, query = self.key.rstrip("/"), self.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        if self.store.is_hostile:
            prefix = delimiter = ""
        names: list[tuple[str, bool]] = []
        for path in sorted(self.store.files):
            name = path.removeprefix(f"{bucket}/")
            if path == name or not name.startswith(prefix):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            entry = (prefix + head + delimiter, True) if found else (name, False)
            if entry not in names[-1:]:
                names.append(entry)
        start = int(query.get("continuation-token", 0))
        page = names[start : start + self.store.page]
        more = start + self.store.page < len(names)
        encode = (lambda text: quote(text, "/")) if query.get("encoding-type") == "url" else escape
        sizes = {name: len(self.store.files.get(f"{bucket}/{name}", b"")) for name, _ in page}
        rows = "".join(
            f"<CommonPrefixes><Prefix>{encode(name)}</Prefix></CommonPrefixes>"
            if is_folder
            else f"<Contents><Key>{encode(name)}</Key><Size>{sizes[name]}</Size></Contents>"
            for name, is_folder in page
        )
        token = f"<NextContinuationToken>{start + self.store.page}</NextContinuationToken>" if more else ""
        coded = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
        self.answer_xml(
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{encode(prefix)}</Prefix>{coded}"
            f"<KeyCount>{len(page)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        )

    def error(self, code: str) -> bytes:
        return f"<Error><Code>{code}</Code><Message>refused: {code}</Message></Error>".encode()

    def answer_xml(self, text: str) -> None:
        self.answer(200, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), {"Content-Type": "application/xml"})
