/**
 * What the operations of a Clerk take and give, whichever way they go.
 *
 * @module
 */

/** A key or a value: its bytes, or a text that stands for its UTF-8. */
export type Bytes = string | Uint8Array;

/** What any request takes. */
export interface CallOptions {
  /** Aborts it. */
  readonly signal?: AbortSignal;
  /** How long it may take, in milliseconds. */
  readonly timeoutMs?: number;
}

/** What a read takes. */
export interface ReadOptions extends CallOptions {
  /** How fresh it must be; default linearizable: as of now. */
  readonly consistency?: "linearizable" | "lease" | "follower" | "stale";
  /** The store must have reached this revision. */
  readonly minRevision?: number;
}

/** A condition of a write, and what goes with it. */
export interface WriteOptions extends CallOptions {
  /** Only if the key is at this revision. */
  readonly ifRevision?: number;
  /** Only if the key does not exist. */
  readonly ifAbsent?: boolean;
}

/** What a put takes besides. */
export interface PutOptions extends WriteOptions {
  /** The key lasts so long, in milliseconds. */
  readonly ttlMs?: number;
  /** The key is deleted when this lease ends. */
  readonly lease?: string | { readonly id: string };
  /** The value's content type. */
  readonly contentType?: string;
}

/** What is stored at a key. */
export interface Entry {
  /** The key; see `keyBytes` for one that is no UTF-8. */
  readonly key: string;
  /** The key's bytes. */
  readonly keyBytes: Uint8Array;
  /** The value. */
  readonly value: Uint8Array;
  /** Its content type, if it was stored with one. */
  readonly contentType: string | undefined;
  /** Revision of the key's last change. */
  readonly revision: number;
  /** Revision of its creation. */
  readonly created: number;
  /** Changes since then, which is the first. */
  readonly version: number;
  /** The lease with whose end it is deleted. */
  readonly lease: string | undefined;
  /** The value as text. */
  text(): string;
  /** The value as the JSON that it holds. The caller says of which type that is. */
  json<Type = unknown>(): Type;
}

/** What a write did. */
export interface Written {
  /** Revision of the store after it. */
  readonly revision: number;
  /** Changes of the key since its creation. */
  readonly version: number;
}

/** Which keys: a prefix, or bounds. */
export interface KeyRange {
  /** Keys that begin with this. */
  readonly prefix?: Bytes;
  /** From this key on. */
  readonly start?: Bytes;
  /** Up to this key, which is not among them. */
  readonly end?: Bytes;
}

/** What a listing takes. */
export interface RangeOptions extends KeyRange, ReadOptions {
  /** Most entries. */
  readonly limit?: number;
  /** In descending order. */
  readonly reverse?: boolean;
}

/** A compare of a transaction: of a missing key all numbers are 0, and no compare of its value holds. */
export type Compare =
  & { readonly key: Bytes; readonly op: "==" | "!=" | "<" | ">" }
  & (
    | { readonly target: "value"; readonly value: Bytes }
    | { readonly target: "version"; readonly version: number }
    | { readonly target: "created"; readonly created: number }
    | { readonly target: "revision"; readonly revision: number }
    | { readonly target: "lease"; readonly lease: string | 0 }
  );

/** An operation of a transaction. */
export type Operation =
  | {
    readonly put: {
      readonly key: Bytes;
      readonly value: Bytes;
      readonly contentType?: string;
      readonly lease?: string;
    };
  }
  | { readonly append: { readonly key: Bytes; readonly value: Bytes } }
  | { readonly increment: { readonly key: Bytes; readonly by?: number | bigint } }
  | { readonly get: { readonly key: Bytes } }
  | { readonly delete: { readonly key: Bytes } | (KeyRange & { readonly all?: boolean }) }
  | {
    readonly range: KeyRange & {
      readonly limit?: number;
      readonly reverse?: boolean;
    };
  };

/** The result of an operation, under the operation's name. */
export interface OperationResult {
  /** Of a put. */
  readonly put?: { readonly version: number; readonly created: boolean; readonly lease?: string };
  /** Of an append. */
  readonly append?: {
    readonly version: number;
    readonly length: number;
    readonly created: boolean;
  };
  /** Of an increment. */
  readonly increment?: {
    readonly value: bigint;
    readonly version: number;
    readonly created: boolean;
  };
  /** Of a get; undefined if there is no such key, or it was no get. */
  readonly get?: Entry | undefined;
  /** Of a delete. */
  readonly delete?: { readonly deleted: number };
  /** Of a range. */
  readonly range?: { readonly items: readonly Entry[]; readonly count: number };
}

/** A transaction: the compares choose the list, which takes effect whole or not at all. */
export interface Transaction {
  /** If all of them hold, `success` is executed, else `failure`. */
  readonly compare?: readonly Compare[];
  /** See `compare`. */
  readonly success?: readonly Operation[];
  /** See `compare`. */
  readonly failure?: readonly Operation[];
}

/** What a transaction did. */
export interface TransactionResult {
  /** Whether all compares held. */
  readonly succeeded: boolean;
  /** Revision of the store after it. */
  readonly revision: number;
  /** One for each operation of the list that was executed. */
  readonly results: readonly OperationResult[];
}

/** The operations on keys that every way to the members has. */
export interface KeyCalls {
  /** Stores a value. */
  put(
    key: Bytes,
    value: Bytes,
    options: PutOptions,
  ): Promise<Written & { readonly lease?: string }>;
  /** What is stored at a key. */
  get(key: Bytes, options: ReadOptions): Promise<Entry | undefined>;
  /** Deletes a key; answers whether it was there. */
  delete(key: Bytes, options: WriteOptions): Promise<boolean>;
  /** Executes a transaction. */
  transact(transaction: Transaction, options: CallOptions): Promise<TransactionResult>;
}

/** The bytes of a key or a value. */
export function bytesOf(bytes: Bytes): Uint8Array<ArrayBuffer> {
  return typeof bytes === "string"
    ? new TextEncoder().encode(bytes)
    : bytes as Uint8Array<ArrayBuffer>;
}

/** An entry of its parts. */
export function makeEntry(
  parts: Omit<Entry, "key" | "text" | "json">,
): Entry {
  const { keyBytes, value } = parts;
  const text = (): string => new TextDecoder().decode(value);
  return {
    key: new TextDecoder().decode(keyBytes),
    ...parts,
    text,
    json: <Type>() => JSON.parse(text()) as Type,
  };
}
