"""Starts the strict S3 server, steers it, and reads its buckets with boto3."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

import boto3
from botocore.config import Config

from lib.wait import wait_for

SERVER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "s3", "server.py")
ACCESS_KEY, SECRET_KEY, REGION = "test-key", "test-secret", "us-east-1"


class S3Server:
    """One server process. Close it, or use it as a context."""

    def __init__(self, *options, certificate=None):
        self.scheme = "https" if certificate else "http"
        self.ca = certificate.ca if certificate else None
        self.directory = tempfile.mkdtemp(prefix="ebbfs-s3-", dir="/var/tmp")
        ready = os.path.join(self.directory, "ready")
        tls = ["--tls-certificate", certificate.certificate, "--tls-key", certificate.key] if certificate else []
        self.errors = open(os.path.join(self.directory, "stderr"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, SERVER, "--ready", ready, "--directory", self.directory, *tls, *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors)

        def came_up():
            assert self.process.poll() is None, f"the S3 server ended: {self.stderr()}"
            return os.path.exists(ready)
        wait_for(came_up, 30, "the S3 server to serve")
        with open(ready, encoding="ascii") as file:
            ports = json.load(file)
        self.port = ports["port"]
        self.control_port = ports["control_port"]

    def stderr(self):
        with open(self.errors.name, encoding="utf-8") as file:
            return file.read()

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def endpoint(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def client(self, **options):
        """A boto3 client; options replace what fits the server."""
        defaults = dict(endpoint_url=self.endpoint, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
                        region_name=REGION, verify=self.ca,
                        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1},
                                      request_checksum_calculation="when_required",
                                      response_checksum_validation="when_required"))
        return boto3.client("s3", **{**defaults, **options})

    # ---- the control port

    def control(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.control_port}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    def bucket(self, name, versioning=False):
        self.control("POST", "/buckets", {"name": name, "versioning": versioning})
        return BucketView(self, name)

    def fault(self, action, operation=None, key=None, **fields):
        """Adds a fault rule (tests/s3/faults.py); returns its number."""
        match = {name: value for name, value in (("operation", operation), ("key", key)) if value is not None}
        return self.control("POST", "/faults", {"action": action, "match": match, **fields})["id"]

    def clear_faults(self, rule=None):
        self.control("DELETE", "/faults" + (f"?id={rule}" if rule else ""))

    def fault_state(self, rule):
        return next(state for state in self.control("GET", "/state")["faults"] if state["id"] == rule)

    def options(self, **options):
        return self.control("POST", "/options", options)

    def refuse(self, seconds=None):
        self.control("POST", "/refuse", {} if seconds is None else {"seconds": seconds})

    def listen(self):
        self.control("POST", "/listen", {})

    def mark(self):
        return self.control("GET", "/log?since=999999999")["next"]


class BucketView:
    """One bucket: what is in it, read by boto3, and what was asked of it."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.boto = server.client()
        self.first = server.mark()

    def keys(self):
        pages = self.boto.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def read(self, key):
        return self.boto.get_object(Bucket=self.name, Key=key)["Body"].read()

    def head(self, key):
        return self.boto.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")

    def content(self):
        return {key: self.read(key) for key in self.keys()}

    def objects(self):
        """By the control port: key → size, sha256, metadata, checksum, versions. Leaves no trace in the log."""
        return self.server.control("GET", f"/objects?bucket={self.name}")

    def put(self, key, body, **options):
        return self.boto.put_object(Bucket=self.name, Key=key, Body=body, **options)

    def drop(self):
        self.server.control("DELETE", f"/buckets?name={self.name}")

    def requests(self, operation=None, key=None, since=None, status=None):
        """What came for this bucket, those of boto3 included."""
        path = f"/log?since={self.first if since is None else since}&bucket={self.name}"
        if operation:
            path += f"&operation={operation}"
        found = self.server.control("GET", path)["requests"]
        return [entry for entry in found if key in (None, entry["key"]) and status in (None, entry["status"])]

    def count(self, operation, **conditions):
        return len(self.requests(operation, **conditions))
