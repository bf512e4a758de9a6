/** How a table of commands, as the generator writes it, turns into the types of a call. */

/** A table of commands: what each takes and gives. */
export type CommandTable = { readonly [name: string]: { readonly arguments: object; readonly result: unknown } };

/** The parameters after the name of a command: its arguments may be left out when none of them is required. */
export type CommandParameters<Arguments, Options> =
  Record<never, never> extends Arguments ? [args?: Arguments, options?: Options] : [args: Arguments, options?: Options];
