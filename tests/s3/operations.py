"""The S3 operations of the test server, without HTTP around them: each gets a Call and returns an Answer.

What real S3 refuses is refused; what is not needed here is answered 501 NotImplemented, never ignored.
"""

import base64
import email.utils
import re
import time
import urllib.parse
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from sigv4 import Refused, decode_path
from store import Bucket, Object, sha256_base64

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
KEY_MAX = 1024
METADATA_MAX = 2048
PUT_MAX = 5 << 30
STORED_HEADERS = ("Content-Type", "Content-Encoding", "Cache-Control", "x-amz-storage-class",
                  "x-amz-server-side-encryption", "x-amz-tagging")
# Query parameters that choose another operation than the method alone does: all not there.
SUBRESOURCES = {"acl", "attributes", "cors", "delete", "encryption", "legal-hold", "lifecycle", "object-lock", "policy",
                "restore", "retention", "select", "tagging", "torrent", "uploadId", "uploads", "versions", "website"}


@dataclass
class Call:
    method: str
    bucket: str
    key: str
    query: dict
    headers: object  # a case-insensitive multidict
    body: object = None  # a store.Body, complete and checked against x-amz-content-sha256
    operation: str = ""


@dataclass
class Answer:
    status: int = 200
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    stream: object = None  # (store.Body, start, length) instead of body


def operation_of(method, bucket, key, query, headers):
    if not bucket:
        return "ListBuckets"
    if SUBRESOURCES & set(query):
        return "NotImplemented"
    if not key:
        if "versioning" in query:
            return {"GET": "GetBucketVersioning", "PUT": "PutBucketVersioning"}.get(method, "NotImplemented")
        if "location" in query:
            return "GetBucketLocation"
        if method == "GET":
            return "ListObjectsV2" if query.get("list-type") == "2" else "NotImplemented"
        return {"HEAD": "HeadBucket", "PUT": "CreateBucket"}.get(method, "NotImplemented")
    if method == "PUT":
        return "CopyObject" if "x-amz-copy-source" in headers else "PutObject"
    return {"HEAD": "HeadObject", "GET": "GetObject", "DELETE": "DeleteObject"}.get(method, "NotImplemented")


def xml(root, inner):
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} {NAMESPACE}>{inner}</{root}>'.encode()


