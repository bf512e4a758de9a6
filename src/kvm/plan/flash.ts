/** UEFI firmware in flash: code that all guests share, variables of the guest's own. Pure. */
import type { Hardware } from "./hardware.js";
import { GUEST_FILES } from "./parts.js";

export interface Flash {
  readonly args: readonly string[];
  /** Members of `-machine`. */
  readonly machineOptions: readonly string[];
}

const CODE = "flash-code";
const VARIABLES = "flash-variables";

/** @param directory The guest's directory, by its whole path */
export function flash({ firmware }: Hardware, directory: string): Flash {
  if (firmware === undefined) return { args: [], machineOptions: [] };
  const { codePath, codeFormat, variablesFormat, smm } = firmware;
  const file = (name: string, filename: string, readOnly: boolean): object => ({
    driver: "file",
    "node-name": `${name}-storage`,
    filename,
    "read-only": readOnly,
  });
  const node = (name: string, driver: string, path: string, readOnly: boolean): string[] => [
    "-blockdev",
    JSON.stringify({ driver, "node-name": name, "read-only": readOnly, file: file(name, path, readOnly) }),
  ];
  const guarded = ["-global", "driver=cfi.pflash01,property=secure,value=on"];
  return {
    args: [
      ...node(CODE, codeFormat, codePath, true),
      ...node(VARIABLES, variablesFormat, `${directory}/${GUEST_FILES.uefiVariables}`, false),
      ...(smm ? guarded : []),
    ],
    machineOptions: [...(smm ? ["smm=on"] : []), `pflash0=${CODE}`, `pflash1=${VARIABLES}`],
  };
}
