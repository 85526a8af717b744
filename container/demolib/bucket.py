"""The bucket as boto3 sees it, a client that is not ours: everything that the demo proves, it proves through this."""
import concurrent.futures
import hashlib
import threading

import boto3
import botocore.config
import botocore.exceptions

READERS = 8


class Comparison:
    def __init__(self):
        self.equal = 0
        self.parked = []     # names whose key S3 cannot hold
        self.missing = []    # keys
        self.different = []  # keys
        self.others = 0      # objects that nobody asked about


class Bucket:
    def __init__(self, endpoint, name, environment):
        self.name = name
        self.client = boto3.client(
            "s3", endpoint_url=endpoint, region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=botocore.config.Config(s3={"addressing_style": "path"}, max_pool_connections=READERS,
                                          retries={"mode": "standard"}))

    def create(self):
        try:
            self.client.create_bucket(Bucket=self.name)
        except (self.client.exceptions.BucketAlreadyOwnedByYou, self.client.exceptions.BucketAlreadyExists):
            pass

    def keys(self):
        found = set()
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            found.update(entry["Key"] for entry in page.get("Contents", ()))
        return found

    def sha256(self, key):
        """Of the bytes that come back, in hexadecimal; None when there is no such object."""
        try:
            body = self.client.get_object(Bucket=self.name, Key=key)["Body"]
        except self.client.exceptions.NoSuchKey:
            return None
        digest = hashlib.sha256()
        for piece in body.iter_chunks(1 << 20):
            digest.update(piece)
        return digest.hexdigest()

    def compare(self, expected, stopping=threading.Event(), progress=lambda done: None):
        """Reads every object of expected, {key: SHA-256}, and compares."""
        result = Comparison()
        result.others = len(self.keys() - expected.keys())
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            def read(key):
                return key, None if stopping.is_set() else self.sha256(key)
            for done, (key, found) in enumerate(pool.map(read, expected), 1):
                if found == expected[key]:
                    result.equal += 1
                else:
                    (result.missing if found is None else result.different).append(key)
                progress(done)
        return result