def iso_time(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


class Operations:
    """options: checksums (return x-amz-checksum-sha256), etag ("md5" or "opaque"), conditional (If-None-Match known)."""

    def __init__(self, options):
        self.options = options
        self.buckets = {}

    def run(self, call):
        handler = getattr(self, call.operation, None)
        if handler is None:
            raise Refused(501, "NotImplemented", f"{call.method} with {sorted(call.query)} is not implemented")
        return handler(call)

    def bucket(self, call):
        if call.bucket not in self.buckets:
            raise Refused(404, "NoSuchBucket", "the specified bucket does not exist")
        return self.buckets[call.bucket]

    def etag(self, stored):
        md5 = stored.etag
        return f'"{md5}"' if self.options["etag"] == "md5" else f'"{md5[:20][::-1]}-opaque"'

    def find(self, call):
        version_id = call.query.get("versionId")
        stored = self.bucket(call).get(call.key, version_id)
        if stored is None:
            raise Refused(404, "NoSuchVersion" if version_id else "NoSuchKey", "the specified key does not exist")
        return stored

    def check_conditions(self, call):
        """If-None-Match and If-Match of a write."""
        existing = self.bucket(call).get(call.key)
        if_none, if_match = call.headers.get("If-None-Match"), call.headers.get("If-Match")
        if (if_none or if_match) and not self.options["conditional"]:
            return
        if if_none is not None and if_none != "*":
            raise Refused(501, "NotImplemented", "If-None-Match of a write must be *")
        if if_none == "*" and existing:
            raise Refused(412, "PreconditionFailed", "at least one of the preconditions did not hold: If-None-Match")
        if if_match is not None:
            if existing is None:
                raise Refused(404, "NoSuchKey", "the specified key does not exist")
            if if_match.strip('"') != self.etag(existing).strip('"'):
                raise Refused(412, "PreconditionFailed", "at least one of the preconditions did not hold: If-Match")

    def stored_answer(self, stored, checksum):
        headers = {"ETag": self.etag(stored)}
        if stored.version_id:
            headers["x-amz-version-id"] = stored.version_id
        if checksum and stored.sha256_base64 and self.options["checksums"]:
            headers["x-amz-checksum-sha256"] = stored.sha256_base64
            headers["x-amz-checksum-type"] = "FULL_OBJECT"
        return headers

    # ---- buckets

    def ListBuckets(self, call):
        names = "".join(f"<Bucket><Name>{escape(name)}</Name></Bucket>" for name in sorted(self.buckets))
        return Answer(body=xml("ListAllMyBucketsResult", f"<Buckets>{names}</Buckets>"))

    def CreateBucket(self, call):
        if call.bucket in self.buckets:
            raise Refused(409, "BucketAlreadyOwnedByYou")
        self.buckets[call.bucket] = Bucket()
        return Answer(headers={"Location": "/" + call.bucket})

    def HeadBucket(self, call):
        self.bucket(call)
        return Answer()

    def GetBucketLocation(self, call):
        self.bucket(call)
        return Answer(body=xml("LocationConstraint", ""))

    def GetBucketVersioning(self, call):
        status = "<Status>Enabled</Status>" if self.bucket(call).versioning else ""
        return Answer(body=xml("VersioningConfiguration", status))

    def PutBucketVersioning(self, call):
        self.bucket(call).versioning = b"<Status>Enabled</Status>" in call.body.read()
        return Answer()

    def ListObjectsV2(self, call):
        bucket, query = self.bucket(call), call.query
        if query.get("delimiter"):
            raise Refused(501, "NotImplemented", "delimiter")
        try:
            limit = min(int(query.get("max-keys", "1000")), 1000)
            token = query.get("continuation-token")
            after = base64.urlsafe_b64decode(token).decode() if token else query.get("start-after")
        except ValueError:
            raise Refused(400, "InvalidArgument", "max-keys or continuation-token") from None
        prefix = query.get("prefix", "")
        keys = bucket.page(prefix, after, limit + 1)
        url = query.get("encoding-type") == "url"
        quote = (lambda text: urllib.parse.quote(text, safe="/-._*")) if url else escape
        more, keys = len(keys) > limit, keys[:limit]
        parts = [f"<Name>{escape(call.bucket)}</Name><Prefix>{quote(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
                 f"<MaxKeys>{limit}</MaxKeys><IsTruncated>{str(more).lower()}</IsTruncated>"]
        if url:
            parts.append("<EncodingType>url</EncodingType>")
        if more:
            token = base64.urlsafe_b64encode(keys[-1].encode()).decode()
            parts.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
        for key in keys:
            stored = bucket.get(key)
            parts.append(f"<Contents><Key>{quote(key)}</Key><LastModified>{iso_time(stored.modified)}</LastModified>"
                         f"<ETag>{escape(self.etag(stored))}</ETag><Size>{stored.body.size}</Size>"
                         "<StorageClass>STANDARD</StorageClass></Contents>")
        return Answer(body=xml("ListBucketResult", "".join(parts)), headers={"Content-Type": "application/xml"})

    # ---- objects

    def PutObject(self, call):
        headers = call.headers
        if call.body.size > PUT_MAX:
            raise Refused(400, "EntityTooLarge")
        for name, wanted in (("x-amz-checksum-sha256", sha256_base64(call.body)),
                             ("Content-MD5", base64.b64encode(call.body.md5.digest()).decode())):
            if headers.get(name, wanted) != wanted:
                raise Refused(400, "BadDigest", f"{name} does not match the body")
        for name in headers:
            if re.match("x-amz-checksum-(?!sha256|algorithm)", name.lower()):
                raise Refused(501, "NotImplemented", name)
        self.check_conditions(call)
        checksum = headers.get("x-amz-checksum-sha256")
        if checksum is None and headers.get("x-amz-sdk-checksum-algorithm") == "SHA256":
            raise Refused(400, "InvalidRequest", "x-amz-sdk-checksum-algorithm without its checksum")
        stored = Object(call.body, self.metadata(headers), self.kept_headers(headers), checksum)
        self.bucket(call).put(call.key, stored)
        return Answer(headers=self.stored_answer(stored, checksum is not None))

    @staticmethod
    def metadata(headers):
        found = {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-amz-meta-")}
        if sum(len(name) - len("x-amz-meta-") + len(value) for name, value in found.items()) > METADATA_MAX:
            raise Refused(400, "MetadataTooLarge")
        return found

    @staticmethod
    def kept_headers(headers):
        return {name: headers[name] for name in STORED_HEADERS if name in headers}

    def copy_source(self, call):
        raw, _, query = call.headers["x-amz-copy-source"].partition("?")
        name, _, key = decode_path(raw).decode("utf-8", "replace").lstrip("/").partition("/")
        version = query.removeprefix("versionId=") if query else None
        source = Call("GET", name, key, {"versionId": version} if version else {}, {})
        return source, self.find(source)

    def CopyObject(self, call):
        headers = call.headers
        source_call, source = self.copy_source(call)
        wanted = headers.get("x-amz-copy-source-if-match")
        if wanted is not None and wanted.strip('"') != self.etag(source).strip('"'):
            raise Refused(412, "PreconditionFailed", "x-amz-copy-source-if-match")
        directive = headers.get("x-amz-metadata-directive", "COPY")
        if directive not in ("COPY", "REPLACE"):
            raise Refused(400, "InvalidArgument", "unknown metadata directive")
        if (source_call.bucket, source_call.key) == (call.bucket, call.key) and directive == "COPY":
            raise Refused(400, "InvalidRequest", "this copy request is illegal: onto itself without a change")
        self.check_conditions(call)
        checksum = source.sha256_base64
        if headers.get("x-amz-checksum-algorithm") == "SHA256":
            checksum = sha256_base64(source.body)
        replace = directive == "REPLACE"
        stored = Object(source.body, self.metadata(headers) if replace else dict(source.metadata),
                        self.kept_headers(headers) if replace else dict(source.headers), checksum)
        self.bucket(call).put(call.key, stored)
        inner = f"<ETag>{escape(self.etag(stored))}</ETag><LastModified>{iso_time(stored.modified)}</LastModified>"
        if checksum and self.options["checksums"]:
            inner += f"<ChecksumSHA256>{checksum}</ChecksumSHA256><ChecksumType>FULL_OBJECT</ChecksumType>"
        answer = {name: value for name, value in self.stored_answer(stored, False).items() if name != "ETag"}
        if source.version_id:
            answer["x-amz-copy-source-version-id"] = source.version_id
        return Answer(body=xml("CopyObjectResult", inner), headers={"Content-Type": "application/xml", **answer})

    def HeadObject(self, call):
        answer = self.GetObject(call)
        answer.headers["Content-Length"] = str(answer.stream[2])
        answer.stream = None
        return answer

    def GetObject(self, call):
        stored, headers = self.find(call), call.headers
        etag = self.etag(stored).strip('"')
        if headers.get("If-Match", etag).strip('"') not in (etag, "*"):
            raise Refused(412, "PreconditionFailed")
        if "If-None-Match" in headers and headers["If-None-Match"].strip('"') in (etag, "*"):
            return Answer(status=304, headers={"ETag": f'"{etag}"'}, stream=(stored.body, 0, 0))
        answer = Answer(headers={
            **stored.headers, **stored.metadata, "Accept-Ranges": "bytes",
            "Last-Modified": email.utils.formatdate(stored.modified, usegmt=True),
            **self.stored_answer(stored, headers.get("x-amz-checksum-mode", "").upper() == "ENABLED")})
        answer.headers.setdefault("Content-Type", "binary/octet-stream")
        self.set_range(answer, stored, headers.get("Range"))
        return answer

    @staticmethod
    def set_range(answer, stored, text):
        size = stored.body.size
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", text or "")
        if not match or match.groups() == ("", ""):
            answer.stream = (stored.body, 0, size)
            return
        first, last = match.groups()
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last), size - 1) if first and last else size - 1
        if start > end:
            raise Refused(416, "InvalidRange", "the requested range is not satisfiable")
        answer.status, answer.stream = 206, (stored.body, start, end - start + 1)
        answer.headers["Content-Range"] = f"bytes {start}-{end}/{size}"

    def DeleteObject(self, call):
        self.bucket(call).delete(call.key)
        return Answer(status=204)
