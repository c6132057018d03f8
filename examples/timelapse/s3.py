"""
The bucket over S3, and over everything that speaks S3 and honours conditional writes.

Requests are signed by botocore and sent through warmstate's session, which uses no connection that a freeze may have broken, and
asks again while the server is busy. That takes half the computing of boto3's client, and there is none to make at the start.

A conditional write that is sent again because its answer was lost may fail with 412, for it has succeeded before. So after each
conflict the object is read back: what is there is either what was sent, or somebody else's.
"""

from __future__ import annotations

import gzip
import os
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree

import botocore.session
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from requests import RequestException

from warmstate import http

from .bucket import Conflict, Copy, Missing, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from requests import Response

    Pairs: TypeAlias = Mapping[str, str]

_NONE: Pairs = {}
_TYPES = {"m3u8": "application/vnd.apple.mpegurl", "m4s": "video/iso.segment", "mp4": "video/mp4"}


class S3Bucket:
    """The objects of one S3 bucket below `prefix`. `endpoint_url`, region and credentials come from AWS's usual places."""

    def __init__(self, name: str, prefix: str = "", *, endpoint_url: str | None = None) -> None:
        self._name = name
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        session = botocore.session.get_session()
        self._region = os.environ.get("AWS_REGION") or session.get_config_variable("region") or "us-east-1"
        endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3")
        self._root = (endpoint_url or f"https://s3.{self._region}.amazonaws.com").rstrip("/") + f"/{name}/"
        credentials = session.get_credentials()
        if credentials is None:
            raise Refused("no AWS credentials: a function gets them from its role, a shell from aws configure")
        self._signer = S3SigV4Auth(credentials, "s3", self._region)
        self._http = http.session(timeout=(3, 20), tries=4, repeats_conditional=True)
        self._http.headers["Accept-Encoding"] = "identity"  # photos and video do not get smaller
        # Proxies and certificates are asked of the environment once, not for each request; and no .netrc replaces the signature.
        how = self._http.merge_environment_settings(self._root, {}, None, None, None)
        self._http.proxies, self._http.verify, self._http.trust_env = how["proxies"], how["verify"], False

    def get(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, str]:
        part = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
        answer = self._send("GET", key, headers=part)
        if answer.status_code == 416:  # nothing in that range: the object is shorter, or empty
            return b"", self.get(key)[1]
        return answer.content, answer.headers["ETag"]

    def put(self, key: str, data: bytes, *, match: str | None) -> str:
        headers, body = _describing(key) | _expecting(match), data
        if key.endswith(".m3u8"):  # a day has 160 kB of lines that are much alike
            headers["Content-Encoding"], body = "gzip", gzip.compress(data, 6, mtime=0)
        try:
            return self._send("PUT", key, _NONE, headers, body).headers["ETag"]
        except (Conflict, Missing) as error:
            with suppress(Missing):
                there, etag = self.get(key)
                if there == data:
                    return etag  # an answer was lost, not the write
            raise Conflict(key) from error

    def compose(self, key: str, pieces: Sequence[bytes | Copy], *, match: str) -> str:
        if len(pieces) == 1 and isinstance(pieces[0], bytes):
            return self.put(key, pieces[0], match=match)
        try:
            upload = {"uploadId": _text(self._send("POST", key, {"uploads": ""}, _describing(key)), "UploadId")}
            etags = [self._part(key, upload | {"partNumber": str(n)}, piece) for n, piece in enumerate(pieces, 1)]
            parts = (f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>" for n, e in enumerate(etags, 1))
            body = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
            return _text(self._send("POST", key, upload, _expecting(match), body), "ETag")
        except (Missing, RequestException) as error:
            raise Conflict(f"{key}: nobody knows whether it was replaced") from error

    def list(self, prefix: str, after: str, limit: int) -> list[str]:
        query = {"list-type": "2", "encoding-type": "url", "prefix": self.prefix + prefix}
        keys: list[str] = []
        start = self.prefix + after
        while limit > len(keys):
            more = {"start-after": start, "max-keys": str(min(1000, limit - len(keys)))}
            page = ElementTree.fromstring(self._send("GET", "", query | more).content)  # noqa: S314  # from the store that we ask
            found = [unquote_plus(entry.text or "") for entry in page.iterfind("{*}Contents/{*}Key")]
            keys += [
                key.removeprefix(self.prefix) for key in found if not key.endswith("/")
            ]  # S3's console marks folders
            if not found or page.findtext("{*}IsTruncated") != "true":
                break
            start = found[-1]
        return keys

    def close(self) -> None:
        self._http.close()

    def _send(self, method: str, key: str, query: Pairs = _NONE, headers: Pairs = _NONE, body: bytes = b"") -> Response:
        if {".", ".."} & set(key.split("/")):
            raise Missing(key)  # S3 may have such a key; on the way there it becomes another
        url = self._root + (quote(self.prefix + key) if key else "")
        url += "?" + urlencode(query, quote_via=quote) if query else ""
        request = AWSRequest(method, url, dict(headers), body)
        self._signer.add_auth(request)
        answer = self._http.request(method, url, headers=dict(request.headers), data=body)
        if answer.ok or answer.status_code == 416:
            return answer
        kind = {404: Missing, 409: Conflict, 412: Conflict}.get(answer.status_code, Refused)
        if answer.status_code in http.BUSY:
            answer.raise_for_status()
        reason = _found(answer.content, "Code") or answer.reason
        raise kind(f"{key}: {answer.status_code} {reason}")

    def _part(self, key: str, part: Pairs, piece: bytes | Copy) -> str:
        if isinstance(piece, bytes):
            return self._send("PUT", key, part, _NONE, piece).headers["ETag"]
        source = {
            "x-amz-copy-source": quote(f"/{self._name}/{self.prefix}{piece.key}"),
            "x-amz-copy-source-range": f"bytes={piece.start}-{piece.end - 1}",
            "x-amz-copy-source-if-match": piece.etag,
        }
        return _text(self._send("PUT", key, part, source), "ETag")


def _expecting(match: str | None) -> dict[str, str]:
    return {} if match is None else {"If-Match": match} if match else {"If-None-Match": "*"}


def _describing(key: str) -> dict[str, str]:
    return {"Content-Type": _TYPES.get(key.rpartition(".")[2], "application/octet-stream")}


def _found(xml: bytes, name: str) -> str | None:
    try:
        return ElementTree.fromstring(xml).findtext(f"{{*}}{name}")  # noqa: S314  # from the store that we ask
    except ElementTree.ParseError:
        return None


def _text(answer: Response, name: str) -> str:
    found = _found(answer.content, name)
    if found is None:  # S3 may begin with 200 and come to another end
        raise RequestException(f"{answer.status_code}, and then {answer.text[:200]}")
    return found
