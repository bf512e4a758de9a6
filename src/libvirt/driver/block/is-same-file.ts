/** Whether two paths lead to one file. */
import { realpath } from "node:fs/promises";

export async function isSameFile(one: string, other: string): Promise<boolean> {
  const real = (path: string): Promise<string> => realpath(path).catch(() => path);
  return (await real(one)) === (await real(other));
}
