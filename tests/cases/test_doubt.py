"""What a fusefs that was killed had sent is in doubt until somebody asked for it, whoever ends in between."""

import signal

from lib.wait import wait_for


def another_fusefs(box, old):
    def there():
        pids = [pid for pid in box.pids("ebbfs-fusefs") if pid != old]
        return pids and box.try_status().get("state") == "serving" and pids[0]
    return wait_for(there, 10, "another fusefs that serves")


def test_a_result_that_was_lost_before_an_orderly_end(server, mounted):
    mounted.settle_down()
    # The object is there, and the uploader does not know it yet, when fusefs dies.
    server.fault("lost_answer", operation="PutObject", count=1)
    rule = server.fault("stall", operation="HeadObject", seconds=30)
    mounted.write("file")
    wait_for(lambda: mounted.key("file") in mounted.bucket.objects(), 20, "the object")
    uploader = mounted.kill("ebbfs-uploader", signal.SIGSTOP)
    second = another_fusefs(mounted, mounted.kill("ebbfs-fusefs", signal.SIGKILL))
    # This one comes to nothing, since nobody takes its jobs.
    mounted.kill("ebbfs-fusefs", signal.SIGTERM)
    another_fusefs(mounted, second)
    server.clear_faults(rule)
    mounted.kill("ebbfs-uploader", signal.SIGKILL)
    wait_for(lambda: mounted.pid("ebbfs-uploader") != uploader, 10, "another uploader")
    mounted.settle_down()
    assert mounted.puts("file") == 1
