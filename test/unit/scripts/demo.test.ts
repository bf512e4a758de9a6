import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FakeDriver, fakeSpec } from "hypervise/fake";
import { describeEvent } from "../../../scripts/demo/describe-event.js";
import { Display } from "../../../scripts/demo/display.js";
import { hostLeftovers } from "../../../scripts/demo/host-leftovers.js";
import { readPng } from "../../../scripts/demo/read-png.js";
import { runDemo } from "../../../scripts/demo/run.js";

/** A stream that keeps what is written, as a terminal of 80 columns or as a file. */
function sink({ isTTY = false } = {}): NodeJS.WriteStream & { readonly text: () => string } {
  let text = "";
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      stream.emit("line", chunk.toString());
      done();
    },
  });
  return Object.assign(stream as unknown as NodeJS.WriteStream, { isTTY, columns: 80, text: () => text });
}

// eslint-disable-next-line no-control-regex
const COLOUR = /\u001b\[\d+m/g;

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "hypervise-demo-test-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe("the demo on the fake driver", () => {
  it("holds, writes a picture, and says that no guest was real", async () => {
    const stream = sink();
    const signal = new AbortController().signal;
    const output = join(directory, "out");
    const exitCode = await runDemo({
      driver: "fake",
      reason: "this is a test",
      accelerator: "auto",
      output,
      plain: false,
      signal,
      stream,
    });
    expect(stream.text()).toContain("fake driver, because this is a test");
    expect(stream.text()).toContain("Everything held");
    expect(stream.text()).not.toContain("\u001b");
    expect(exitCode).toBe(0);
    expect(readPng(await readFile(join(output, "screenshot.png"))).width).toBeGreaterThan(0);
  });

  it("takes down what it has started when it is interrupted", async () => {
    const stream = sink();
    const interrupted = new AbortController();
    stream.on("line", (line: string) => {
      if (line.includes("Attaching a disk")) interrupted.abort();
    });
    const options = { driver: "fake", accelerator: "auto", output: directory, plain: true, stream } as const;
    expect(await runDemo({ ...options, signal: interrupted.signal })).toBe(130);
    expect(stream.text()).toContain("instance destroyed");
    expect(stream.text()).toMatch(/ok nothing.*\n.*Interrupted/);
  });
});

describe("what the demo shows", () => {
  it("rewrites one line on a terminal, and leaves a line a step", async () => {
    const stream = sink({ isTTY: true });
    const display = new Display({ stream, env: {} });
    await display.step("Doing it", async () => "done it");
    await display.step("With more to say", async () => display.detail("more"));
    display.close();
    const lines = stream
      .text()
      .split("\n")
      .map((line) => line.split("\r\u001b[K").at(-1)?.replaceAll(COLOUR, ""));
    expect(lines.map((line) => line?.replace(/[\d.]+ s/, "0 s"))).toEqual([
      "✓ Doing it: done it (0 s)",
      "With more to say",
      "    more",
      "    ✓ done (0 s)",
      "",
    ]);
  });

  it.each([{ CI: "true" }, { TERM: "dumb" }])("writes plain lines on a terminal with %o", async (env) => {
    const stream = sink({ isTTY: true });
    const display = new Display({ stream, env });
    await expect(display.step("Failing", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(stream.text()).toMatch(/^Failing\n {4}FAILED it did not hold \([\d.]+ s\)\n$/);
  });

  it("has words for every event", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const events = driver.events();
    const { instance } = await driver.spawn(fakeSpec());
    driver.world.guest(instance.uuid).failRequest("root");
    driver.world.crashGuest(instance.uuid);
    driver.host.disconnect();
    driver.host.reconnect();
    await driver.destroy(instance);
    await driver.close();
    const words: string[] = [];
    for await (const event of events) words.push(describeEvent(event));
    expect(words).toEqual(
      expect.arrayContaining(["guest started (we did it)", "guest crashed (a fault)", "instance destroyed"]),
    );
    expect(words.filter((text) => text.includes("undefined"))).toEqual([]);
  });
});

describe("what the demo checks", () => {
  it("tells a damaged picture", async () => {
    const driver = new FakeDriver();
    await driver.initHost();
    const { instance } = await driver.spawn(fakeSpec());
    const { bytes } = await driver.takeScreenshot(instance);
    expect(readPng(bytes)).toEqual({ width: 320, height: 200 });
    const damaged = Uint8Array.from(bytes);
    damaged[60] = (damaged[60] ?? 0) ^ 1;
    expect(() => readPng(damaged)).toThrow(/damaged/);
    expect(() => readPng(bytes.subarray(0, bytes.length - 12))).toThrow(/cut short/);
    expect(() => readPng(new TextEncoder().encode("P6 320 200 255"))).toThrow(/no signature/);
    await driver.close();
  });

  it("sees files and this process's open files below a directory, but not what is to be ignored", async () => {
    const { open, mkdir, writeFile } = await import("node:fs/promises");
    await mkdir(join(directory, "kept"));
    await writeFile(join(directory, "kept", "one"), "");
    await writeFile(join(directory, "left"), "");
    const file = await open(join(directory, "left"), "r");
    try {
      const lines = await hostLeftovers(directory, "00000000-0000-4000-8000-000000000000", ["kept"]);
      expect(lines.filter((line) => !line.startsWith("interface "))).toEqual([
        "file left",
        `open file ${join(directory, "left")}`,
      ]);
    } finally {
      await file.close();
    }
  });
});
