// Writes "newc" cpio archives, the format of a Linux initramfs; every owner is root and every time is zero, so that equal input
// gives equal bytes.

/**
 * @typedef {{ path: string, type: "directory" } | { path: string, type: "file", content: Buffer | string, mode?: number }
 *   | { path: string, type: "symlink", target: string }} CpioEntry
 */

const TYPE_BITS = { directory: 0o040000, file: 0o100000, symlink: 0o120000 };
const BLOCK_BYTES = 512;

/**
 * @param {readonly CpioEntry[]} entries In any order; missing parent directories are added.
 * @returns {Buffer}
 */
export function cpioArchive(entries) {
  const parts = [];
  let length = 0;
  const push = (buffer, align) => {
    const padding = (align - ((length + buffer.length) % align)) % align;
    parts.push(buffer, Buffer.alloc(padding));
    length += buffer.length + padding;
  };
  let inode = 1;
  for (const entry of withParents(entries)) {
    const body = bodyOf(entry);
    push(header(entry.path, inode++, TYPE_BITS[entry.type] | modeOf(entry), body.length), 4);
    push(body, 4);
  }
  push(header("TRAILER!!!", 0, 0, 0), 4);
  push(Buffer.alloc(0), BLOCK_BYTES);
  return Buffer.concat(parts);
}

function withParents(entries) {
  const all = new Map();
  for (const entry of entries) {
    const path = entry.path.replace(/^\/+/, "");
    const parents = path.split("/").slice(0, -1);
    for (let depth = 1; depth <= parents.length; depth++) {
      const parent = parents.slice(0, depth).join("/");
      if (!all.has(parent)) all.set(parent, { path: parent, type: "directory" });
    }
    all.set(path, { ...entry, path });
  }
  // A directory sorts before what it holds.
  return [...all.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function bodyOf(entry) {
  if (entry.type === "symlink") return Buffer.from(entry.target);
  if (entry.type === "file") return Buffer.from(entry.content);
  return Buffer.alloc(0);
}

function modeOf(entry) {
  if (entry.type === "symlink") return 0o777;
  if (entry.type === "directory") return 0o755;
  return entry.mode ?? 0o644;
}

function header(path, inode, mode, size) {
  const name = Buffer.from(`${path}\0`);
  const fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name.length, 0];
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`;
  return Buffer.concat([Buffer.from(text, "latin1"), name]);
}
