// What importing a module costs: `import-cost.mjs SPECIFIER`; prints milliseconds and bytes of resident memory and heap.
const [specifier] = process.argv.slice(2);
globalThis.gc?.();
const before = process.memoryUsage();
const start = performance.now();
await import(specifier);
const ms = performance.now() - start;
globalThis.gc?.();
const after = process.memoryUsage();
console.log(JSON.stringify({ ms, residentBytes: after.rss - before.rss, heapBytes: after.heapUsed - before.heapUsed }));
