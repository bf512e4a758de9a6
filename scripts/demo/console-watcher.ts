/** Follows a guest's serial console, and waits for lines in it. */
import { once } from "node:events";
import type { Duplex } from "node:stream";
import type { Facets, InstanceRef } from "hypervise";

type ConsoleDriver = Facets["consoleStream"] & Facets["consoleOutput"];

export class ConsoleWatcher {
  readonly #driver: ConsoleDriver;
  readonly #instance: InstanceRef;
  readonly #stream: Duplex;
  readonly #changes = new EventTarget();
  #text = "";
  #ended = false;

  private constructor(driver: ConsoleDriver, instance: InstanceRef, stream: Duplex) {
    this.#driver = driver;
    this.#instance = instance;
    this.#stream = stream;
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      this.#text += text;
      this.#changes.dispatchEvent(new Event("change"));
    });
    stream.on("error", () => stream.destroy());
    stream.once("close", () => {
      this.#ended = true;
      this.#changes.dispatchEvent(new Event("change"));
    });
  }

  static async open(driver: ConsoleDriver, instance: InstanceRef, signal: AbortSignal): Promise<ConsoleWatcher> {
    return new ConsoleWatcher(driver, instance, await driver.openConsole(instance, { signal }));
  }

  /**
   * What the pattern matches in a line that the guest has said or is yet to say. The stream says when to look; what was said before it
   * was opened stands in the log. Rejects on abort, and when the guest ends before it.
   */
  async line(pattern: RegExp, signal: AbortSignal): Promise<string> {
    const multiline = new RegExp(`${pattern.source}(?=[^\\n]*\\n)`, pattern.flags);
    for (;;) {
      const change = once(this.#changes, "change", { signal });
      change.catch(() => undefined);
      const { bytes } = await this.#driver.getConsoleOutput(this.#instance, { signal });
      const found = multiline.exec(this.#text) ?? multiline.exec(Buffer.from(bytes).toString());
      if (found !== null) return found[0].trim();
      if (this.#ended) throw new Error(`the guest's console ended without ${pattern.source}`);
      await change;
    }
  }

  close(): void {
    this.#stream.destroy();
  }
}
