"""What the server must refuse, shown with botocore: a client that is not ours."""

import base64
import hashlib
import http.client

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lib.s3 import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from lib.tls import Certificate


def code_of(function, *args, **kwargs):
    with pytest.raises(ClientError) as error:
        function(*args, **kwargs)
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"], error.value.response["Error"]["Code"]


def signed(server, method, path, body=b"", headers=None, host=None, secret=SECRET_KEY, sign_body=None):
    """A request signed by botocore, ready to be altered: (method, path, body, headers)."""
    host = host or f"127.0.0.1:{server.port}"
    request = AWSRequest(method, f"http://{host}{path}", data=body, headers={"Host": host, **(headers or {})})
    request.context["payload_signing_enabled"] = True
    if sign_body is not None:
        request.data = sign_body
    S3SigV4Auth(Credentials(ACCESS_KEY, secret), "s3", REGION).add_auth(request)
    return method, path, body, dict(request.headers.items())


def send(server, method, path, body, headers, chunked=False):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if name.lower() != "content-length" or not chunked:
            connection.putheader(name, value)
    if chunked:
        connection.putheader("Transfer-Encoding", "chunked")
    elif "content-length" not in map(str.lower, headers):
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders([body] if chunked else body, encode_chunked=chunked)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_signed_requests_pass(bucket):
    for key in ("plain", "a/b c", "ä~%41+&=?#", "a//b", "'()*!,;:@$[]", "\u6f22\n"):
        body = key.encode() * 3
        bucket.put(key, body, Metadata={"mtime": "1.5", "spaced": "a  b"})
        assert bucket.read(key) == body
    assert len(bucket.keys()) == 6


def test_virtual_host(server, bucket):
    host = f"{bucket.name}.localhost:{server.port}"
    assert send(server, *signed(server, "PUT", "/under/host", b"x", host=host))[0] == 200
    assert bucket.read("under/host") == b"x"


def test_unsigned_is_refused(server, bucket):
    assert send(server, "GET", f"/{bucket.name}?list-type=2", b"", {"Host": "127.0.0.1"})[0] == 403


@pytest.mark.parametrize("credentials, expected", [
    ({"aws_secret_access_key": "wrong"}, "SignatureDoesNotMatch"),
    ({"aws_access_key_id": "nobody"}, "InvalidAccessKeyId"),
    ({"aws_session_token": "unknown"}, "InvalidToken"),
    ({"region_name": "eu-west-1"}, "AuthorizationHeaderMalformed"),
])
def test_wrong_credentials(bucket, credentials, expected):
    with S3Server("--region", REGION) as strict:
        strict.bucket("b")
        assert code_of(strict.client(**credentials).put_object, Bucket="b", Key="k", Body=b"x")[1] == expected


@pytest.mark.parametrize("alter, expected", [
    (lambda m, p, b, h: (m, p, b"altered!", h), "XAmzContentSHA256Mismatch"),
    (lambda m, p, b, h: (m, p + "x", b, h), "SignatureDoesNotMatch"),
    (lambda m, p, b, h: (m, p + "?versionId=1", b, h), "SignatureDoesNotMatch"),
    (lambda m, p, b, h: (m, p, b, {**h, "x-amz-meta-mtime": "2"}), "SignatureDoesNotMatch"),
    (lambda m, p, b, h: (m, p, b, {**h, "x-amz-acl": "public-read"}), "not signed"),
    (lambda m, p, b, h: (m, p, b, {**h, "Host": "localhost:1"}), "SignatureDoesNotMatch"),
    (lambda m, p, b, h: (m, p, b, {**h, "Authorization": h["Authorization"].replace("test-key", "test")}),
     "InvalidAccessKeyId"),
], ids=["body", "path", "query", "header", "unsigned-header", "host", "key-id"])
def test_altered_requests(server, bucket, alter, expected):
    request = signed(server, "PUT", f"/{bucket.name}/k", b"original", {"x-amz-meta-mtime": "1"})
    assert send(server, *request)[0] == 200
    status, text = send(server, *alter(*request))
    assert status in (400, 403) and expected in text
    assert bucket.read("k") == b"original"


def test_clock_skew(server, bucket):
    server.options(clock_offset=16 * 60)
    assert code_of(bucket.put, "k", b"x") == (403, "RequestTimeTooSkewed")
    server.options(clock_offset=-14 * 60)
    bucket.put("k", b"x")


def test_length_is_required(server, bucket):
    assert send(server, *signed(server, "PUT", f"/{bucket.name}/k", b"x"), chunked=True)[0] == 411


@pytest.mark.parametrize("name, right, wrong", [
    ("ChecksumSHA256", base64.b64encode(hashlib.sha256(b"x").digest()), base64.b64encode(bytes(32))),
    ("ContentMD5", base64.b64encode(hashlib.md5(b"x").digest()), base64.b64encode(bytes(16))),
])
def test_checksums(bucket, name, right, wrong):
    bucket.put("right", b"x", **{name: right.decode()})
    assert code_of(bucket.put, "wrong", b"x", **{name: wrong.decode()}) == (400, "BadDigest")
    assert bucket.keys() == ["right"]


