#!/usr/bin/env python3
"""A strict S3 server for tests, with faults on demand: server.py --ready FILE [options].

It checks every signature, hash, checksum and condition as S3 does, keeps the objects for as long as it runs, and notes
every request. It listens on a loopback port of its own choosing and writes {"port", "control_port", "pid"} to --ready
once it serves. The control port takes plain JSON over HTTP (control.py); faults.py says what can go wrong on demand.

It is the only client-independent judge of what ebbfs sends, so it shares no code with it.
"""

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import ssl
import sys
import tempfile
import time

from aiohttp import web

from control import make_control
from faults import Faults
from operations import KEY_MAX, Answer, Call, Operations, operation_of
from sigv4 import Refused, decode_path, verify
from store import Body

PIECE = 1 << 18


class Gone(Exception):
    """The connection was closed on purpose."""


class Server:
    def __init__(self, arguments):
        self.arguments = arguments
        self.options = {"checksums": True, "etag": "md5", "conditional": True, "verify": arguments.verify,
                        "clock_offset": 0}
        self.operations = Operations(self.options)
        self.faults = Faults()
        self.directory = tempfile.mkdtemp(prefix="ebbfs-s3-", dir=arguments.directory)
        self.log, self.log_file = [], None
        if arguments.log:
            self.log_file = open(arguments.log, "a", buffering=1)
        self.web = web.Server(self.handle, access_log=None)
        self.runner = self.site = None
        self.port, self.in_flight, self.in_flight_max = 0, 0, 0

    # ---- listening

    async def listen(self):
        if self.runner is None:
            self.runner = web.ServerRunner(self.web)
            await self.runner.setup()
        if self.site is not None:
            return
        context = None
        if self.arguments.tls_certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.arguments.tls_certificate, self.arguments.tls_key)
        self.site = web.TCPSite(self.runner, "127.0.0.1", self.port, ssl_context=context, reuse_address=True)
        await self.site.start()
        self.port = self.runner.addresses[0][1]

    async def refuse(self):
        """Stops listening and drops every connection, so that new ones are refused."""
        if self.site is not None:
            site, self.site = self.site, None
            # A site's stop() waits for requests that are under way; they shall break off, not end.
            site._server.close()
            self.runner._unreg_site(site)
        for connection in list(self.web.connections):
            if connection.transport is not None:
                connection.transport.abort()

    # ---- one request

    def split(self, raw_path, host):
        """Bucket and key: virtual-host style when the host has a name before localhost, else path style."""
        name = host.rsplit(":", 1)[0].lower()
        path = decode_path(raw_path)
        if not path.startswith(b"/"):
            raise Refused(400, "InvalidURI")
        try:
            path = path[1:].decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(400, "InvalidURI", "the key is not UTF-8") from None
        if name.endswith(".localhost"):
            return name.removesuffix(".localhost"), path
        bucket, _, key = path.partition("/")
        return bucket, key

    async def handle(self, request):
        raw_path, _, raw_query = request.raw_path.partition("?")
        entry = {"time": time.time(), "method": request.method, "operation": "", "bucket": "", "key": "", "status": 0,
                 "code": "", "bytes": 0, "fault": "", "peer": (request.transport.get_extra_info("peername") or [0, 0])[1],
                 "payload": request.headers.get("x-amz-content-sha256", "")}
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        rule = None
        try:
            query = {}
            for part in raw_query.split("&") if raw_query else []:
                name, _, value = part.partition("=")
                query[decode_path(name).decode()] = decode_path(value).decode()
            bucket, key = self.split(raw_path, request.headers.get("Host", ""))
            call = Call(request.method, bucket, key, query, request.headers)
            call.operation = operation_of(request.method, bucket, key, query, request.headers)
            entry.update(operation=call.operation, bucket=bucket, key=key)
            rule = self.faults.pick(request.method, call.operation, key)
            entry["fault"] = rule.spec["action"] if rule else ""
            if rule and rule.spec["action"] == "status":
                raise Refused(rule.spec.get("status", 503), rule.spec.get("code", "SlowDown"), "a fault on demand")
            answer = await self.answer(request, call, raw_path, raw_query, rule, entry)
            entry["status"] = answer.status
            return await self.send(request, answer, rule)
        except Refused as refused:
            entry.update(status=refused.status, code=refused.code)
            return self.error(request, refused, rule)
        except (Gone, ConnectionError, asyncio.CancelledError) as gone:
            entry["code"] = entry["code"] or type(gone).__name__
            raise
        finally:
            self.in_flight -= 1
            self.note(entry)

    def note(self, entry):
        entry["seconds"] = round(time.time() - entry["time"], 6)
        self.log.append(entry)
        if self.log_file:
            self.log_file.write(json.dumps(entry) + "\n")

    async def answer(self, request, call, raw_path, raw_query, rule, entry):
        now = time.time() + self.options["clock_offset"]
        if self.options["verify"]:
            verify(request.method, raw_path, raw_query, request.headers, access_key=self.arguments.access_key,
                   secret_key=self.arguments.secret_key, session_token=self.arguments.session_token,
                   region=self.arguments.region, now=now)
        if len(call.key.encode()) > KEY_MAX:
            raise Refused(400, "KeyTooLongError", "your key is too long")
        if any(part in (".", "..") for part in call.key.split("/")):
            raise Refused(400, "InvalidURI", "the key has . or .. parts")
        call.body = await self.receive(request, rule, entry)
        if rule and rule.spec["action"] == "corrupt" and call.operation == "PutObject":
            self.corrupt(call)
        answer = self.operations.run(call)
        if rule and rule.spec["action"] == "lost_answer":
            entry["status"] = answer.status
            raise self.hang_up(request)
        if rule:
            self.spoil(answer, rule, call)
        return answer

    @staticmethod
    def corrupt(call):
        body = Body(None)
        original = call.body.read()
        body.write(bytes([original[0] ^ 1]) + original[1:] if original else b"")
        # Conditions and checksums were meant for the bytes that came.
        call.body = body
        call.headers = call.headers.copy()
        for name in ("x-amz-checksum-sha256", "Content-MD5", "x-amz-sdk-checksum-algorithm"):
            call.headers.pop(name, None)

    async def receive(self, request, rule, entry):
        """The request's body, compared with what was signed."""
        if request.method == "PUT":
            if "Content-Length" not in request.headers or "Transfer-Encoding" in request.headers:
                raise Refused(411, "MissingContentLength", "you must provide the Content-Length header")
        action = rule.spec["action"] if rule else ""
        limit = rule.spec.get("bytes", 0) if action in ("reset", "stall") else None
        body = Body(self.directory)
        if request.headers.get("Expect", "").lower() == "100-continue" and not request.content.is_eof():
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        if limit == 0:
            await self.interrupt(request, rule)
            limit = None
        async for chunk in request.content.iter_any():
            body.write(chunk)
            entry["bytes"] = body.size
            if limit is not None and body.size >= limit:
                await self.interrupt(request, rule)
                limit = None
        body.close()
        expected = request.headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
        if expected.startswith("STREAMING-"):
            raise Refused(501, "NotImplemented", expected)
        if self.options["verify"] and expected != "UNSIGNED-PAYLOAD" and expected != body.sha256.hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch", "x-amz-content-sha256 does not match what was computed")
        return body

    async def interrupt(self, request, rule):
        if rule.spec["action"] == "reset":
            raise self.hang_up(request)
        await rule.stall()
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client left while the request was stalled")

    @staticmethod
    def hang_up(request):
        if request.transport is not None:
            request.transport.abort()
        return Gone()

    def spoil(self, answer, rule, call):
        action = rule.spec["action"]
        if action == "copy_error" and call.operation == "CopyObject":
            code = rule.spec.get("code", "InternalError")
            answer.body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>on demand</Message></Error>'.encode()
            bucket = self.operations.buckets[call.bucket]
            bucket.delete(call.key)
        elif action == "checksum" and "x-amz-checksum-sha256" in answer.headers:
            answer.headers["x-amz-checksum-sha256"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
        elif action == "etag":
            answer.headers["ETag"] = '"00000000000000000000000000000000"'
        elif action == "corrupt" and answer.stream and answer.stream[2]:
            original = answer.stream[0].read(*answer.stream[1:])
            answer.stream, answer.body = None, bytes([original[0] ^ 1]) + original[1:]

    # ---- answering

    def common_headers(self):
        now = time.time() + self.options["clock_offset"]
        return {"x-amz-request-id": f"TEST{len(self.log):012d}", "Server": "ebbfs-test-s3",
                "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now))}

    def error(self, request, refused, rule):
        headers = {**self.common_headers(), "Content-Type": "application/xml"}
        if rule:
            headers.update(rule.spec.get("headers", {}))
        request_id = headers["x-amz-request-id"]
        message = refused.message.replace("&", "&amp;").replace("<", "&lt;")
        body = (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{refused.code}</Code><Message>{message}</Message>'
                f"<RequestId>{request_id}</RequestId></Error>").encode()
        response = web.Response(status=refused.status, headers=headers, body=b"" if request.method == "HEAD" else body)
        if not request.content.is_eof():
            response.force_close()  # the rest of the body may come or not
        return response

    async def send(self, request, answer, rule):
        headers = {**self.common_headers(), **answer.headers}
        cut = rule.spec.get("bytes", 0) if rule and rule.spec["action"] == "truncate" else None
        if answer.stream is None and cut is None:
            return web.Response(status=answer.status, headers=headers, body=answer.body)
        stored, start, length = answer.stream or (None, 0, len(answer.body))
        response = web.StreamResponse(status=answer.status, headers=headers)
        response.content_length = length
        await response.prepare(request)
        at, end = start, start + (length if cut is None else min(cut, length))
        while at < end:
            count = min(PIECE, end - at)
            await response.write(stored.read(at, count) if stored else answer.body[at:at + count])
            at += count
        if cut is not None:
            await asyncio.sleep(0.01)  # lets what was written leave before the reset overtakes it
            raise self.hang_up(request)
        await response.write_eof()
        return response


async def serve(arguments):
    server = Server(arguments)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await server.listen()
        control = web.AppRunner(make_control(server), access_log=None)
        await control.setup()
        await web.TCPSite(control, "127.0.0.1", 0).start()
        ready = {"port": server.port, "control_port": control.addresses[0][1], "pid": os.getpid()}
        if arguments.ready:
            with open(arguments.ready + ".new", "w", encoding="ascii") as file:
                json.dump(ready, file)
            os.rename(arguments.ready + ".new", arguments.ready)
        print(json.dumps(ready), flush=True)
        await stop.wait()
        await server.refuse()
        await control.cleanup()
    finally:
        shutil.rmtree(server.directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ready", help="file that appears when it serves")
    parser.add_argument("--directory", help="where bodies above 1 MiB are kept (default: TMPDIR)")
    parser.add_argument("--log", help="appends a JSON line per request")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--access-key", default="test-key")
    parser.add_argument("--secret-key", default="test-secret")
    parser.add_argument("--session-token")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--no-verify", dest="verify", action="store_false", help="accepts any signature")
    parser.add_argument("--tls-certificate")
    parser.add_argument("--tls-key")
    # What is hung up on purpose is no error of the server's.
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    logging.getLogger("aiohttp.server").addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], (Gone, ConnectionError))))
    arguments = parser.parse_args()
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
