"""Objects of S3 and of stores that speak its language, through s3fs.

Reads name the version that was looked at, so that no file is made of two. Uploads of several parts that fail are
aborted, so that no parts remain.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from dagan_cli.media.remote.address import Address
from dagan_cli.media.remote.driver import answered, failures, file_system
from dagan_cli.media.remote.patience import Patience, Permanent, Transient, patiently
from dagan_cli.media.remote.store import BLOCK, Changed, Facts, Listed, Opened

_PART = 16 << 20  # bytes; smaller files are sent at once
_MOST_PARTS = 9_000  # S3 takes 10,000
_MD5 = re.compile(r'"([0-9a-f]{32})"')
_OPTIONS = {"connect_timeout": 20, "read_timeout": 60, "retries": {"total_max_attempts": 1}}  # seconds; we try again


class S3Store:
    """Objects in buckets."""

    can_write = True

    def __init__(self) -> None:
        self._files = file_system("s3", config_kwargs=_OPTIONS)
        self._files.retries = 1  # its own, around each request
        from fsspec.asyn import sync

        self._sync = sync

    def look(self, address: Address) -> Facts | None:
        """Return the facts of an object; None if there is none."""
        bucket, key = _place(address)
        if not key or key.endswith("/"):
            return None
        try:
            return _facts(self._call("head_object", Bucket=bucket, Key=key))
        except Permanent as error:
            if error.__context__ is not None and answered(error.__context__)[0] == 404:
                return None
            raise

    @contextmanager
    def read(self, address: Address, start: int, known: Facts | None) -> Iterator[Opened]:
        """Read an object from a place on. Raises Changed if it is not the one that is known."""
        bucket, key = _place(address)
        options = {"Range": f"bytes={start}-"} if start else {}
        if known and known.tag:
            options["IfMatch"] = known.tag
        answer = self._call("get_object", Bucket=bucket, Key=key, **options)
        with self._closing(answer["Body"]) as body:
            facts = _facts(answer)
            if known and facts != known:
                raise Changed
            yield Opened(facts, start, self._blocks(body))

    def part(self, address: Address, start: int, stop: int, known: Facts) -> bytes:
        """Return a part of an object. Raises Changed."""
        bucket, key = _place(address)
        condition = {"IfMatch": known.tag} if known.tag else {}
        answer = self._call("get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{stop - 1}", **condition)
        with self._closing(answer["Body"]) as body:
            data = b"".join(self._blocks(body, stop - start))
        if len(data) != stop - start:
            raise Transient(f"the store sent {len(data):,} of {stop - start:,} bytes")
        return data

    def names(self, folder: Address, *, recursive: bool, prefix: str = "") -> Iterator[Listed]:
        """Yield what is in a folder, page by page."""
        bucket, key = _place(folder)
        root = f"{key.rstrip('/')}/" if key.strip("/") else ""
        options: dict[str, Any] = {} if recursive else {"Delimiter": "/"}
        while True:
            options |= {"Bucket": bucket, "Prefix": root + prefix}
            page = patiently(lambda options=options: self._call("list_objects_v2", **options), lambda: False)
            for each in page.get("CommonPrefixes", ()):
                yield Listed(each["Prefix"].removeprefix(root).rstrip("/"), None, is_folder=True)
            for each in page.get("Contents", ()):
                relative = each["Key"].removeprefix(root)
                if relative and not relative.endswith("/"):  # an empty object marks a folder
                    yield Listed(relative, each.get("Size"))
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token:
                return
            if token == options.get("ContinuationToken"):
                raise Permanent("the store repeats a page of its list without end", "check the store")
            options["ContinuationToken"] = token

    def put(self, file: BinaryIO, address: Address, should_stop: Callable[[], bool]) -> None:
        """Write a local file as an object, in parts if it is large. Raises Permanent and Cancelled."""
        bucket, key = _place(address)
        place = {"Bucket": bucket, "Key": key}
        kind = {"ContentType": mimetypes.guess_type(key)[0] or "application/octet-stream"}
        size = file.seek(0, 2)
        file.seek(0)
        if size <= _PART:
            data = file.read()
            patiently(lambda: self._call("put_object", **place, **kind, Body=data), should_stop)
            return
        part = max(_PART, -(-size // _MOST_PARTS))
        upload = patiently(lambda: self._call("create_multipart_upload", **place, **kind), should_stop)["UploadId"]
        try:
            self._send_parts(file, place, upload, part, should_stop)
        except BaseException:
            self._abort(place, upload)
            raise

    def require_writable(self, address: Address) -> None:
        """Raise Permanent if an upload cannot be started here. None is left behind."""
        bucket, key = _place(address)
        place = {"Bucket": bucket, "Key": key or "dagan"}
        try:
            answer = patiently(lambda: self._call("create_multipart_upload", **place), lambda: False)
        except Permanent as error:
            if error.__context__ is not None and answered(error.__context__)[0] in (401, 403, 404):
                raise
            return  # a store that knows no parts may still take small files
        self._abort(place, answer["UploadId"])

    def _send_parts(
        self, file: BinaryIO, place: dict[str, str], upload: str, size: int, should_stop: Callable[[], bool]
    ) -> None:
        tags: list[dict[str, Any]] = []
        while data := file.read(size):
            options = {**place, "UploadId": upload, "PartNumber": len(tags) + 1, "Body": data}
            answer = patiently(lambda options=options: self._call("upload_part", **options), should_stop)
            tags.append({"PartNumber": len(tags) + 1, "ETag": answer["ETag"]})
        parts = {"Parts": tags}
        patiently(
            lambda: self._call("complete_multipart_upload", **place, UploadId=upload, MultipartUpload=parts),
            should_stop,
        )

    def _abort(self, place: dict[str, str], upload: str) -> None:
        """Remove the parts of an upload, or try to: the error that ends it is the one to report."""
        patience = Patience(lambda: False)
        for _ in range(3):
            try:
                self._call("abort_multipart_upload", **place, UploadId=upload)
            except Transient as error:
                patience.wait(error)
                continue
            except (Permanent, Changed):
                pass
            return

    def _call(self, method: str, **options: Any) -> Any:
        with failures("s3", of_known=method == "get_object"):
            return self._files.call_s3(method, **options)

    def _blocks(self, body: Any, most: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a body; end after the block in which more came than `most`."""
        at = 0
        while most is None or at <= most:
            with failures("s3", of_known=True):
                block = self._sync(self._files.loop, body.read, BLOCK)
            if not block:
                return
            at += len(block)
            yield block

    @contextmanager
    def _closing(self, body: Any) -> Iterator[Any]:
        try:
            yield body
        finally:
            with suppress(RuntimeError):
                self._files.loop.call_soon_threadsafe(body.close)


def _place(address: Address) -> tuple[str, str]:
    bucket, _, key = address.path.partition("/")
    return bucket, key


def _facts(answer: dict[str, Any]) -> Facts:
    """Return the facts of the whole object. Its tag is the MD5 of its content if it was sent at once, unencrypted."""
    size, tag = answer.get("ContentLength"), str(answer.get("ETag") or "")
    if "/" in str(answer.get("ContentRange", "")):
        total = answer["ContentRange"].rpartition("/")[2]
        size = int(total) if total.isdecimal() else None
    plain = answer.get("ServerSideEncryption") in (None, "AES256") and not answer.get("SSECustomerAlgorithm")
    found = _MD5.fullmatch(tag) if plain else None
    return Facts(size, tag, found[1] if found else "")
