/** The demo: one instance's life on a driver, step by step, each checked; and at its end nothing is left. */
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { inspect } from "node:util";
import { isHyperviseError } from "hypervise";
import type { DriverEvent } from "hypervise";
import type { AcceleratorChoice } from "hypervise/kvm";
import { describeEvent } from "./describe-event.js";
import { Display } from "./display.js";
import { FakeStage } from "./fake-stage.js";
import { openKvmStage } from "./kvm-stage.js";
import type { DemoGuest } from "./kvm-stage.js";
import { readPng } from "./read-png.js";
import type { Stage } from "./stage.js";

export interface DemoOptions {
  readonly driver: "kvm" | "fake";
  /** Why it is this driver, where that needs saying. */
  readonly reason?: string;
  /** Needed for `kvm`. */
  readonly guest?: DemoGuest;
  readonly accelerator: AcceleratorChoice;
  /** Directory of the screenshot; made when missing. */
  readonly output: string;
  readonly plain: boolean;
  /** Where the demo is shown. Default: standard output. */
  readonly stream?: NodeJS.WriteStream;
  /** Aborts the demo, which then takes down what it has started. */
  readonly signal: AbortSignal;
}

/** Longest wait for one thing that the guest is to do; under emulation on a busy machine a boot takes a while. */
const GUEST_MS = 180_000;
const GRACE_MS = 60_000;
const CONSOLE_LINES = 8;
const TEXT = "written by the guest on a disk that was plugged in while it ran";

