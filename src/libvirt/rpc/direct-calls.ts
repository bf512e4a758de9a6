/** Calls on a session on which nothing else is under way yet: for its beginning, and for the renewal of events. */
import { asError } from "../../core/index.js";
import type { Clock, Deadline } from "../../core/index.js";
import { encodeArguments } from "./codec.js";
import type { Procedure } from "./procedure.js";
import type { RemoteProcedures } from "./protocol/remote-types.gen.js";
import type { Session } from "./session.js";
import { CallWindow } from "./window.js";

/** Calls a procedure of the remote program. */
export type HandshakeCall = <P extends keyof RemoteProcedures & string>(
  name: P,
  args: RemoteProcedures[P]["arguments"],
) => Promise<RemoteProcedures[P]["result"]>;

/** Calls past the queue of the connection, one after the other. */
export class DirectCalls {
  readonly #window: CallWindow;
  readonly #deadline: Deadline;

  constructor(session: Session, clock: Clock, deadline: Deadline) {
    this.#deadline = deadline;
    this.#window = new CallWindow({
      clock,
      size: 1,
      maxQueued: Number.MAX_SAFE_INTEGER,
      transmit: (call) => session.transmit(call),
    });
    session.attach(this.#window);
    this.#window.open();
  }

  call(procedure: Procedure, args: object): Promise<unknown> {
    const { signal, remainingMs } = this.#deadline;
    try {
      return this.#window.add(procedure, encodeArguments(procedure, args), { signal, deadlineMs: remainingMs + 1 });
    } catch (error) {
      return Promise.reject(asError(error));
    }
  }
}
