/**
 * What readers of a store see: keys with their values and revisions, in ranges.
 *
 * Keys are byte strings (storage/byte_string.ts), so that `<` is bytewise order.
 *
 * @module
 */

/** What is stored at a key. Entries are never changed, but replaced. */
export interface KvEntry {
  /** Must not be changed by readers. */
  readonly value: Uint8Array;
  readonly contentType: string | undefined;
  /** Revision of the key's creation. */
  readonly created: number;
  /** Revision of its last change. */
  readonly revision: number;
  /** Changes since its creation, which is the first. */
  readonly version: number;
  /** The lease with whose end the key goes; undefined if it has none. */
  readonly lease?: number | undefined;
}

/** An entry and its key. */
export interface KvItem extends KvEntry {
  /** A byte string. */
  readonly key: string;
}

/** Bounds of keys: a key must be within every bound that is given. */
export interface KvBounds {
  /** Included. */
  readonly start?: string | undefined;
  /** Excluded. */
  readonly end?: string | undefined;
  readonly prefix?: string | undefined;
}

/** Which entries to read. */
export interface KvRange extends KvBounds {
  /** Most entries to yield. */
  readonly limit: number;
  /** Descending order. */
  readonly reverse?: boolean | undefined;
}
