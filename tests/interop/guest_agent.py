"""Runs inside the guest: executes the shell commands that the harness sends, one TCP connection each.

A request is one line of JSON with ``command``, ``stdin``, ``timeout`` (seconds) and ``fresh`` (files may have changed
on the host); the answer is one with ``status`` and ``output`` (standard output and standard error together).
"""

import json
import signal
import socketserver
import subprocess
import sys

PORT = 7
STATUS_AT_TIMEOUT = 124  # as timeout(1) says it


class CommandHandler(socketserver.StreamRequestHandler):
    """One command."""

    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        if request["fresh"]:
            # hostfs never looks twice: without this, files that changed on the host are seen as they were.
            with open("/proc/sys/vm/drop_caches", "w") as drop_caches:
                drop_caches.write("3")
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", request["command"]],
                input=request["stdin"].encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=request["timeout"],
                check=False,
            )
            status, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired as error:
            status, output = STATUS_AT_TIMEOUT, error.stdout or b""
        answer = {"status": status, "output": output.decode(errors="replace")}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class Agent(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Agent((sys.argv[1], PORT), CommandHandler).serve_forever()
