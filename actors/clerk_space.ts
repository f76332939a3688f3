/**
 * A part of the keys whose values are of one type: keys below a prefix, and a codec for what is stored there.
 *
 * @module
 */
import {
  AbortedError,
  ClerkError,
  ConflictError,
  PreconditionFailedError,
} from "./clerk_errors.ts";
import type { WatchEvent, WatchOptions } from "./clerk.ts";
import type {
  Bytes,
  CallOptions,
  Entry,
  KeyRange,
  PutOptions,
  RangeOptions,
  ReadOptions,
  WriteOptions,
  Written,
} from "./clerk_types.ts";
import { bytesOf } from "./clerk_types.ts";

/** How often an update is tried again since others have written meanwhile. */
export const UPDATE_TRIES_MAX = 100;
/** Longest pause before an update is tried again, in milliseconds; a random part of it is waited. */
const UPDATE_PAUSE_MS = 20;

/** How values are stored. */
export interface ValueCodec<Value> {
  /** The content type that they are stored with; default none. */
  readonly contentType?: string;
  /** The bytes of a value. */
  encode(value: Value): Uint8Array;
  /** The value of bytes; it may throw if they are none. */
  decode(bytes: Uint8Array): Value;
}

/** Values that are texts. */
export const textValues: ValueCodec<string> = {
  contentType: "text/plain;charset=UTF-8",
  encode: (value) => new TextEncoder().encode(value),
  decode: (bytes) => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
};

/** Values that JSON can hold. Nobody checks that what is stored is of the type. */
export function jsonValues<Value>(): ValueCodec<Value> {
  return {
    contentType: "application/json",
    encode: (value) => new TextEncoder().encode(JSON.stringify(value)),
    decode: (bytes) => JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)),
  };
}

/** An entry of a space. */
export interface TypedEntry<Value> extends Omit<Entry, "value" | "text" | "json" | "keyBytes"> {
  /** The key without the prefix of its space. */
  readonly key: string;
  /** The value. */
  readonly value: Value;
}

/** A change of a key of a space. */
export interface TypedEvent<Value> {
  /** Whether the key was set or deleted. */
  readonly type: "put" | "delete";
  /** The key without the prefix of its space. */
  readonly key: string;
  /** Revision of the store after the command that changed it. */
  readonly revision: number;
  /** What is stored now; undefined if it was deleted. */
  readonly entry: TypedEntry<Value> | undefined;
  /** What was stored before, if that was asked for and there was something. */
  readonly previous: TypedEntry<Value> | undefined;
}

/** What a space needs of the Clerk. */
interface SpaceClerk {
  put(key: Bytes, value: Bytes, options?: PutOptions): Promise<Written>;
  get(key: Bytes, options?: ReadOptions): Promise<Entry | undefined>;
  delete(key: Bytes, options?: WriteOptions): Promise<boolean>;
  deleteRange(range: KeyRange, options?: CallOptions): Promise<number>;
  range(options?: RangeOptions): AsyncGenerator<Entry, void>;
  count(options?: KeyRange & ReadOptions): Promise<number>;
  watch(options?: WatchOptions): AsyncGenerator<WatchEvent, void>;
}

/** See {@linkcode Clerk.space}. Its keys are texts. */
export class KeySpace<Value> {
  /** What each of its keys begins with. */
  readonly prefix: string;
  readonly #kv: SpaceClerk;
  readonly #codec: ValueCodec<Value>;

  /** Made by {@linkcode Clerk.space}. */
  constructor(kv: SpaceClerk, prefix: string, codec: ValueCodec<Value>) {
    this.#kv = kv;
    this.prefix = prefix;
    this.#codec = codec;
  }

