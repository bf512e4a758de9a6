/** Objects of other processes: methods called by HTTP over a socket of the file system, which leads into every network namespace. */
import { createServer, request } from "node:http";
import type { Server } from "node:http";
import { once } from "node:events";
import { text } from "node:stream/consumers";

/** Serves the methods of objects, each under its name. */
export async function serve(objects: Readonly<Record<string, object>>, socketPath: string): Promise<Server> {
  const answer = async (name: string, body: string): Promise<unknown> => {
    const [method = "", args = []] = JSON.parse(body) as [string, unknown[]];
    const target = objects[name] as Record<string, (...args: unknown[]) => unknown>;
    if (typeof target?.[method] !== "function") throw new TypeError(`${name} has no method ${method}`);
    return target[method](...args);
  };
  const server = createServer((question, response) => {
    void text(question)
      .then((body) => answer((question.url ?? "").slice(1), body))
      .then(
        (value) => response.end(JSON.stringify({ value })),
        (error: unknown) => response.end(JSON.stringify({ error })),
      );
  });
  server.listen(socketPath);
  await once(server, "listening");
  return server;
}

/** An object that another process serves. An AbortSignal among the arguments stays here. */
export function connect<T extends object>(socketPath: string, name: string): T {
  const call = (method: string, args: readonly unknown[]): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const question = request({ socketPath, path: `/${name}`, method: "POST" }, (response) => {
        text(response)
          .then((body) => JSON.parse(body) as { readonly value?: unknown; readonly error?: Record<string, unknown> })
          .then(({ value, error }) => (error === undefined ? resolve(value) : reject(errorOf(error))), reject);
      });
      question.on("error", reject);
      question.end(
        JSON.stringify([method, args], (_, value: unknown) => (value instanceof AbortSignal ? undefined : value)),
      );
    });
  const target = {} as Record<string, unknown>;
  return new Proxy(target, {
    // A promise of it must not take it for one.
    get: (_, method) =>
      typeof method !== "string" || method === "then" ? undefined : (...args: unknown[]) => call(method, args),
  }) as T;
}

/** Errors of this library say as JSON what they are; `code` tells them apart on this side. */
function errorOf(given: Readonly<Record<string, unknown>>): Error {
  return Object.assign(new Error(), { stack: undefined }, given);
}