def test_checksum_is_returned_only_if_given(server, bucket):
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    bucket.put("with", b"x", ChecksumSHA256=digest)
    bucket.put("without", b"x")
    assert bucket.head("with")["ChecksumSHA256"] == digest
    assert "ChecksumSHA256" not in bucket.head("without")
    server.options(checksums=False)
    assert "ChecksumSHA256" not in bucket.head("with")


def test_etag(server, bucket):
    bucket.put("k", b"x")
    assert bucket.head("k")["ETag"] == f'"{hashlib.md5(b"x").hexdigest()}"'
    server.options(etag="opaque")
    assert hashlib.md5(b"x").hexdigest() not in bucket.head("k")["ETag"]


def test_conditional_writes(bucket):
    etag = bucket.put("k", b"1", IfNoneMatch="*")["ETag"]
    assert code_of(bucket.put, "k", b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert code_of(bucket.put, "k", b"2", IfMatch='"0"') == (412, "PreconditionFailed")
    bucket.put("k", b"2", IfMatch=etag)
    assert bucket.read("k") == b"2"


def test_copy(bucket):
    source = {"Bucket": bucket.name, "Key": "a b/ü"}
    bucket.put("a b/ü", b"x", Metadata={"mtime": "1"})
    bucket.boto.copy_object(Bucket=bucket.name, Key="same", CopySource=source)
    bucket.boto.copy_object(Bucket=bucket.name, Key="other", CopySource=source, MetadataDirective="REPLACE",
                            Metadata={"mtime": "2"})
    assert bucket.read("same") == bucket.read("other") == b"x"
    assert [bucket.head(key)["Metadata"]["mtime"] for key in ("same", "other")] == ["1", "2"]
    missing = {"Bucket": bucket.name, "Key": "nothing"}
    assert code_of(bucket.boto.copy_object, Bucket=bucket.name, Key="k", CopySource=missing) == (404, "NoSuchKey")


def test_ranges(bucket):
    bucket.put("k", b"0123456789")
    get = bucket.boto.get_object
    for text, expected in (("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-2", b"89"), ("bytes=8-99", b"89")):
        assert get(Bucket=bucket.name, Key="k", Range=text)["Body"].read() == expected
    assert code_of(get, Bucket=bucket.name, Key="k", Range="bytes=10-")[1] == "InvalidRange"


def test_listing_in_utf8_order_and_pages(bucket):
    keys = ["\U0001f600", "\uff5e", "a", "b/1", "b/2", "b0", "z\n"]
    for key in keys:
        bucket.put(key, b"")
    pages = bucket.boto.get_paginator("list_objects_v2").paginate(
        Bucket=bucket.name, PaginationConfig={"PageSize": 2}, EncodingType="url")
    listed = [page.get("Contents", []) for page in pages]
    assert len(listed) == 4
    assert bucket.keys() == sorted(keys, key=str.encode)
    answer = bucket.boto.list_objects_v2(Bucket=bucket.name, Prefix="b/")
    assert [item["Key"] for item in answer["Contents"]] == ["b/1", "b/2"]


def test_versions(server, bucket):
    versioned = server.bucket("versioned", versioning=True)
    first, second = (versioned.put("k", body)["VersionId"] for body in (b"1", b"2"))
    assert first != second and versioned.read("k") == b"2"
    assert versioned.boto.get_object(Bucket="versioned", Key="k", VersionId=first)["Body"].read() == b"1"
    versioned.boto.delete_object(Bucket="versioned", Key="k")
    assert versioned.keys() == []
    versioned.drop()


def test_limits(bucket):
    bucket.put("k" * 1024, b"")
    assert code_of(bucket.put, "k" * 1025, b"") == (400, "KeyTooLongError")
    assert code_of(bucket.put, "k", b"", Metadata={"a": "x" * 2048}) == (400, "MetadataTooLarge")
    assert code_of(bucket.boto.head_object, Bucket=bucket.name, Key="missing")[0] == 404


def test_what_is_not_there_is_said(bucket):
    assert code_of(bucket.boto.create_multipart_upload, Bucket=bucket.name, Key="k") == (501, "NotImplemented")


def test_large_body(bucket):
    body = bytes(range(256)) * 20000
    bucket.put("k", body)
    assert bucket.read("k") == body
    entry = bucket.requests("PutObject")[0]
    assert entry["bytes"] == len(body) and entry["status"] == 200


def test_tls(tmp_path):
    with S3Server(certificate=Certificate(str(tmp_path))) as server:
        bucket = server.bucket("b")
        assert bucket.put("k", b"x") and bucket.read("k") == b"x"
