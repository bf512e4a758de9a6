// What the compiler must accept and refuse of src/qmp's public types. Nothing here runs.
import { toNumber } from "../../src/qmp/index.js";
import type { GuestAgentClient, Int64, Qapi, QmpStreamEvent, QmpClient } from "../../src/qmp/index.js";

declare const qmp: QmpClient;
declare const agent: GuestAgentClient;

// Commands: names, required arguments, unions by their discriminator, results.
void qmp.execute("query-status").then(({ status }) => status satisfies string);
void qmp.execute("query-status", {}, { oob: false, deadlineMs: 100 });
void qmp.execute("blockdev-add", {
  driver: "qcow2",
  "node-name": "disk0",
  file: { driver: "file", filename: "/d" },
  discard: "unmap",
});
void qmp.execute("device_add", {
  driver: "virtio-net-pci",
  id: "nic0",
  netdev: "nic0",
  mac: "52:54:00:00:00:01",
  mq: true,
});
void qmp.execute("object-add", { "qom-type": "iothread", id: "io0", "poll-max-ns": 2n ** 60n });
void qmp.execute("block_resize", { "node-name": "disk0", size: 10 });
// @ts-expect-error -- no such command
void qmp.execute("query-everything");
// @ts-expect-error -- device_del wants an id
void qmp.execute("device_del");
// @ts-expect-error -- an argument of the wrong type
void qmp.execute("device_del", { id: 7 });
// @ts-expect-error -- a member that qcow2 does not have
void qmp.execute("blockdev-add", { driver: "qcow2", "node-name": "disk0", file: "f", filename: "/d" });
// @ts-expect-error -- no such argument
void qmp.execute("query-status", { verbose: true });

// Enumerations are open: a newer QEMU has more values than the types know.
"some-new-state" satisfies Qapi.RunState;

// 64-bit integers are a number or a bigint until somebody decides.
void qmp.execute("query-named-block-nodes").then(([node]) => {
  const size = node?.image["virtual-size"] ?? 0;
  size satisfies Int64;
  // @ts-expect-error -- it may be a bigint
  void (size + 1);
  toNumber(size) satisfies number;
});

// Events: data by name, in waits and in readers.
void qmp.waitFor("DEVICE_DELETED", (event) => event.data.device === "nic0");
// @ts-expect-error -- no such member
void qmp.waitFor("DEVICE_DELETED", (event) => event.data.nic === "nic0");
void (async () => {
  for await (const event of qmp.events({ names: ["SHUTDOWN", "RESET"] })) {
    if (event.event === "SHUTDOWN") event.data.guest satisfies boolean;
    if (event.event === "overflow") event.data.dropped satisfies number;
    if (event.event === "disconnected") event.data.reason satisfies string;
    // @ts-expect-error -- this reader did not ask for it
    void (event.event === "STOP");
  }
})();
declare const any: QmpStreamEvent;
if (any.event === "BLOCK_JOB_COMPLETED") any.data.len satisfies Int64;

// The agent's commands.
void agent.execute("guest-file-open", { path: "/etc/hostname" }).then((handle) => handle satisfies Int64);
// @ts-expect-error -- a path is needed
void agent.execute("guest-file-open");
