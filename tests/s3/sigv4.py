"""AWS Signature Version 4 as a server checks it (written from AWS's public description; shares nothing with ebbfs).

Only the Authorization header is accepted, for the service s3: no presigned queries, no chunk signatures.
"""

import datetime
import hashlib
import hmac
import re
import urllib.parse

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW_SECONDS = 15 * 60
UNRESERVED = "-._~"  # beside letters and digits


class Refused(Exception):
    """An S3 error: HTTP status, code, message."""

    def __init__(self, status, code, message=""):
        super().__init__(f"{status} {code} {message}")
        self.status, self.code, self.message = status, code, message


def decode_path(raw):
    """Percent-decoded bytes of a raw path; a broken escape is refused."""
    if re.search("%(?![0-9A-Fa-f]{2})", raw):
        raise Refused(400, "InvalidURI", "a percent sign without two hexadecimal digits")
    return urllib.parse.unquote_to_bytes(raw)


def canonical_uri(raw_path):
    return urllib.parse.quote(decode_path(raw_path), safe="/" + UNRESERVED)


def canonical_query(raw_query):
    pairs = []
    for part in raw_query.split("&") if raw_query else []:
        name, _, value = part.partition("=")
        pairs.append(tuple(urllib.parse.quote(decode_path(text), safe=UNRESERVED) for text in (name, value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def parse_authorization(text):
    match = re.fullmatch(
        r"AWS4-HMAC-SHA256 +Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request *, *"
        r"SignedHeaders=([a-z0-9;_-]+) *, *Signature=([0-9a-f]{64})",
        text,
    )
    if not match:
        raise Refused(400, "AuthorizationHeaderMalformed", "the authorization header is malformed")
    access_key, date, region, service, signed, signature = match.groups()
    return access_key, date, region, service, signed.split(";"), signature


def signature_of(secret_key, date, region, timestamp, canonical_request):
    scope = f"{date}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical_request.encode("utf-8", "surrogateescape")).hexdigest()
    key = ("AWS4" + secret_key).encode()
    for part in (date, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}".encode(), hashlib.sha256).hexdigest()


def check_time(timestamp, date, now):
    try:
        sent = datetime.datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        raise Refused(403, "AccessDenied", "AWS authentication requires a valid x-amz-date") from None
    if not timestamp.startswith(date):
        raise Refused(400, "AuthorizationHeaderMalformed", "the credential's date is not that of x-amz-date")
    if abs(sent.timestamp() - now) > MAX_SKEW_SECONDS:
        raise Refused(403, "RequestTimeTooSkewed", "the difference between the clocks is too large")


def verify(method, raw_path, raw_query, headers, *, access_key, secret_key, session_token, region, now):
    """Raises Refused unless the request is signed by these credentials. headers: a multidict.

    The body is the caller's to compare with x-amz-content-sha256, which the signature covers."""
    if "Authorization" not in headers:
        raise Refused(403, "AccessDenied", "anonymous requests are not allowed")
    key_id, date, scope_region, service, signed, signature = parse_authorization(headers["Authorization"])
    if key_id != access_key:
        raise Refused(403, "InvalidAccessKeyId", "the access key does not exist in our records")
    if service != "s3" or (region and scope_region != region):
        raise Refused(400, "AuthorizationHeaderMalformed", f"expecting the region {region!r} and the service 's3'")
    if headers.get("x-amz-security-token") != session_token:
        raise Refused(400, "InvalidToken", "the provided token is malformed or otherwise invalid")
    timestamp = headers.get("x-amz-date", "")
    check_time(timestamp, date, now)
    if signed != sorted(signed) or "host" not in signed:
        raise Refused(403, "SignatureDoesNotMatch", "SignedHeaders must be sorted and hold host")
    unsigned = [name.lower() for name in headers if name.lower().startswith("x-amz-") and name.lower() not in signed]
    if unsigned:
        raise Refused(403, "AccessDenied", f"there were headers present which were not signed: {unsigned}")
    payload = headers.get("x-amz-content-sha256")
    if payload is None:
        raise Refused(400, "InvalidRequest", "missing required header x-amz-content-sha256")
    lines = []
    for name in signed:
        if name not in headers:
            raise Refused(403, "SignatureDoesNotMatch", f"signed header {name} is absent")
        values = ",".join(re.sub(" +", " ", value.strip()) for value in headers.getall(name))
        lines.append(f"{name}:{values}\n")
    request = "\n".join([method, canonical_uri(raw_path), canonical_query(raw_query), "".join(lines), ";".join(signed),
                         payload])
    if not hmac.compare_digest(signature, signature_of(secret_key, date, scope_region, timestamp, request)):
        raise Refused(403, "SignatureDoesNotMatch", "the signature we calculated does not match; ours was for:\n"
                      + request)
