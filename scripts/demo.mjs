// `npm run demo`: sets up what is missing, then boots a real guest on real QEMU and shows what a driver does with it. Where QEMU
// can't be had, the same script runs on the fake driver. `npm run demo -- --help` says the rest.
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createLog } from "./lib/progress.mjs";
import { CommandFailed } from "./lib/run-command.mjs";
import { ensureSetup } from "./setup.mjs";

const USAGE = `npm run demo -- [options]

  --driver kvm|fake        default: kvm where QEMU can be had, otherwise fake
  --accelerator kvm|tcg    default: KVM where a guest really runs under it, otherwise TCG
  --output DIRECTORY       where the screenshot goes; default: demo-output in the current directory
  --plain                  plain lines, also on a terminal
  --help
`;

const options = readOptions();
if (options === undefined) {
  process.exitCode = 2;
} else if (options.help) {
  process.stdout.write(USAGE);
} else {
  process.exitCode = await main(options);
}

async function main({ driver, accelerator, output, plain }) {
  const setup = await prepare(driver);
  if (setup === undefined) return 1;
  const { chosen, reason, guest } = setup;

  // A first Ctrl-C asks the demo to stop, which takes down what it has started; a second one does not wait for that.
  const interrupted = new AbortController();
  const onSignal = () => {
    if (interrupted.signal.aborted) process.exit(130);
    interrupted.abort(new Error("interrupted"));
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, onSignal);
  // Nobody reads on (`npm run demo | head`): the same as an interruption.
  process.stdout.on("error", () => interrupted.abort(new Error("nobody reads the output")));

  // The demo is TypeScript and reads "hypervise" from the sources, as the examples do: there is nothing to build first.
  process.env.TSX_TSCONFIG_PATH = fileURLToPath(new URL("../tsconfig.json", import.meta.url));
  const { register } = await import("tsx/esm/api");
  register();
  const { runDemo } = await import(new URL("demo/run.ts", import.meta.url).href);
  const exitCode = await runDemo({
    driver: chosen,
    reason,
    guest,
    accelerator,
    output,
    plain,
    signal: interrupted.signal,
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.removeListener(signal, onSignal);
  return exitCode;
}

/** Sets up, and says which driver it is to be, and why where that is not what was asked for. */
async function prepare(asked) {
  const log = createLog();
  try {
    const setup = await ensureSetup({
      need: "demo",
      log,
      ...(asked === "fake" ? { install: false, guest: false } : {}),
    });
    if (asked === "fake") return { chosen: "fake", reason: "it was asked for" };
    if (setup.ready) return { chosen: "kvm", guest: setup.guest };
    for (const line of setup.advice) log(line);
    if (asked === "kvm") return undefined;
    const missing = setup.missing.map(({ name }) => name).join(", ");
    return {
      chosen: "fake",
      reason: missing ? `this system lacks ${missing}` : (setup.guestProblem ?? "set-up failed"),
    };
  } catch (error) {
    if (!(error instanceof CommandFailed)) throw error;
    log(error.message);
    return undefined;
  }
}

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        driver: { type: "string" },
        accelerator: { type: "string", default: "auto" },
        output: { type: "string", default: "demo-output" },
        plain: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (values.driver !== undefined && !["kvm", "fake"].includes(values.driver))
      throw new Error("--driver is kvm or fake");
    if (!["auto", "kvm", "tcg"].includes(values.accelerator)) throw new Error("--accelerator is kvm or tcg");
    return values;
  } catch (error) {
    process.stderr.write(`${error.message}\n\n${USAGE}`);
    return undefined;
  }
}
