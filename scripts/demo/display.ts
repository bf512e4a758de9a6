/** What the demo shows: on a terminal one line that lives until its step is done, elsewhere plain lines that a log can keep. */

const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] as const;
const FRAME_MS = 80;

export interface DisplayOptions {
  readonly stream: NodeJS.WriteStream;
  /** Plain lines even on a terminal. */
  readonly plain?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

type Style = "bold" | "dim" | "green" | "red" | "cyan";
const CODES: Readonly<Record<Style, number>> = { bold: 1, dim: 2, green: 32, red: 31, cyan: 36 };

export class Display {
  readonly #stream: NodeJS.WriteStream;
  readonly #live: boolean;
  readonly #coloured: boolean;
  readonly #startedAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #step: { readonly title: string; readonly startedAt: number; state: string; titled: boolean } | undefined;
  #drawn = false;
  #frame = 0;

  constructor({ stream, plain = false, env = process.env }: DisplayOptions) {
    this.#stream = stream;
    this.#live = stream.isTTY && !plain && env.TERM !== "dumb" && !env.CI;
    this.#coloured = this.#live && !env.NO_COLOR;
  }

  /** A line of its own, not part of a step. */
  heading(text: string): void {
    this.#print(this.#styled("bold", text));
  }

  /** Shows a step while `work` is under way, then how it ended. `work` returns what there is to say about it, if anything. */
  async step(title: string, work: () => Promise<string | void>): Promise<void> {
    this.#step = { title, startedAt: performance.now(), state: "", titled: false };
    if (this.#live) this.#timer = setInterval(() => this.#draw(), FRAME_MS);
    else this.#showTitle();
    this.#draw();
    try {
      const said = await work();
      this.#end(this.#styled("green", this.#live ? "✓" : "ok"), said ?? "");
    } catch (error) {
      this.#end(this.#styled("red", this.#live ? "✗" : "FAILED"), "it did not hold");
      throw error;
    }
  }

  /** What the step under way is doing now; only shown on a terminal. */
  progress(state: string): void {
    if (this.#step !== undefined) this.#step.state = state;
  }

  /** Lines that belong to the step under way, or to the one just ended. */
  detail(...lines: readonly string[]): void {
    if (lines.length > 0) this.#showTitle();
    for (const line of lines) this.#print(`    ${line}`);
  }

  /** Something that happened meanwhile. */
  event(text: string): void {
    this.#showTitle();
    this.#print(`    ${this.#styled("cyan", `event ${this.#elapsed(this.#startedAt)} `)}${text}`);
  }

  failure(text: string): void {
    this.#print(this.#styled("red", text));
  }

  /** Gives the terminal back. */
  close(): void {
    clearInterval(this.#timer);
    this.#erase();
    this.#step = undefined;
  }

  #end(mark: string, said: string): void {
    if (this.#step === undefined) return;
    const { title, titled, startedAt } = this.#step;
    clearInterval(this.#timer);
    this.#erase();
    this.#step = undefined;
    const words = [...(titled ? [] : [title]), ...(said === "" && !titled ? [] : [said === "" ? "done" : said])].join(
      ": ",
    );
    const took = this.#styled("dim", `(${this.#elapsed(startedAt)})`);
    this.#print([...(titled ? ["   "] : []), mark, words, took].join(" "));
  }

  /** A step that has lines of its own stands above them; one that has none is one line when it is done. */
  #showTitle(): void {
    if (this.#step === undefined || this.#step.titled) return;
    this.#step.titled = true;
    this.#print(this.#styled("bold", this.#step.title));
  }

  #print(line: string): void {
    this.#erase();
    this.#stream.write(`${line}\n`);
    this.#draw();
  }

  #draw(): void {
    if (!this.#live || this.#step === undefined) return;
    const { title, startedAt, state } = this.#step;
    this.#erase();
    const text = `${title}${state === "" ? "" : `: ${state}`} ${this.#elapsed(startedAt)}`;
    const room = Math.max(10, (this.#stream.columns || 80) - 3);
    const shown = text.length > room ? `${text.slice(0, room - 1)}…` : text;
    this.#frame = (this.#frame + 1) % FRAMES.length;
    this.#stream.write(`${this.#styled("cyan", FRAMES[this.#frame] ?? "")} ${shown}`);
    this.#drawn = true;
  }

  #erase(): void {
    if (this.#drawn) this.#stream.write("\r\u001b[K");
    this.#drawn = false;
  }

  #elapsed(since: number): string {
    return `${((performance.now() - since) / 1000).toFixed(1)} s`;
  }

  #styled(style: Style, text: string): string {
    return this.#coloured ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text;
  }
}
