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
 * | 5 | entry with a lease | those of an entry, lease |
 * | 6 | lease | id, milliseconds that it was granted for, log time of its deadline, 1 if it is of a key |
 * | 7 | last lease | id; absent if there never was one |
 *
 * What numbers, texts and values are: state_bytes.ts. What a result is: command_result.ts and
 * operations/.
 *
 * @module
 */
import { unpackResult } from "./command_result.ts";
import type { KvItem } from "./entry.ts";
import type { Lease } from "./leases.ts";
import type { KeyRecord } from "./idempotency_keys.ts";
import type { Session, SessionResult } from "./sessions.ts";
import { STATE_CHUNK_BYTES, StateError, StateReader, StateWriter } from "./state_bytes.ts";

/** Version of the layout. */
const STATE_VERSION = 2;

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
  | { readonly type: "result"; readonly result: SessionResult }
  | { readonly type: "lease"; readonly lease: Lease }
  | { readonly type: "lastLease"; readonly id: number };

const TAG_HEAD = 0;
const TAGS = { entry: 1, key: 2, session: 3, result: 4, lease: 6, lastLease: 7 } as const;
const TAG_LEASED = 5;
const TAG_END = 255;

/** The chunks of a state, each made when it is asked for. */
export function* writeState(
  head: StateHead,
  items: Iterable<StateItem>,
  stateHash: string,
): Generator<Uint8Array, void> {
  const writer = new StateWriter();
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
 * Reads chunks, one a step; `take` gets every item. Values are views of the chunks.
 *
 * @throws {StateError} If they are anything but one whole state of this version.
 */
export function* readState(
  chunks: Iterable<Uint8Array>,
  take: (item: StateItem) => void,
): Generator<void, { readonly head: StateHead; readonly stateHash: string }> {
  let head: StateHead | undefined;
  let stateHash: string | undefined;
  for (const chunk of chunks) {
    const reader = new StateReader(chunk);
    while (!reader.isAtEnd) {
      if (stateHash !== undefined) throw new StateError("bytes follow its end");
      const tag = reader.byte();
      if (head === undefined) head = readHead(reader, tag);
      else if (tag === TAG_END) stateHash = reader.text();
      else take(readItem(reader, tag));
    }
    yield;
  }
  if (head === undefined || stateHash === undefined) throw new StateError("it is cut short");
  return { head, stateHash };
}

function writeItem(writer: StateWriter, item: StateItem): void {
  const isLeased = item.type === "entry" && item.entry.lease !== undefined;
  writer.byte(isLeased ? TAG_LEASED : TAGS[item.type]);
  switch (item.type) {
    case "entry": {
      const { key, lease } = item.entry;
      writer.text(key);
      writer.entry(item.entry);
      if (lease !== undefined) writer.number(lease);
      return;
    }
    case "lease": {
      const { id, ttlMs, deadlineMs, isOfKey } = item.lease;
      for (const number of [id, ttlMs, deadlineMs, +isOfKey]) writer.number(number);
      return;
    }
    case "lastLease":
      return writer.number(item.id);
    case "key": {
      const { key, fingerprint, usedMs, use, result } = item.record;
      writer.text(key);
      writer.text(fingerprint);
      writer.number(usedMs);
      writer.number(use);
      writer.text(result);
      return;
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
      writer.text(result);
      return;
    }
  }
}

function readHead(reader: StateReader, tag: number): StateHead {
  if (tag !== TAG_HEAD) throw new StateError("it does not begin with its head");
  const version = reader.number();
  if (version !== STATE_VERSION) throw new StateError(`its version ${version} is not known`);
  return { revision: reader.number(), lastApplied: reader.number(), logTimeMs: reader.number() };
}

function readItem(reader: StateReader, tag: number): StateItem {
  switch (tag) {
    case TAGS.entry:
      return { type: "entry", entry: { key: reader.text(), ...reader.entry() } };
    case TAG_LEASED: {
      const entry = { key: reader.text(), ...reader.entry() };
      return { type: "entry", entry: { ...entry, lease: reader.number() } };
    }
    case TAGS.lease: {
      const [id, ttlMs, deadlineMs] = [reader.number(), reader.number(), reader.number()];
      return { type: "lease", lease: { id, ttlMs, deadlineMs, isOfKey: reader.flag() } };
    }
    case TAGS.lastLease:
      return { type: "lastLease", id: reader.number() };
    case TAGS.key: {
      const key = reader.text();
      const fingerprint = reader.text();
      const [usedMs, use] = [reader.number(), reader.number()];
      return { type: "key", record: { key, fingerprint, usedMs, use, result: readPacked(reader) } };
    }
    case TAGS.session: {
      const clientId = reader.text();
      const [highest, usedMs, use] = [reader.number(), reader.number(), reader.number()];
      return { type: "session", session: { clientId, highest, usedMs, use } };
    }
    case TAGS.result: {
      const clientId = reader.text();
      const sequence = reader.number();
      return { type: "result", result: { clientId, sequence, result: readPacked(reader) } };
    }
    default:
      throw new StateError(`it has an item with tag ${tag}`);
  }
}

/** A packed result, which is known to mean one. */
function readPacked(reader: StateReader): string {
  const packed = reader.text();
  unpackResult(packed);
  return packed;
}
