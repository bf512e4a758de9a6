"""python3-libvirt under the same work as ours: `libvirt-peer.py URI WHAT COUNT DEPTH`; prints what one call took."""

import json
import resource
import sys
import threading
import time

import libvirt

uri, what, count, depth = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
connection = libvirt.open(uri)
call = {
    "version": connection.getLibVersion,
    "hostname": connection.getHostname,
    "stats": connection.getAllDomainStats,
}[what]


def lane(each):
    for _ in range(each):
        call()


def lanes(total):
    each = -(-total // depth)
    threads = [threading.Thread(target=lane, args=(each,)) for _ in range(depth)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


lanes(count // 10 + 1)
wall0, cpu0 = time.monotonic(), cpu()
lanes(count)
wall1, cpu1 = time.monotonic(), cpu()
print(json.dumps({"wallUs": (wall1 - wall0) / count * 1e6, "cpuUs": (cpu1 - cpu0) / count * 1e6}))
