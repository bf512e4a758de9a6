/** Cuts a protocol description (`*_protocol.x`) into tokens; comments are kept on the token that follows them. */

export interface Token {
  readonly kind: "word" | "number" | "symbol" | "end";
  readonly text: string;
  /** The last comment before the token. */
  readonly comment: string;
  readonly line: number;
}

const PATTERN = /(\s+)|(\/\*[\s\S]*?\*\/)|(^%.*$)|([A-Za-z_]\w*)|(0x[\dA-Fa-f]+|-?\d+)|([{}<>()[\];:,=*])/my;

export function tokens(text: string, file: string): Token[] {
  const found: Token[] = [];
  const pattern = new RegExp(PATTERN);
  let comment = "";
  let line = 1;
  while (pattern.lastIndex < text.length) {
    const at = pattern.lastIndex;
    const match = pattern.exec(text);
    if (match === null) throw new Error(`${file}:${line}: can't read ${JSON.stringify(text.slice(at, at + 20))}`);
    const [all, , remark, , word, number, symbol] = match;
    if (remark !== undefined) comment = remark;
    const token = word ?? number ?? symbol;
    if (token !== undefined) {
      const kind = word !== undefined ? "word" : number !== undefined ? "number" : "symbol";
      found.push({ kind, text: token, comment, line });
      comment = "";
    }
    line += all.split("\n").length - 1;
  }
  found.push({ kind: "end", text: "", comment, line });
  return found;
}
