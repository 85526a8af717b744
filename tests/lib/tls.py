"""A CA and a server certificate for localhost and the bucket `hosted`, made with the openssl command.

OpenSSL takes no wildcard directly below a top-level name.
"""

import os
import subprocess


class Certificate:
    def __init__(self, directory):
        def path(name):
            return os.path.join(directory, name)

        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        self.ca, self.certificate, self.key = path("ca.pem"), path("server.pem"), path("server.key")
        with open(path("names"), "w", encoding="ascii") as file:
            file.write("subjectAltName=DNS:localhost,DNS:hosted.localhost,IP:127.0.0.1\n")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=test CA", "-keyout", path("ca.key"), "-out", self.ca)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost",
                "-keyout", self.key, "-out", path("server.csr"))
        openssl("x509", "-req", "-in", path("server.csr"), "-CA", self.ca, "-CAkey", path("ca.key"), "-CAcreateserial",
                "-days", "2", "-extfile", path("names"), "-out", self.certificate)
