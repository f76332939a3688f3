/**
 * How far the log was durable, told beside the log: `durable`.
 *
 * Within the log, marks tell a torn tail from damage, but nothing stands behind the last synced batch.
 * A log that is cut there, by decay or by hand, looks like one that a crash has torn. So after each sync
 * the position is appended to this file as well. It is not synced itself: after a power loss it may be
 * behind the log, and it is never ahead of it. A start notes what it has found durable. So only a log
 * whose end decays between a loss of power and the next start is shortened without notice.
 *
 * | bytes | field of a record |
 * |---|---|
 * | 8 | position up to which the log is durable |
 * | 4 | CRC-32C of that |
 *
 * Little-endian. The last whole record counts.
 *
 * @module
 */
import { crc32c } from "../crc32c.ts";
import { type Disk, DiskError, type DiskFile } from "./disk.ts";
import { WATERMARK_FILE_BYTES } from "./limits.ts";

/** Path of the file. */
export const WATERMARK_PATH = "durable";

const RECORD_BYTES = 12;
const CRC_AT = 8;

/** The position that the file says; 0 if it says none. */
export function readWatermark(disk: Disk): number {
  if (!disk.exists(WATERMARK_PATH)) return 0;
  const size = Math.min(disk.sizeOf(WATERMARK_PATH), 2 * WATERMARK_FILE_BYTES);
  return watermarkIn(disk.read(WATERMARK_PATH, 0, size));
}

/** The position that the file's bytes say; 0 if they say none. */
export function watermarkIn(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records = Math.floor(bytes.length / RECORD_BYTES);
  for (let at = (records - 1) * RECORD_BYTES; at >= 0; at -= RECORD_BYTES) {
    if (view.getUint32(at + CRC_AT, true) !== crc32c(bytes, at, at + CRC_AT)) continue;
    return Number(view.getBigUint64(at, true));
  }
  return 0;
}

/** Appends positions. */
export class Watermark {
  /** Undefined if the disk was too full to make the file. */
  readonly #file: DiskFile | undefined;
  readonly #record = new Uint8Array(RECORD_BYTES);
  readonly #view: DataView = new DataView(this.#record.buffer);

  /**
   * Opens the file, creating it.
   *
   * @throws {DiskError} If the disk fails, unless it is full.
   */
  constructor(disk: Disk) {
    this.#file = unlessFull(() => disk.open(WATERMARK_PATH));
  }

  /**
   * The log is durable up to here. A full disk is no failure: then the file says less than is true.
   *
   * @throws {DiskError} If the disk fails otherwise.
   */
  note(position: number): void {
    this.#view.setBigUint64(0, BigInt(position), true);
    this.#view.setUint32(CRC_AT, crc32c(this.#record, 0, CRC_AT), true);
    const file = this.#file;
    if (file === undefined) return;
    unlessFull(() => {
      // A torn record must not shift those behind it.
      const { size } = file;
      if (size >= WATERMARK_FILE_BYTES) file.truncate(0);
      else if (size % RECORD_BYTES !== 0) file.truncate(size - size % RECORD_BYTES);
      file.append(this.#record);
    });
  }

  /** Closes the file. */
  close(): void {
    this.#file?.close();
  }
}

function unlessFull<Value>(run: () => Value): Value | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof DiskError && error.code === "no-space") return undefined;
    throw error;
  }
}
