"""A minimal QMP client of Python: `qmp-peer.py SOCKET COMMAND COUNT DEPTH`, as qmp-peer.c, but it parses what it reads."""
import json
import resource
import socket
import sys
import time


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        json.loads(self.lines.readline())
        self.next_id = 0
        self.execute("qmp_capabilities", 1, 1)

    def execute(self, command, count, depth):
        waiting = set()
        sent = 0
        while sent < count or waiting:
            batch = b""
            while sent < count and len(waiting) < depth:
                self.next_id += 1
                sent += 1
                waiting.add(self.next_id)
                batch += json.dumps({"execute": command, "id": self.next_id}).encode() + b"\n"
            if batch:
                self.socket.sendall(batch)
            message = json.loads(self.lines.readline())
            if "return" in message:
                waiting.remove(message["id"])


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return (usage.ru_utime + usage.ru_stime) * 1e6


path, command, count, depth = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
client = Client(path)
client.execute(command, count // 10 + 1, depth)
wall0, cpu0 = time.monotonic(), cpu()
client.execute(command, count, depth)
print(json.dumps({"wallUs": (time.monotonic() - wall0) * 1e6 / count, "cpuUs": (cpu() - cpu0) / count}))
