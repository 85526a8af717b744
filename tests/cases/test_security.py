"""What the uploader may not do, and TLS."""

import os
import re
import subprocess
import sys

import pytest

from lib import process
from lib.s3 import S3Server
from lib.strace import Strace
from lib.tls import Certificate
from lib.wait import wait_for

pytestmark = pytest.mark.sanitize


def test_the_uploader_has_no_privileges(mounted):
    wait_for(lambda: mounted.status()["uploader"] == "connected", 10, "the uploader")
    status = process.status(mounted.pid("ebbfs-uploader"))
    for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[field], 16) == 0, field
    assert status["NoNewPrivs"] == "1"
    assert set(status["Uid"].split() + status["Gid"].split()) == {"65532"}
    assert status["Groups"].split() in ([], ["65532"])


def test_the_uploader_opens_no_file_of_the_data_directory(mounted, tmp_path):
    with Strace(mounted.pid("ebbfs-uploader"), "%file,recvmsg", str(tmp_path)) as trace:
        for number in range(20):
            mounted.write(f"folder/name-{number}", os.urandom(2000))
        mounted.settle_down()
    mounted.assert_all_arrived()
    text = "\n".join(trace.lines)
    assert "SCM_RIGHTS" in text or "recvmsg" in text, "strace saw nothing: it would prove nothing"
    opened = [line for line in trace.lines if "recvmsg" not in line and re.search(r"name-\d|folder|/data\b", line)]
    assert not opened, opened


def test_fusefs_has_no_network(mounted, tmp_path):
    with Strace(mounted.pid("ebbfs-fusefs"), "socket,connect,bind", str(tmp_path)) as trace:
        mounted.write("file")
        mounted.settle_down()
    assert not [line for line in trace.lines if "AF_INET" in line]
    inodes = {os.readlink(f"/proc/{mounted.pid('ebbfs-fusefs')}/fd/{fd}")
              for fd in os.listdir(f"/proc/{mounted.pid('ebbfs-fusefs')}/fd")}
    tcp = process.read("/proc/net/tcp") + process.read("/proc/net/tcp6")
    held = {f"socket:[{line.split()[9].decode()}]" for line in tcp.splitlines() if line.split()[9].isdigit()}
    assert not inodes & held


def test_fusefs_holds_no_credentials_it_does_not_need(mounted):
    """The uploader alone gets AWS's secrets."""
    for name in ("ebbfs-fusefs", "ebbfs-anchor"):
        environment = process.read(f"/proc/{mounted.pid(name)}/environ")
        assert b"AWS_SECRET_ACCESS_KEY" not in environment, name


def test_sockets_are_not_for_everyone(mounted):
    modes = {name: os.stat(os.path.join(mounted.run, name)).st_mode & 0o7777 for name in os.listdir(mounted.run)}
    assert modes["anchor"] == 0o600, modes


def test_a_stranger_at_the_job_socket_is_sent_away(mounted):
    """No other user can take the uploader's place and be handed files."""
    code = f"""
import socket
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(3)
try:
    s.connect({os.path.join(mounted.run, 'jobs')!r})
    data = s.recv(10)
except (PermissionError, ConnectionError):
    data = b""
print(len(data))
"""
    answer = subprocess.run([sys.executable, "-c", code], user=1234, group=1234, extra_groups=[], capture_output=True,
                            check=True, timeout=20)
    assert answer.stdout == b"0\n"
    mounted.write("file")
    mounted.settle_down()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ca")
    made = Certificate(str(directory))
    # The uploader reads it as its own user.
    for path in (directory, directory.parent):
        os.chmod(path, 0o755)
    return made


@pytest.fixture(scope="module")
def tls_server(certificate):
    with S3Server(certificate=certificate) as server:
        yield server


@pytest.fixture
def ca_file(certificate):
    """Where any user can read it: pytest's own directory is for root only."""
    path = f"/var/tmp/ebbfs-case-ca-{os.getpid()}.pem"
    with open(certificate.ca, "rb") as source, open(path, "wb") as target:
        target.write(source.read())
    os.chmod(path, 0o644)
    yield path
    os.unlink(path)


def test_tls_with_an_own_ca(make_box, tls_server, ca_file):
    box = make_box(server=tls_server, bucket=tls_server.bucket("tls"), AWS_CA_BUNDLE=ca_file).start()
    box.write("file")
    box.settle_down()
    box.assert_all_arrived()


def test_tls_without_it_is_refused(make_box, tls_server):
    bucket = tls_server.bucket("refused")
    box = make_box(server=tls_server, bucket=bucket).start()
    box.write("file")
    wait_for(lambda: re.search("certificate|SSL|TLS", str(box.status().get("last_error"))
                               + str(box.ls()["file"].get("reason"))), 20, "the certificate to be refused")
    assert bucket.requests("PutObject") == []


def test_tls_virtual_host(make_box, tls_server, ca_file):
    box = make_box(server=tls_server, bucket=tls_server.bucket("hosted"), AWS_CA_BUNDLE=ca_file,
                   AWS_ENDPOINT_URL=f"https://localhost:{tls_server.port}", EBBFS_S3_ADDRESSING="virtual").start()
    box.write("a/file")
    box.settle_down()
    box.assert_all_arrived()


def test_virtual_host_addressing(make_box, server):
    box = make_box(AWS_ENDPOINT_URL=f"http://localhost:{server.port}", EBBFS_S3_ADDRESSING="virtual").start()
    box.write("a b/ü%41")
    os.rename(box.path("a b/ü%41"), box.path("renamed"))
    box.write("file")
    box.settle_down()
    box.assert_all_arrived()


def test_session_token(make_box):
    with S3Server("--session-token", "a/token+with=signs") as server:
        bucket = server.bucket("token")
        bucket.boto = server.client(aws_session_token="a/token+with=signs")
        box = make_box(server=server, bucket=bucket, AWS_SESSION_TOKEN="a/token+with=signs").start()
        box.write("file")
        box.settle_down()
        box.assert_all_arrived()
        box.stop()


def test_fusefs_has_the_listed_capabilities_only(mounted):
    """What privs.c names, and no way to any other."""
    names = {"CHOWN": 0, "DAC_OVERRIDE": 1, "DAC_READ_SEARCH": 2, "FOWNER": 3, "FSETID": 4, "SETGID": 6, "SETUID": 7,
             "SYS_ADMIN": 21, "MKNOD": 27, "LEASE": 28, "SETFCAP": 31}
    listed = sum(1 << number for number in names.values())
    status = dict(line.split(":", 1) for line in
                  process.read(f"/proc/{mounted.pid('ebbfs-fusefs')}/status").decode().splitlines() if ":" in line)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) & ~listed == 0, name
    assert int(status["CapInh"], 16) == 0
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
