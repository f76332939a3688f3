/**
 * Where a directory is on its disk: what {@linkcode Disk.placeOf} answers, and what tells a copy from
 * the original. A file system may have learnt to say more since a place was noted, or say less.
 *
 * @module
 */

/** Whether it may be a place, or that none is known. */
export function isPlace(value: unknown): value is string | undefined {
  return value === undefined || typeof value === "string";
}

/** Whether the places do not differ in anything that is known of both. */
export function isSamePlace(one: string | undefined, other: string | undefined): boolean {
  const parts = one?.split(".") ?? [];
  const others = other?.split(".") ?? [];
  return parts.every((part, at) => others[at] === undefined || others[at] === part);
}
