/**
 * The small JSON files of a data directory: replaced whole or not at all, and refused when they
 * are damaged.
 *
 * @module
 */
import type { Disk } from "./disk.ts";
import { replaceFile } from "./replace_file.ts";

/**
 * The identity is unreadable, of another release, or does not fit what is beside it. The node must
 * not start: it could not know whose votes the log holds, or which peers it may believe.
 */
export class IdentityDamagedError extends Error {
  /** Its class's name. */
  override readonly name = "IdentityDamagedError";

  /** See the class. */
  constructor(reason: string) {
    super(`Cannot use the data directory: ${reason}`);
  }
}

const DIRECTORY_ID = /^[a-z0-9-]{1,64}$/;

/** Whether this can be the id of a data directory. */
export function isDirectoryId(id: unknown): id is string {
  return typeof id === "string" && DIRECTORY_ID.test(id);
}

/** Which file, and what it must be. */
export interface DirectoryFile {
  readonly path: string;
  readonly formatVersion: number;
  /** A larger one is damaged. */
  readonly bytesMax: number;
}

/** As {@linkcode replaceFile}, with these fields. */
export function replaceFields(
  disk: Disk,
  { path, formatVersion }: DirectoryFile,
  fields: Readonly<Record<string, unknown>>,
): void {
  const text = JSON.stringify({ formatVersion, ...fields }) + "\n";
  replaceFile(disk, path, new TextEncoder().encode(text));
}

/**
 * The fields of a file that is there.
 *
 * @throws {IdentityDamagedError} If it is too large, not a JSON object, or of another version.
 * @throws {DiskError} If the disk fails.
 */
export function readFields(
  disk: Disk,
  { path, formatVersion, bytesMax }: DirectoryFile,
): Readonly<Record<string, unknown>> {
  // Before it is read: what is in its place may be larger than the memory.
  const size = disk.sizeOf(path);
  if (size > bytesMax) throw new IdentityDamagedError(`${path} has ${size} bytes`);
  const bytes = disk.readFile(path);
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new IdentityDamagedError(`${path} is not JSON`);
  }
  if (!isObject(parsed)) throw new IdentityDamagedError(`${path} is not an object`);
  if (parsed["formatVersion"] !== formatVersion) {
    const found = JSON.stringify(parsed["formatVersion"]);
    throw new IdentityDamagedError(
      `${path} has format version ${found}, and this release reads ${formatVersion} only; ` +
        "use the release that wrote it, or another directory",
    );
  }
  return parsed;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