  /** Stores a value. Throws as {@linkcode Clerk.put}. */
  async put(
    key: string,
    value: Value,
    options: Omit<PutOptions, "contentType"> = {},
  ): Promise<Written> {
    const { contentType } = this.#codec;
    return await this.#kv.put(this.prefix + key, this.#codec.encode(value), {
      ...options,
      ...(contentType === undefined ? {} : { contentType }),
    });
  }

  /**
   * What is stored at a key; undefined if nothing is.
   *
   * @throws {ClerkError} As {@linkcode Clerk.get}; `undecodable` if what is stored is no value of the space.
   */
  async get(key: string, options: ReadOptions = {}): Promise<TypedEntry<Value> | undefined> {
    const entry = await this.#kv.get(this.prefix + key, options);
    return entry && this.#typed(entry);
  }

  /** Deletes a key; answers whether it was there. Throws as {@linkcode Clerk.put}. */
  delete(key: string, options: WriteOptions = {}): Promise<boolean> {
    return this.#kv.delete(this.prefix + key, options);
  }

  /**
   * Stores what a function makes of what is there, undefined if nothing is; and if somebody else has written
   * meanwhile, does so anew. If the function makes undefined, nothing is stored. The key keeps its lease.
   *
   * @throws {ConflictError} If others have written meanwhile UPDATE_TRIES_MAX times.
   * @throws {ClerkError} As {@linkcode put} and {@linkcode get}.
   */
  async update(
    key: string,
    change: (value: Value | undefined) => Value | undefined | Promise<Value | undefined>,
    options: CallOptions = {},
  ): Promise<TypedEntry<Value> | undefined> {
    for (let tries = 1; tries <= UPDATE_TRIES_MAX; tries++) {
      const present = await this.get(key, options);
      const value = await change(present?.value);
      if (value === undefined) return present;
      const lease = present?.lease;
      const condition = {
        ...(present === undefined ? { ifAbsent: true } : { ifRevision: present.revision }),
        ...(lease === undefined ? {} : { lease }),
      };
      try {
        const { revision, version } = await this.put(key, value, { ...options, ...condition });
        const created = present?.created ?? revision;
        const { contentType } = this.#codec;
        return { key, value, contentType, revision, version, created, lease };
      } catch (error) {
        if (!(error instanceof PreconditionFailedError)) throw error;
        await pause(Math.random() * UPDATE_PAUSE_MS, options.signal);
      }
    }
    throw new ConflictError(
      `Others have written ${UPDATE_TRIES_MAX} times meanwhile`,
      { code: "conflict" },
    );
  }

  /** The entries in the order of their keys, as of one moment. Throws as {@linkcode Clerk.range}. */
  async *range(
    options: Omit<RangeOptions, "prefix" | "start" | "end"> & { readonly prefix?: string } = {},
  ): AsyncGenerator<TypedEntry<Value>, void> {
    const { prefix = "", ...rest } = options;
    const entries = this.#kv.range({ ...rest, prefix: this.prefix + prefix });
    for await (const entry of entries) yield this.#typed(entry);
  }

  /** How many keys there are. Throws as {@linkcode get}. */
  count(options: ReadOptions = {}): Promise<number> {
    return this.#kv.count({ ...options, prefix: this.prefix });
  }

  /** Deletes all of its keys at once; answers how many there were. As {@linkcode Clerk.deleteRange}. */
  clear(options: CallOptions = {}): Promise<number> {
    return this.#kv.deleteRange({ prefix: this.prefix }, options);
  }

  /** Its changes, as {@linkcode Clerk.watch} tells them. */
  async *watch(
    options: Pick<WatchOptions, "from" | "withPrevious" | "signal"> & {
      /** Only this key. */
      readonly key?: string;
    } = {},
  ): AsyncGenerator<TypedEvent<Value>, void> {
    const { key, ...rest } = options;
    const which = key === undefined ? { prefix: this.prefix } : { key: this.prefix + key };
    for await (const event of this.#kv.watch({ ...rest, ...which })) {
      const { type, revision, entry, previous } = event;
      yield {
        ...{ type, revision, key: this.#keyOf(event.keyBytes) },
        entry: entry && this.#typed(entry),
        previous: previous && this.#typed(previous),
      };
    }
  }

  #typed({ keyBytes, value: bytes, ...entry }: Entry): TypedEntry<Value> {
    const { contentType, revision, created, version, lease } = entry;
    const key = this.#keyOf(keyBytes);
    let value: Value;
    try {
      value = this.#codec.decode(bytes);
    } catch (error) {
      const why = (error as Error).message;
      throw new ClerkError(`The value of ${JSON.stringify(key)} cannot be read: ${why}`, {
        code: "undecodable",
      });
    }
    return { key, value, contentType, revision, created, version, lease };
  }

  #keyOf(keyBytes: Uint8Array): string {
    return new TextDecoder().decode(keyBytes.subarray(bytesOf(this.prefix).length));
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(new AbortedError("It was aborted between two tries", { code: "aborted" }));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal?.aborted === true) return abort();
    signal?.addEventListener("abort", abort);
  });
}
