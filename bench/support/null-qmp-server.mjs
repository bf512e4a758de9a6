// A QMP server that does nothing, for measuring clients: answers every command at once; `schema` with 200 KB, `flood` with events.
import { createServer } from "node:net";

const path = process.argv[2];
const event =
  '{"timestamp": {"seconds": 1700000000, "microseconds": 123456}, "event": "RTC_CHANGE", "data": {"offset": 1, "qom-path": "/machine/rtc"}}\r\n';
const entry =
  '{"name": "123", "members": [{"name": "node-name", "type": "str"}, {"name": "size", "default": null, "type": "int"}], "meta-type": "object"}';
const schema = `[${Array.from({ length: 1500 }, () => entry).join(", ")}]`;

const server = createServer((socket) => {
  let rest = "";
  socket.on("error", () => undefined);
  socket.setEncoding("latin1");
  socket.write(
    '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}\r\n',
  );
  socket.on("data", (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    socket.write(lines.map(answer).join(""), "latin1");
  });
});

function answer(line) {
  const id = /"id":\s*("[^"]*"|\d+)/.exec(line)?.[1] ?? "null";
  if (line.includes('"schema"')) return `{"return": ${schema}, "id": ${id}}\r\n`;
  const count = /"flood".*"count":(\d+)/.exec(line)?.[1];
  return `${count === undefined ? "" : event.repeat(Number(count))}{"return": {}, "id": ${id}}\r\n`;
}

server.listen(path, () => process.send?.("ready"));
process.on("disconnect", () => process.exit(0));
