// Which world the test process lives in: scripts/in-sandbox.mjs says so in the environment.

export type SandboxKind = "root" | "user" | "none";

/** "root": own namespaces, and root; "user": root of a user namespace only; "none": the machine itself. */
export function sandboxKind(): SandboxKind {
  const kind = process.env["HYPERVISE_SANDBOX"];
  return kind === "root" || kind === "user" ? kind : "none";
}

/** @throws Error unless bridges, TAP devices and firewall rules may be made here. */
export function requireNetworkRights(): void {
  if (process.getuid?.() === 0) return;
  throw new Error(
    "this test makes network devices: run it as root, or through `node scripts/in-sandbox.mjs -- npx vitest run ...`",
  );
}
