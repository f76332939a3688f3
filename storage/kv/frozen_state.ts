/**
 * The store's state as bytes: what a snapshot, a backup and a moved shard carry.
 *
 * | chunk | content |
 * |---|---|
 * | first | tag 0; version; revision, lastApplied, log time |
 * | any number | items: a tag and its fields; whole items only |
 * | last | tag 255; the state hash |
 *
 * | tag | item | fields |
 * |---|---|---|
 * | 1 | entry | key, value, content type, created, revision, version |
 * | 2 | idempotency key | key, fingerprint, log time, use, result |
 * | 3 | session | client id, highest sequence, log time, use |
 * | 4 | result of a session | client id, sequence, result |
 *
 * A number is 8 bytes, little-endian; a text or value is a 4-byte length and its bytes.
 *
 * @module
 */
import { toByteString, writeByteString } from "../byte_string.ts";
import type { CommandResult } from "./command_result.ts";
import type { KvItem } from "./entry.ts";
import type { KeyRecord, Session, SessionResult } from "./sessions.ts";

/** A chunk is handed over once it has this many bytes; a larger item has a chunk of its own. */
const STATE_CHUNK_BYTES = 64 * 1024;
/** Version of the layout. */
const STATE_VERSION = 1;

/** What a store holds besides its tables. */
export interface StateHead {
  readonly revision: number;
  readonly lastApplied: number;
  readonly logTimeMs: number;
}

/** An item of a state. */
export type StateItem =
  | { readonly type: "entry"; readonly entry: KvItem }
  | { readonly type: "key"; readonly record: KeyRecord }
  | { readonly type: "session"; readonly session: Session }
  | { readonly type: "result"; readonly result: SessionResult };

/** Bytes that are no state of this version. */
export class StateError extends Error {
  override readonly name = "StateError";

  constructor(reason: string) {
    super(`Cannot load a state: ${reason}`);
  }
}

const TAG_HEAD = 0;
const TAGS = { entry: 1, key: 2, session: 3, result: 4 } as const;
const TAG_END = 255;
const NUMBER_BYTES = 8;
const STATUSES = ["ok", "precondition-failed", "too-large"] as const;

/** The chunks of a state, each made when it is asked for. */
export function* writeState(
  head: StateHead,
  items: Iterable<StateItem>,
  stateHash: string,
): Generator<Uint8Array, void> {
  const writer = new Writer();
  writer.byte(TAG_HEAD);
  writer.number(STATE_VERSION);
  for (const value of [head.revision, head.lastApplied, head.logTimeMs]) writer.number(value);
  yield writer.take();
  for (const item of items) {
    writeItem(writer, item);
    if (writer.length >= STATE_CHUNK_BYTES) yield writer.take();
  }
  if (writer.length > 0) yield writer.take();
  writer.byte(TAG_END);
  writer.text(stateHash);
  yield writer.take();
}

/**
 * Reads chunks; `take` gets every item. Values are views of the chunks.
 *
 * @throws {StateError} If they are anything but one whole state of this version.
 */
export function readState(
  chunks: Iterable<Uint8Array>,
  take: (item: StateItem) => void,
): { readonly head: StateHead; readonly stateHash: string } {
  let head: StateHead | undefined;
  let stateHash: string | undefined;
  for (const chunk of chunks) {
    const reader = new Reader(chunk);
    while (!reader.isAtEnd) {
      if (stateHash !== undefined) throw new StateError("bytes follow its end");
      const tag = reader.byte();
      if (head === undefined) head = readHead(reader, tag);
      else if (tag === TAG_END) stateHash = reader.text();
      else take(readItem(reader, tag));
    }
  }
  if (head === undefined || stateHash === undefined) throw new StateError("it is cut short");
  return { head, stateHash };
}

function writeItem(writer: Writer, item: StateItem): void {
  writer.byte(TAGS[item.type]);
  switch (item.type) {
    case "entry": {
      const { key, value, contentType, created, revision, version } = item.entry;
      writer.text(key);
      writer.bytes(value);
      writer.text(contentType ?? "");
      for (const number of [created, revision, version]) writer.number(number);
      return;
    }
    case "key": {
      const { key, fingerprint, usedMs, use, result } = item.record;
      writer.text(key);
      writer.text(fingerprint);
      writer.number(usedMs);
      writer.number(use);
      return writeResult(writer, result);
    }
    case "session": {
      const { clientId, highest, usedMs, use } = item.session;
      writer.text(clientId);
      for (const number of [highest, usedMs, use]) writer.number(number);
      return;
    }
    case "result": {
      const { clientId, sequence, result } = item.result;
      writer.text(clientId);
      writer.number(sequence);
      return writeResult(writer, result);
    }
  }
}

