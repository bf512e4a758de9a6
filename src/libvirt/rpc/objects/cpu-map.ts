/** Maps of processors as libvirt writes them: one bit each, the lowest bit of the first byte for processor 0. */

/** The numbers of the processors in a map, ascending. */
export function cpusOfMap(map: Uint8Array): number[] {
  const cpus: number[] = [];
  map.forEach((byte, i) => {
    for (let bit = 0; bit < 8; bit += 1) if ((byte & (1 << bit)) !== 0) cpus.push(i * 8 + bit);
  });
  return cpus;
}

/** A map of some processors, as long as the highest of them needs. Throws `RangeError` for what is no processor's number. */
export function mapOfCpus(cpus: Iterable<number>): Uint8Array {
  const list = [...cpus];
  const bad = list.find((cpu) => !Number.isInteger(cpu) || cpu < 0 || cpu >= MAX_CPUS);
  if (bad !== undefined) throw new RangeError(`${bad} is no number of a processor from 0 to ${MAX_CPUS - 1}`);
  const map = new Uint8Array(Math.floor(list.reduce((most, cpu) => Math.max(most, cpu), -1) / 8) + 1);
  for (const cpu of list) map[cpu >> 3] = (map[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  return map;
}

/** `REMOTE_CPUMAP_MAX` bytes of eight. */
const MAX_CPUS = 16_384;
