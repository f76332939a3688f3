/**
 * How a repeated command is recognised, so that it is applied once (thesis s6.3).
 *
 * | code | once | bytes |
 * |---|---|---|
 * | 0 | none | |
 * | 1 | idempotency key | its text, the text of the fingerprint |
 * | 2 | session | the number of the sequence, the text of the client id |
 *
 * @module
 */
import {
  checkNumber,
  checkText,
  CommandError,
  type CommandReader,
  textSize,
  writeText,
} from "./command_bytes.ts";
import { numberSize, writeNumber } from "./numbers.ts";
import { CLIENT_ID_CHARS_MAX, FINGERPRINT_CHARS_MAX, IDEMPOTENCY_KEY_CHARS_MAX } from "./limits.ts";

/** How a repeated command is recognised. */
export type Once =
  | {
    readonly type: "idempotencyKey";
    readonly key: string;
    /** Tells whether a repeat is the same command. */
    readonly fingerprint: string;
  }
  | {
    readonly type: "session";
    readonly clientId: string;
    /** 1 for the client's first command, which creates the session, and so on. */
    readonly sequence: number;
  };

const CODE = { idempotencyKey: 1, session: 2 } as const;

/** Its code, 0 to 3. */
export function onceCode(once: Once | undefined): number {
  return once === undefined ? 0 : CODE[once.type];
}

/**
 * How many bytes it takes.
 *
 * @throws {CommandError} If a part of it is outside its limits.
 */
export function onceSize(once: Once | undefined): number {
  if (once === undefined) return 0;
  if (once.type === "session") {
    const { clientId, sequence } = once;
    checkNumber(sequence);
    checkSequence(sequence);
    checkText("client id", clientId, CLIENT_ID_CHARS_MAX);
    return numberSize(sequence) + textSize(clientId);
  }
  checkText("idempotency key", once.key, IDEMPOTENCY_KEY_CHARS_MAX);
  checkText("fingerprint", once.fingerprint, FINGERPRINT_CHARS_MAX);
  return textSize(once.key) + textSize(once.fingerprint);
}

/** Writes it and returns the offset just after it. */
export function writeOnce(once: Once | undefined, bytes: Uint8Array, at: number): number {
  if (once === undefined) return at;
  if (once.type === "session") {
    return writeText(once.clientId, bytes, writeNumber(once.sequence, bytes, at));
  }
  return writeText(once.fingerprint, bytes, writeText(once.key, bytes, at));
}

/** @throws {CommandError} If the code is none, or a part is outside its limits. */
export function readOnce(code: number, reader: CommandReader): Once | undefined {
  if (code === 0) return undefined;
  if (code === CODE.idempotencyKey) {
    const key = reader.text("idempotency key", IDEMPOTENCY_KEY_CHARS_MAX);
    const fingerprint = reader.text("fingerprint", FINGERPRINT_CHARS_MAX);
    return { type: "idempotencyKey", key, fingerprint };
  }
  if (code === CODE.session) {
    const sequence = reader.number();
    checkSequence(sequence);
    return { type: "session", clientId: reader.text("client id", CLIENT_ID_CHARS_MAX), sequence };
  }
  throw new CommandError("malformed", "it says in an unknown way how a repeat is recognised");
}

function checkSequence(sequence: number): void {
  if (sequence < 1) throw new CommandError("number", "its sequence is less than 1");
}