/** Exit code: 0 when everything held, 1 when something did not, 130 when it was interrupted. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const display = new Display({ stream: options.stream ?? process.stdout, plain: options.plain });
  const startedAt = performance.now();
  try {
    const { driver, reason, guest, accelerator, signal } = options;
    if (driver === "fake")
      display.heading(`No real guest today: this runs on the fake driver, because ${reason ?? "it was asked for"}.`);
    let stage: Stage | undefined;
    await display.step("Opening the host", async () => {
      stage = driver === "fake" || guest === undefined ? new FakeStage() : await openKvmStage(guest, accelerator);
      return stage.title;
    });
    if (stage === undefined) return 1;
    await new Demo(stage, display, resolve(options.output), signal).run();
    display.heading(
      `Everything held, in ${((performance.now() - startedAt) / 1000).toFixed(1)} s.${driver === "fake" ? " (On the fake driver.)" : ""}`,
    );
    return 0;
  } catch (error) {
    display.failure(options.signal.aborted ? "Interrupted." : describeError(error));
    return options.signal.aborted ? 130 : 1;
  } finally {
    display.close();
  }
}

class Demo {
  readonly #stage: Stage;
  readonly #display: Display;
  readonly #output: string;
  readonly #signal: AbortSignal;
  #before: readonly string[] | undefined;

  constructor(stage: Stage, display: Display, output: string, signal: AbortSignal) {
    this.#stage = stage;
    this.#display = display;
    this.#output = output;
    this.#signal = signal;
  }

  /** However it ends, the instance is destroyed, the driver closed, and what is left is looked for. */
  async run(): Promise<void> {
    const { driver } = this.#stage;
    const over = new AbortController();
    let following: Promise<void> | undefined;
    let failure: { readonly error: unknown } | undefined;
    try {
      await this.#prepare();
      following = this.#showEvents(driver.events({ signal: over.signal }));
      await this.#live();
    } catch (error) {
      failure = { error };
    }
    try {
      if (this.#before !== undefined) await this.#end(over, following);
    } catch (error) {
      failure ??= { error };
    } finally {
      await driver.close();
      await this.#stage.dispose();
    }
    if (failure !== undefined) throw failure.error;
  }

  async #prepare(): Promise<void> {
    await this.#display.step("Preparing the host", async () => {
      this.#display.detail(...(await this.#stage.prepare(this.#signal)));
      this.#before = await this.#stage.leftovers();
    });
  }

  async #live(): Promise<void> {
    await this.#spawn();
    await this.#waitForAddress();
    await this.#look();
    await this.#takePicture();
    await this.#hotPlugDisk();
    await this.#hotPlugNic();
    await this.#powerOff();
  }

  async #spawn(): Promise<void> {
    const { driver, spec } = this.#stage;
    await this.#display.step(`Spawning ${spec.name}`, async () => {
      const onProgress = ({ phase }: { readonly phase: string }): void => this.#display.progress(phase);
      const { state } = await driver.spawn(spec, { signal: this.#signal, onProgress });
      expect(state === "running", `the guest is ${state}`);
      await this.#stage.follow(this.#signal);
      const { vcpus, memoryMiB } = spec.flavor;
      return `${state}, ${vcpus} vCPU, ${memoryMiB} MiB`;
    });
  }

  async #waitForAddress(): Promise<void> {
    const { driver, spec } = this.#stage;
    await this.#display.step("Waiting until it is up and has an address", async () => {
      this.#display.progress("booting");
      await this.#awaitGuest((signal) => this.#stage.guestIsUp(signal));
      this.#display.progress("DHCP");
      await this.#awaitGuest((signal) => this.#stage.guestHasAddress(0, signal));
      const interfaces = await driver.getGuestInterfaces(spec, { signal: this.#signal });
      const addresses = interfaces.filter(({ name }) => name !== "lo").flatMap((nic) => nic.addresses);
      expect(addresses.length > 0, "the guest agent knows of no address");
      return `${addresses.join(", ")} by the guest agent's word`;
    });
  }

  async #look(): Promise<void> {
    const { driver, spec } = this.#stage;
    const common = { signal: this.#signal };
    await this.#display.step("Reading its console", async () => {
      const { bytes } = await driver.getConsoleOutput(spec, common);
      const lines = printable(Buffer.from(bytes).toString())
        .split("\n")
        .filter((line) => line.trim() !== "");
      expect(lines.length > 0, "the console is empty");
      this.#display.detail(...lines.slice(-CONSOLE_LINES).map((line) => `| ${line}`));
      return `${bytes.length} bytes so far, the last lines above`;
    });
    await this.#display.step("Reading its counters", async () => {
      const { uptimeMs, vcpus, memory, disks, interfaces } = await driver.getDiagnostics(spec, common);
      for (const { id, timeNs } of vcpus) this.#display.detail(`vCPU ${id}: ${(Number(timeNs) / 1e9).toFixed(1)} s`);
      const resident =
        memory.residentMiB === undefined ? "" : `, ${Math.round(memory.residentMiB)} MiB resident on the host`;
      this.#display.detail(`memory: ${memory.currentMiB} MiB${resident}`);
      for (const disk of disks)
        this.#display.detail(`disk ${disk.id}: ${disk.readBytes} bytes read, ${disk.writeBytes} written`);
      for (const nic of interfaces)
        this.#display.detail(`NIC ${nic.macAddress}: ${nic.rxBytes} bytes received, ${nic.txBytes} sent`);
      expect(disks.length > 0, "no disk is counted");
      return uptimeMs === undefined ? "" : `up for ${(uptimeMs / 1000).toFixed(1)} s`;
    });
  }

  async #takePicture(): Promise<void> {
    const { driver, spec } = this.#stage;
    await this.#display.step("Taking a picture of its display", async () => {
      await this.#stage.showOnDisplay(`Hello from ${spec.name}`, this.#signal);
      const { mediaType, bytes } = await driver.takeScreenshot(spec, { signal: this.#signal });
      expect(mediaType === "image/png", `the picture is ${mediaType}`);
      const { width, height } = readPng(bytes);
      const path = join(this.#output, "screenshot.png");
      await mkdir(this.#output, { recursive: true });
      await writeFile(path, bytes);
      return `${path}, ${width} by ${height}`;
    });
  }

  async #hotPlugDisk(): Promise<void> {
    const { driver, spec, volume } = this.#stage;
    const common = { signal: this.#signal };
    await this.#display.step("Attaching a disk while it runs", async () => {
      const disk = await driver.attachVolume(spec, volume, common);
      await this.#awaitGuest((signal) => this.#stage.guestHasSeen("disk added", signal));
      await this.#stage.writeInGuest(disk, TEXT, this.#signal);
      return `${disk.deviceName}, and the guest has written to it`;
    });
    await this.#display.step("Detaching the disk", async () => {
      await driver.detachVolume(spec, volume, common);
      await this.#awaitGuest((signal) => this.#stage.guestHasSeen("disk removed", signal));
      const text = await this.#stage.readOnHost(TEXT.length);
      expect(text === TEXT, "the volume does not hold what the guest wrote");
      const disks = await driver.listDisks(spec, common);
      expect(!disks.some(({ volumeId }) => volumeId === volume.volumeId), "the disk is still listed");
      return `on the host the volume reads "${text}"`;
    });
  }

  async #hotPlugNic(): Promise<void> {
    const { driver, spec, nic } = this.#stage;
    const common = { signal: this.#signal };
    await this.#display.step("Attaching a NIC while it runs", async () => {
      const { macAddress } = await driver.attachInterface(spec, nic, common);
      await this.#awaitGuest((signal) => this.#stage.guestHasSeen("nic added", signal));
      await this.#awaitGuest((signal) => this.#stage.guestHasAddress(1, signal));
      return macAddress;
    });
    await this.#display.step("Detaching the NIC", async () => {
      await driver.detachInterface(spec, nic, common);
      await this.#awaitGuest((signal) => this.#stage.guestHasSeen("nic removed", signal));
    });
  }

  async #powerOff(): Promise<void> {
    const { driver, spec } = this.#stage;
    await this.#display.step("Asking it to power off", async () => {
      const { how } = await driver.powerOff(spec, { graceMs: GRACE_MS, onTimeout: "fail", signal: this.#signal });
      expect(how === "guest", `it was not the guest that powered off: ${how}`);
      const { state } = await driver.getInfo(spec);
      return `it did by itself, and is ${state}`;
    });
  }

  /** Not by the caller's signal: this is what an interrupted demo still has to do. */
  async #end(over: AbortController, following: Promise<void> | undefined): Promise<void> {
    const { driver, spec, searched, kept } = this.#stage;
    const before = new Set(this.#before);
    await this.#display.step(`Destroying ${spec.name}`, async () => {
      await driver.destroy(spec);
      const instances = await driver.getNumInstances();
      expect(instances === 0, `the driver still has ${instances} instances`);
    });
    await this.#display.step("Looking for anything left behind", async () => {
      over.abort();
      await following;
      await driver.close();
      const left = (await this.#stage.leftovers()).filter((line) => !before.has(line));
      this.#display.detail(...left.map((line) => `left: ${line}`));
      expect(left.length === 0, `${left.length} things were left behind`);
      this.#display.detail(`looked at ${searched.join(", ")}`, ...kept.map((line) => `kept on purpose: ${line}`));
      return "nothing";
    });
  }

  async #showEvents(events: AsyncIterable<DriverEvent>): Promise<void> {
    for await (const event of events) this.#display.event(describeEvent(event));
  }

  /** What the guest is to do by itself, within its time and until the demo is interrupted. */
  async #awaitGuest(work: (signal: AbortSignal) => Promise<string>): Promise<void> {
    const limit = new AbortController();
    const timer = setTimeout(
      () => limit.abort(new Error(`the guest did not do it within ${GUEST_MS / 1000} s`)),
      GUEST_MS,
    );
    const onAbort = (): void => limit.abort(this.#signal.reason);
    this.#signal.addEventListener("abort", onAbort, { once: true });
    try {
      if (this.#signal.aborted) onAbort();
      this.#display.detail(`guest: ${await work(limit.signal)}`);
    } catch (error) {
      throw limit.signal.aborted ? limit.signal.reason : error;
    } finally {
      clearTimeout(timer);
      this.#signal.removeEventListener("abort", onAbort);
    }
  }
}

function expect(held: boolean, otherwise: string): asserts held {
  if (!held) throw new Error(otherwise);
}

/** A console's text without the escape sequences and control characters that would act on our own terminal. */
function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replaceAll(/\u001b\[[0-9;?]*[ -/]*[@-~]|[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/g, "");
}

function describeError(error: unknown): string {
  if (!isHyperviseError(error)) return error instanceof Error ? `It failed: ${error.message}` : inspect(error);
  const { code, message, remedy, detail } = error;
  return [
    `It failed: ${message} (${code})`,
    ...(remedy === undefined ? [] : [`  ${remedy}`]),
    ...(detail === undefined ? [] : [`  ${detail}`]),
  ].join("\n");
}
