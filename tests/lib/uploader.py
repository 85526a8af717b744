"""An uploader on its own, with jobs.Fusefs in the place of ebbfs-fusefs."""

import os
import shutil
import subprocess
import tempfile

from lib import process
from lib.jobs import Fusefs
from lib.mount import BUILD, COMPLAINTS
from lib.s3 import ACCESS_KEY, REGION, SECRET_KEY
from lib.wait import FACTOR

UPLOADER = os.path.join(BUILD, "uploader/worker/ebbfs-uploader")


class Uploader:
    def __init__(self, server, bucket, **environment):
        self.base = tempfile.mkdtemp(prefix="ebbfs-uploader-", dir="/var/tmp")
        os.chmod(self.base, 0o755)
        self.run, self.files = os.path.join(self.base, "run"), os.path.join(self.base, "files")
        os.mkdir(self.run, 0o755)
        os.mkdir(self.files, 0o700)  # the uploader's own user cannot look inside
        self.log_path = os.path.join(self.base, "log")
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": self.base, "EBBFS_RUN": self.run, "EBBFS_LOG": "debug",
            "EBBFS_TARGET": f"s3://{bucket}/p", "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION, "AWS_ENDPOINT_URL": server.endpoint if server else "http://127.0.0.1:9",
            **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")},
        }
        self.set(**environment)
        self.process, self.launch_as = None, []
        self.fusefs = Fusefs(self.run, timeout=60 * FACTOR)

    def set(self, **environment):
        for name, value in environment.items():
            if value is None:
                self.environment.pop(name, None)
            else:
                self.environment[name] = value

    def launch(self, *arguments):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([*self.launch_as, UPLOADER, *arguments], env=self.environment,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")

    def start(self):
        self.launch()
        self.fusefs.accept()
        return self

    def check(self, *arguments):
        """Runs it to its end; returns (exit status, stderr)."""
        done = subprocess.run([UPLOADER, *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=30 * FACTOR, check=False)
        return done.returncode, done.stderr

    def file(self, name, content):
        path = os.path.join(self.files, name)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def put(self, content, key="p/k", **more):
        """One job from beginning to end: its result."""
        job = self.fusefs.put(self.file("file", content), key, **more)
        result = self.fusefs.result()
        assert result and result["id"] == job
        return result

    def log(self):
        return process.read(self.log_path).decode(errors="replace")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10 * FACTOR)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode if self.process else None

    def close(self):
        self.fusefs.close()
        status = self.stop()
        complaints = [match.group(0) for match in COMPLAINTS.finditer(self.log())] if self.process else []
        leaked = self.process and SECRET_KEY in self.log()
        shutil.rmtree(self.base, ignore_errors=True)
        assert not complaints, complaints
        assert status in (None, 0), f"exit status {status}"
        assert not leaked, "the secret key is in the log"
