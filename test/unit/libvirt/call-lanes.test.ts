/** Calls about one domain through a connection: what a silent domain holds up, and what not. */
import { afterEach, expect, it } from "vitest";
import { LibvirtConnection } from "../../../src/libvirt/rpc/index.js";
import { FakeLibvirtServer, NO_LIBVIRT_REPLY } from "../../../src/testing/index.js";
import { rejection } from "./support/fake-peer.js";

const uuid = "3f0c1a52-9f86-4d1c-8d3b-5b9a6a0f7c11";
const dom = { name: "web", uuid, id: 3 };
const other = { name: "db", uuid: uuid.replace("3f", "4f"), id: 4 };
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

it("a call that was given up holds up others about its domain, but for those that end what it does", async () => {
  const nothing = (): Record<string, never> => ({});
  const server = await FakeLibvirtServer.create({
    handlers: { domainSave: () => NO_LIBVIRT_REPLY, domainResume: nothing, domainAbortJob: nothing, domainAbortJobFlags: nothing, domainBlockJobAbort: nothing },
  }); // prettier-ignore
  cleanups.push(() => server.close());
  const connection = await LibvirtConnection.open("test:///default", { connect: server.connector });
  cleanups.push(() => connection.close());

  const controller = new AbortController();
  const saving = rejection(connection.call("domainSave", { dom, to: "/to" }, { signal: controller.signal }));
  await server.called("domainSave");
  controller.abort();
  expect(await saving).toMatchObject({ code: "ABORTED" });

  const held = rejection(connection.call("domainResume", { dom }, { deadlineMs: 50 }));
  await connection.call("domainResume", { dom: other });
  await connection.call("domainAbortJob", { dom });
  await connection.call("domainAbortJobFlags", { dom, flags: 0 });
  await connection.call("domainBlockJobAbort", { dom, path: "vda", flags: 0 });
  expect(await held).toMatchObject({ code: "DEADLINE_EXCEEDED", operation: "domainResume (never sent)" });
});
