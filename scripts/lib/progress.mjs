// What the set-up scripts say to a person: lines, and on a terminal one line that is rewritten while something long is under way.

/**
 * @typedef {((line: string) => void) & { progress?: (text: string) => void }} Log
 * A function that takes a finished line; its optional `progress` takes a passing state, which the next call replaces.
 */

/**
 * @param {NodeJS.WriteStream} [stream]
 * @returns {Log}
 */
export function createLog(stream = process.stderr) {
  let transient = false;
  let lastPlainMs = 0;
  const clear = () => {
    if (transient) stream.write("\r\u001b[K");
    transient = false;
  };
  const log = (line) => {
    clear();
    stream.write(`${line}\n`);
  };
  log.progress = (text) => {
    if (stream.isTTY) {
      const width = Math.max(20, (stream.columns ?? 80) - 1);
      stream.write(`\r\u001b[K${text.length > width ? `${text.slice(0, width - 1)}…` : text}`);
      transient = true;
      return;
    }
    // Not a terminal: a line now and then, so that a log shows that work goes on.
    if (Date.now() - lastPlainMs < 10_000) return;
    lastPlainMs = Date.now();
    stream.write(`${text}\n`);
  };
  return log;
}

/** @type {Log} */
export const silentLog = () => {};
