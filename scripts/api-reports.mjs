// The API reports in api/, one an entry point: `npm run api` writes them, `npm run api:check` fails when one is stale.
// Both fail when a public signature names a type that no entry point exports. --reports DIRECTORY looks elsewhere than in api/.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Extractor, ExtractorConfig, ExtractorLogLevel } from "@microsoft/api-extractor";
import { projectRoot as root } from "./lib/dependencies.mjs";

const { values: options } = parseArgs({ options: { update: { type: "boolean" }, reports: { type: "string" } } });
const update = options.update ?? false;
const reportFolder = options.reports ?? join(root, "api");
const { name: packageName, exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const entries = Object.entries(exports)
  .filter(([, target]) => typeof target === "object")
  .map(([subpath]) => subpath.slice(2))
  .map((subpath) =>
    subpath === "" ? { name: packageName, types: "index.d.ts" } : { name: subpath, types: join(subpath, "index.d.ts") },
  );

/** Building blocks of public types that nobody has a reason to name. */
const buildingBlocks = new Set([
  // The fake world's own bookkeeping, reached through its hosts and its fault points.
  ...[
    "CORE_METHODS",
    "DiskLocks",
    "FacetMethod",
    "FILE_KINDS",
    "GuestData",
    "GuestExtras",
    "GuestRecord",
    "Halfway",
    "HostSurroundings",
  ],
  ...["MachineLimits", "Rule", "SeamCall", "SeamPointOf", "SeamPoints", "Seat", "StruckProcess"],
  // Names of one command's types, derived from `Qapi` and `Qga`.
  ...["Arguments", "Result"],
  // What the libvirt client's types are derived by.
  ...["Families", "Flat", "MessageOf", "Methods", "OBJECT_KINDS", "OneOf", "Plain", "remote", "ValueOfType"],
  ...["LibvirtStreamSetup", "LibvirtStrike", "SendStreamPacket", "StreamPacket"],
  // What the network managers share among themselves, and the parts of disk sources.
  ...["CallOptions", "FloatingAddresses", "ManagerContext", "ManagerProfile"],
  ...["CommonDiskSource", "OBJECTS", "QemuImgOptions"],
  "Check",
  "CopyHooks",
  "EventBase",
  "FILTER_PHASES",
  "FlagParameter",
  "GUEST_SYSTEMS",
  "InstanceEventBase",
  "InstanceId",
  "IOMMU_MODELS",
  "KvmGuest",
  "LibvirtGuest",
  "Promised",
  "StringParameter",
  "TableContent",
  "Tagged",
  "UnionToIntersection",
  "VifBase",
]);

// Below the project, because the declarations there import the packages of its node_modules.
mkdirSync(join(root, "temp"), { recursive: true });
const temp = mkdtempSync(join(root, "temp", "api-"));
process.once("exit", () => rmSync(temp, { recursive: true, force: true }));
for (const folder of [join(temp, "types"), join(temp, "reports"), reportFolder]) mkdirSync(folder, { recursive: true });
try {
  const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
  execFileSync(process.execPath, [compiler, "-p", "tsconfig.types.json", "--outDir", join(temp, "types")], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
} catch {
  console.error("The types do not compile, so there is no API to report.");
  process.exit(1);
}

const configPath = join(root, "api-extractor.json");
const configObject = ExtractorConfig.loadFile(configPath);
const problems = [];
const forgotten = new Map();

/** Makes one report, and compares it with the one that is checked in. */
function report({ name, types }) {
  const config = ExtractorConfig.prepare({
    configObject: {
      ...configObject,
      mainEntryPointFilePath: join(temp, "types", types),
      apiReport: {
        ...configObject.apiReport,
        reportFileName: `${name}.api.md`,
        reportFolder,
        reportTempFolder: join(temp, "reports"),
      },
    },
    configObjectFullPath: configPath,
    packageJsonFullPath: join(root, "package.json"),
  });
  const before = existsSync(config.reportFilePath) ? readFileSync(config.reportFilePath, "utf8") : undefined;
  const result = Extractor.invoke(config, {
    localBuild: update,
    messageCallback: (message) => {
      message.handled = true;
      if (message.messageId === "ae-forgotten-export") {
        // A number is API Extractor's, where two files use one name; "_base" is the compiler's, for a computed base class.
        const symbol = /"([^"]+)"/.exec(message.text)?.[1]?.replace(/_\d+$/, "");
        if (symbol !== undefined && !symbol.endsWith("_base")) forgotten.set(symbol, name);
      } else if (message.logLevel === ExtractorLogLevel.Error) {
        problems.push(`${name}: ${message.formatMessageWithLocation(root)}`);
      }
    },
  });
  if (!result.apiReportChanged) return;
  if (update) {
    console.log(`api/${name}.api.md ${before === undefined ? "written" : "updated"}`);
    return;
  }
  problems.push(
    before === undefined
      ? `api/${name}.api.md is missing: run \`npm run api\` and check in what it writes.`
      : `api/${name}.api.md is stale: run \`npm run api\`, review the change and check it in.`,
  );
  if (before !== undefined) showDifference(config.reportFilePath, config.reportTempFilePath);
}

function showDifference(checkedIn, current) {
  try {
    execFileSync("git", ["--no-pager", "diff", "--no-index", "--no-color", "-U1", checkedIn, current], {
      stdio: ["ignore", "inherit", "inherit"],
    });
  } catch {
    // git diff ends with 1 when there is a difference, which is why it was called.
  }
}

for (const entry of entries) {
  if (existsSync(join(temp, "types", entry.types))) report(entry);
  else
    problems.push(`package.json exports ${entry.name}, but src/${entry.types.replace(/\.d\.ts$/, ".ts")} is missing.`);
}

const reports = readdirSync(reportFolder);
for (const file of reports) {
  if (entries.some(({ name }) => file === `${name}.api.md`)) continue;
  if (update) rmSync(join(reportFolder, file));
  else problems.push(`api/${file} belongs to no entry point: run \`npm run api\`.`);
}

const current = readdirSync(join(temp, "reports")).map((file) => readFileSync(join(temp, "reports", file), "utf8"));
const reported = current.join("\n");
for (const [symbol, name] of forgotten) {
  const declared = new RegExp(
    `^(export (declare )?(abstract )?(class|interface|type|const|function)|(export )?declare namespace) ${symbol}\\b`,
    "m",
  );
  const reexported = new RegExp(`^export \\{ (type )?${symbol} \\}`, "m");
  if (buildingBlocks.has(symbol) || declared.test(reported) || reexported.test(reported)) continue;
  problems.push(`${symbol}, which the public types of ${name} name, is exported by no entry point.`);
}

for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exit(1);
console.log(`${entries.length} API reports are ${update ? "written" : "up to date"}.`);
