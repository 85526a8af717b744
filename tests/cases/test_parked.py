"""An error that needs a person: the file is parked, says why, holds up no other, and goes on when the cause is gone."""

import pytest

from lib.wait import wait_for

pytestmark = pytest.mark.sanitize


def test_access_denied(mounted):
    mounted.server.fault("status", "PutObject", status=403, code="AccessDenied", key="*secret*")
    mounted.write("secret")
    mounted.write("public")
    wait_for(lambda: mounted.status()["files"]["parked"] == 1, 30, "the file to be parked")
    entry = mounted.ls()["secret"]
    assert entry["state"] == "parked" and "AccessDenied" in entry["reason"]
    wait_for(lambda: mounted.ls()["public"]["state"] == "uploaded")
    assert mounted.drain("5s") == 1
    assert mounted.puts("secret", status=403) < 10  # it does not hammer on the door


@pytest.mark.slow
def test_it_goes_on_after_the_cause_is_gone(mounted):
    mounted.server.fault("status", "PutObject", status=403, code="AccessDenied")
    mounted.write("file")
    wait_for(lambda: mounted.status()["files"]["parked"] == 1, 30, "the file to be parked")
    mounted.server.clear_faults()
    wait_for(lambda: mounted.ls()["file"]["state"] == "uploaded", 100, "the parked file to be tried again")
    assert mounted.status()["files"]["parked"] == 0
    mounted.assert_all_arrived()


def test_writing_again_or_starting_again_tries_at_once(mounted):
    mounted.server.fault("status", "PutObject", status=403, code="AccessDenied")
    mounted.write("written")
    mounted.write("left")
    wait_for(lambda: mounted.status()["files"]["parked"] == 2, 30, "the files to be parked")
    mounted.server.clear_faults()
    mounted.write("written", b"again")
    wait_for(lambda: mounted.ls()["written"]["state"] == "uploaded")
    mounted.restart()
    wait_for(lambda: mounted.ls()["left"]["state"] == "uploaded", 30, "the parked file after a restart")
    mounted.assert_all_arrived()


@pytest.mark.parametrize("environment, word", [
    ({"AWS_SECRET_ACCESS_KEY": "not-the-right-one"}, "SignatureDoesNotMatch"),
    ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId"),
    ({"EBBFS_TARGET": "s3://no-such-bucket/p"}, "NoSuchBucket"),
])
def test_wrong_settings_are_named(make_box, environment, word):
    box = make_box(**environment).start()
    box.write("file")
    wait_for(lambda: word in str(box.status()["last_error"]) + str(box.ls()["file"].get("reason")), 30, word)
    assert box.status()["files"]["proven"] == 0
    assert "not-the-right-one" not in box.log()


def test_without_credentials(make_box):
    box = make_box(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None).start()
    box.write("file")
    wait_for(lambda: "redential" in str(box.status()["last_error"]) + str(box.ls()["file"].get("reason")), 30,
             "the absence of credentials to be said")
    assert box.bucket.keys() == []


def test_a_key_over_1024_bytes(mounted):
    names = ["d" * 250] * 4 + ["file" * 10]
    mounted.write("/".join(names))
    mounted.write("short")
    wait_for(lambda: mounted.status()["files"]["parked"] == 1, 20, "the file to be parked")
    entry = mounted.ls("/".join(names[:-1]))[names[-1]]
    assert entry["state"] == "parked" and "1024" in entry["reason"].replace(",", "")
    wait_for(lambda: mounted.ls()["short"]["state"] == "uploaded")
    assert mounted.bucket.keys() == [mounted.key("short")]