function readHead(reader: Reader, tag: number): StateHead {
  if (tag !== TAG_HEAD) throw new StateError("it does not begin with its head");
  const version = reader.number();
  if (version !== STATE_VERSION) throw new StateError(`its version ${version} is not known`);
  return { revision: reader.number(), lastApplied: reader.number(), logTimeMs: reader.number() };
}

function readItem(reader: Reader, tag: number): StateItem {
  switch (tag) {
    case TAGS.entry: {
      const key = reader.text();
      const value = reader.bytes();
      const contentType = reader.text();
      const [created, revision, version] = [reader.number(), reader.number(), reader.number()];
      return {
        type: "entry",
        entry: {
          key,
          value,
          contentType: contentType === "" ? undefined : contentType,
          created,
          revision,
          version,
        },
      };
    }
    case TAGS.key: {
      const key = reader.text();
      const fingerprint = reader.text();
      const [usedMs, use] = [reader.number(), reader.number()];
      return { type: "key", record: { key, fingerprint, usedMs, use, result: readResult(reader) } };
    }
    case TAGS.session: {
      const clientId = reader.text();
      const [highest, usedMs, use] = [reader.number(), reader.number(), reader.number()];
      return { type: "session", session: { clientId, highest, usedMs, use } };
    }
    case TAGS.result: {
      const clientId = reader.text();
      const sequence = reader.number();
      return { type: "result", result: { clientId, sequence, result: readResult(reader) } };
    }
    default:
      throw new StateError(`it has an item with tag ${tag}`);
  }
}

/** Only results that a repeat is answered with are kept. */
function writeResult(writer: Writer, result: CommandResult): void {
  const status = STATUSES.indexOf(result.status as (typeof STATUSES)[number]);
  if (status < 0) throw new StateError(`a result "${result.status}" is not kept`);
  writer.byte(status);
  if (result.status === "precondition-failed") writer.number(result.revision);
  if (result.status !== "ok") return;
  const { revision, version, length, created, deleted } = result;
  for (const number of [revision, version, length, +created, deleted]) writer.number(number);
}

function readResult(reader: Reader): CommandResult {
  const status = STATUSES[reader.byte()];
  if (status === "precondition-failed") return { status, revision: reader.number() };
  if (status === "too-large") return { status };
  if (status !== "ok") throw new StateError("it has a result of an unknown kind");
  const [revision, version, length] = [reader.number(), reader.number(), reader.number()];
  const created = reader.number() === 1;
  return { status, revision, version, length, created, deleted: reader.number() };
}

class Writer {
  #bytes = new Uint8Array(STATE_CHUNK_BYTES);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  get length(): number {
    return this.#at;
  }

  /** What was written since the last call. */
  take(): Uint8Array {
    const taken = this.#bytes.slice(0, this.#at);
    this.#at = 0;
    return taken;
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = value;
  }

  number(value: number): void {
    this.#reserve(NUMBER_BYTES);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += NUMBER_BYTES;
  }

  bytes(value: Uint8Array): void {
    this.#length(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }

  text(value: string): void {
    this.#length(value.length);
    this.#at = writeByteString(value, this.#bytes, this.#at);
  }

  #length(length: number): void {
    this.#reserve(4 + length);
    this.#view.setUint32(this.#at, length, true);
    this.#at += 4;
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#at + size, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  number(): number {
    const value = this.#view.getFloat64(this.#take(NUMBER_BYTES), true);
    if (!Number.isSafeInteger(value) || value < 0) throw new StateError("a number is out of range");
    return value;
  }

  bytes(): Uint8Array {
    const length = this.#view.getUint32(this.#take(4), true);
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  text(): string {
    const length = this.#view.getUint32(this.#take(4), true);
    const start = this.#take(length);
    return toByteString(this.#bytes, start, start + length);
  }

  #take(size: number): number {
    const start = this.#at;
    if (start + size > this.#bytes.length) throw new StateError("a chunk ends within an item");
    this.#at += size;
    return start;
  }
}
