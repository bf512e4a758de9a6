"""python3-libvirt: list, state and counters of all domains: `libvirt-list-peer.py URI bulk|each ROUNDS`; prints milliseconds a round."""

import json
import sys
import time

import libvirt

uri, way, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = libvirt.open(uri)


def bulk():
    return [(domain.UUIDString(), values) for domain, values in connection.getAllDomainStats()]


def each():
    found = []
    for domain in connection.listAllDomains():
        root = domain.blockStats("vda") if domain.isActive() else None
        found.append((domain.UUIDString(), domain.state(), domain.info(), root, domain.memoryStats()))
    return found


work = {"bulk": bulk, "each": each}[way]
samples = []
for _ in range(rounds):
    start = time.monotonic()
    work()
    samples.append((time.monotonic() - start) * 1000)
print(json.dumps(samples))
