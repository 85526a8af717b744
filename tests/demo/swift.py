#!/usr/bin/python3
"""swift.py PORT first|second: what the demo and the tests rely on at container/swift, before and after a restart."""
import sys

import boto3
import botocore.config
import botocore.exceptions

port, turn = sys.argv[1:]


def client(secret):
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
                        aws_access_key_id="test:tester", aws_secret_access_key=secret,
                        config=botocore.config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}))


def status_of(call, **arguments):
    try:
        call(Bucket="bucket", **arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return 200


s3 = client("testing")
if turn == "first":
    s3.create_bucket(Bucket="bucket")                                                   # PUT 1
    s3.put_object(Bucket="bucket", Key="key", Body=b"content")                          # PUT 2
    assert status_of(client("wrong").put_object, Key="other", Body=b"x") == 403         # PUT 3
    assert status_of(s3.put_object, Key="other", Body=b"x", ContentMD5="A" * 22 + "==") == 400  # PUT 4
assert status_of(s3.head_object, Key="other") == 404
assert s3.get_object(Bucket="bucket", Key="key", Range="bytes=1-3")["Body"].read() == b"ont"
