"""
The bucket over S3, and over everything that speaks S3 and honours conditional writes.

A conditional write is never retried blindly. If its answer is lost, the second try fails with 412 because the first one
succeeded, and a retrying client would report a conflict with itself. So it is sent once, and after a doubtful answer the
object is read back: what is there is either what was sent, or somebody else's.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import random
import time
import zlib
from typing import TYPE_CHECKING, Any

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError as Unreachable, HTTPClientError

from warmstate import http

from .bucket import ABSENT, Conflict, Copy, Metered, Missing

if TYPE_CHECKING:
    from collections.abc import Sequence

ATTEMPTS = 4
_PACKED = ".m3u8"
"""The playlist is stored compressed, and marked so: a day has 70 kB of lines that are much alike."""
_TYPES = {".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/iso.segment"}


class S3Bucket(Metered):
    """The objects of one S3 bucket below `prefix`. `endpoint_url` and credentials come from AWS's usual places."""

    def __init__(self, name: str, prefix: str = "", *, endpoint_url: str | None = None) -> None:
        self._name = name
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        session = boto3.session.Session()

        def client(attempts: int) -> Any:
            config = Config(
                signature_version="s3v4",
                connect_timeout=3,
                read_timeout=20,
                retries={"mode": "standard", "total_max_attempts": attempts},
                request_checksum_calculation="when_required",  # the newer default is not understood by every server
                response_checksum_validation="when_required",
            )
            return session.client("s3", endpoint_url=endpoint_url, config=config)

        self._client, self._once = client(ATTEMPTS), client(1)
        self._photos = http.session(timeout=(3, 20))  # uses no connection that a freeze may have broken

    def __repr__(self) -> str:
        return f"<S3Bucket s3://{self._name}/{self._prefix}>"

    def get(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, str]:
        part: dict[str, str] = (
            {} if not start and end is None else {"Range": f"bytes={start}-{'' if end is None else end - 1}"}
        )
        self._count()
        if not key.endswith(_PACKED):
            try:  # half the work of the client's own way, which is a tenth of what a photo costs in all
                url = self._client.generate_presigned_url("get_object", Params=self._at(key))
                quick = self._photos.get(url, headers={"Accept-Encoding": "identity", **part})
                if quick.status_code in {200, 206}:
                    self._count(len(quick.content), 0)
                    return quick.content, quick.headers["ETag"]
            except requests.RequestException:
                pass  # whatever it was, the client below tells it apart, and tries again where that may help
        try:
            answer = self._client.get_object(**self._at(key), **part)
        except ClientError as error:
            if _status(error) == 416:  # nothing in that range: the object is shorter, or empty
                return b"", self.etag(key)
            raise _translated(error, key) from error
        return self._unpacked(key, answer["Body"].read()), answer["ETag"]

    def etag(self, key: str) -> str:
        self._count()
        try:
            return str(self._client.head_object(**self._at(key))["ETag"])
        except ClientError as error:
            if _status(error) == 404:
                return ABSENT
            raise

    def put(self, key: str, data: bytes, *, match: str | None) -> str:
        condition = {} if match is None else {"IfMatch": match} if match else {"IfNoneMatch": "*"}
        target = self._at(key) | {"Body": data, "ContentType": _content_type(key)} | condition
        if key.endswith(_PACKED):
            target |= {"Body": gzip.compress(data, 6, mtime=0), "ContentEncoding": "gzip"}
        for attempt in range(1, ATTEMPTS + 1):
            self._count(len(target["Body"]))
            try:
                return str(self._once.put_object(**target)["ETag"])
            except (ClientError, HTTPClientError, Unreachable) as error:
                if isinstance(error, ClientError) and _status(error) not in {404, 409, 412, 429, 500, 502, 503, 504}:
                    raise
                there = self._read_back(key)
                if there is not None and there[0] == data:
                    return there[1]  # the answer was lost, not the write
                if match is not None and (there[1] if there else ABSENT) != match:
                    raise Conflict(key) from error
                if attempt == ATTEMPTS:
                    raise
            time.sleep(random.uniform(0.5, 1) * 0.05 * 2**attempt)  # noqa: S311  # spreads retries, hides nothing
        raise AssertionError("unreachable")

    def compose(self, key: str, pieces: Sequence[bytes | Copy], *, match: str) -> str:
        if len(pieces) == 1 and isinstance(pieces[0], bytes):
            return self.put(key, pieces[0], match=match)
        self._count(sum(len(piece) for piece in pieces if isinstance(piece, bytes)), len(pieces) + 2)
        target = self._at(key)
        upload = target | {
            "UploadId": self._client.create_multipart_upload(**target, ContentType=_content_type(key))["UploadId"]
        }
        condition = {"IfMatch": match} if match else {"IfNoneMatch": "*"}
        try:
            parts = [self._part(upload | {"PartNumber": number}, piece) for number, piece in enumerate(pieces, 1)]
            return self._complete(key, parts, upload | condition)
        except ClientError as error:
            self._client.abort_multipart_upload(**upload)
            raise _translated(error, key) from error

    def list(self, prefix: str, after: str, limit: int) -> list[str]:
        keys: list[str] = []
        while limit > len(keys):
            self._count()
            start = keys[-1] if keys else self._prefix + after
            page = self._client.list_objects_v2(
                Bucket=self._name, Prefix=self._prefix + prefix, StartAfter=start, MaxKeys=min(1000, limit - len(keys))
            )
            keys += [entry["Key"] for entry in page.get("Contents", [])]
            if not page.get("IsTruncated"):
                break
        return [key.removeprefix(self._prefix) for key in keys]

    def close(self) -> None:
        self._client.close()
        self._once.close()
        self._photos.close()

    def _unpacked(self, key: str, data: bytes) -> bytes:
        self._count(len(data), 0)
        try:
            return gzip.decompress(data) if key.endswith(_PACKED) else data
        except (OSError, EOFError, zlib.error):
            return data  # put there by somebody else, or damaged, which its reader will notice

    def _at(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._name, "Key": self._prefix + key}

    def _part(self, part: dict[str, Any], piece: bytes | Copy) -> dict[str, Any]:
        if isinstance(piece, bytes):
            etag = self._client.upload_part(**part, Body=piece)["ETag"]
        else:
            etag = self._client.upload_part_copy(
                **part,
                CopySource=self._at(piece.key),
                CopySourceRange=f"bytes={piece.start}-{piece.end - 1}",
                CopySourceIfMatch=piece.etag,
            )["CopyPartResult"]["ETag"]
        return {"PartNumber": part["PartNumber"], "ETag": etag}

    def _complete(self, key: str, parts: Sequence[dict[str, Any]], upload: dict[str, Any]) -> str:
        try:
            return str(self._once.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})["ETag"])
        except (HTTPClientError, Unreachable):
            digests = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
            there = self.etag(key)
            if there.strip('"') == f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}":
                return there  # the answer was lost, not the object
            raise

    def _read_back(self, key: str) -> tuple[bytes, str] | None:
        try:
            return self.get(key)
        except Missing:
            return None


def _content_type(key: str) -> str:
    suffix = "." + key.rpartition(".")[2]
    return _TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _translated(error: ClientError, key: str) -> Exception:
    if error.response.get("Error", {}).get("Code") in {"KeyTooLongError", "InvalidRequest"}:
        return Missing(key)  # no object can have such a key
    kinds = {404: Missing, 409: Conflict, 412: Conflict}
    return kinds[_status(error)](key) if _status(error) in kinds else error
