import os
import re
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lib.s3 import S3Server


@pytest.fixture(scope="session")
def shared_server():
    with S3Server() as server:
        yield server


@pytest.fixture
def server(shared_server, request):
    defaults = shared_server.control("GET", "/state")["options"]
    yield shared_server
    shared_server.listen()
    shared_server.clear_faults()
    shared_server.options(**defaults)
    assert shared_server.stderr() == "", "the server had an error of its own"


@pytest.fixture
def bucket(server, request):
    view = server.bucket(re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:60])
    yield view
    view.drop()
