/**
 * `kv backup` and `kv restore`: the state of a cluster as a file, and a new cluster from it.
 *
 * @module
 */
import {
  checkBackup,
  DirectoryLockedError,
  DiskError,
  reasonOf,
  RestoreError,
  restoreNode,
  SnapshotError,
  type SnapshotMeta,
} from "../mod.ts";
import { ClientError, openStream, type Reach } from "./http_client.ts";
import { Progress } from "./progress.ts";
import { membersSetting, numberSetting, type Settings } from "./settings.ts";
import { complain, diskFaults, EXIT, NODE_EXIT, printLine, UsageError } from "./usage.ts";

/** Most that a restore may add to the revision; a thousand such restores fit. */
const REVISION_RAISE_MAX = 1_000_000_000_000;
const FILE_MODE = 0o600;
/** The file is synced each time that so many bytes were added. */
const SYNC_BYTES = 8 * 1024 * 1024;

/**
 * Writes a backup of the cluster into `file`: under another name until it is whole, checked and
 * durable.
 *
 * @throws {ClientError} If no endpoint sends one, or it does not arrive whole. No file is left.
 * @throws {UsageError} If the file is there already and `--force` is not given.
 */
export async function backup(file: string, settings: Settings, reach: Reach): Promise<void> {
  if (file === "-") throw new UsageError("backup needs the name of a file, to check what it wrote");
  if (!settings.isOn("force") && exists(file)) {
    throw new UsageError(`${file} is there already; --force replaces it`);
  }
  const fresh = `${file}.new`;
  using out = create(fresh);
  const progress = new Progress("backup");
  try {
    const response = await openStream({ method: "GET", path: "/v1/backup" }, reach);
    const revision = Number(response.headers.get("statecraft-revision"));
    const bytes = await receive(response, { out, file, reach, progress });
    const { clusterId, index, term, stateHash } = check(fresh, file);
    out.syncSync();
    Deno.renameSync(fresh, file);
    syncDirectoryOf(file);
    progress.end();
    printLine(JSON.stringify({ file, bytes, revision, clusterId, index, term, stateHash }));
  } catch (error) {
    progress.end();
    removeIfThere(fresh);
    throw error;
  }
}

/**
 * Founds the data directory of one member of a new cluster from a backup.
 *
 * @throws {ClientError} If the file is damaged (exit code 3).
 * @throws {UsageError} If the directory, the file or a flag cannot be used.
 */
export async function restore(file: string, settings: Settings): Promise<void> {
  const idText = settings.text("id");
  if (idText === undefined) throw new UsageError("restore needs --id, the member's id");
  const id = numberSetting("id", idText, { min: 1, max: 2 ** 31 });
  const { peers, single } = membersSetting(settings, id);
  if (peers === undefined && !single) {
    throw new UsageError("restore needs --peers, the members of the new cluster, or --single");
  }
  const raise = settings.text("revision-raise");
  const dataDir = settings.text("data") ?? `./data/node-${id}`;
  if (!isFile(file)) throw new UsageError(`there is no file ${file}`);
  const progress = new Progress("restore");
  try {
    const result = await restoreNode({
      ...{ file, id, dataDir, single },
      ...(peers === undefined ? {} : { peers }),
      ...(raise === undefined ? {} : {
        revisionRaise: numberSetting("revision-raise", raise, { min: 0, max: REVISION_RAISE_MAX }),
      }),
      onRead: (bytes, of) => progress.note(bytes, of),
    });
    progress.end();
    const { clusterId, members, revision, keys, stateHash } = result;
    printLine(JSON.stringify({ dataDir, clusterId, members, revision, keys, stateHash }));
  } catch (error) {
    progress.end();
    throw explained(error, dataDir);
  }
  if (!single) {
    complain(
      "every member of the new cluster restores the same file with these --peers; start each with them, too",
    );
  }
}

/** The error with its exit code, and with the directory where it does not name it. */
function explained(error: unknown, dataDir: string): unknown {
  const { message } = error as Error;
  if (error instanceof SnapshotError) {
    const isDamaged = error.kind === "damaged";
    return new ClientError(message, isDamaged ? NODE_EXIT.damagedLog : EXIT.usage);
  }
  const where = `${message} (--data ${dataDir})`;
  if (error instanceof DiskError && diskFaults.includes(error.code)) return new Error(where);
  const isRefused = [RestoreError, DirectoryLockedError, DiskError]
    .some((kind) => error instanceof kind);
  return isRefused ? new UsageError(where) : error;
}

/** Writes what arrives; returns how many bytes. */
async function receive(
  response: Response,
  { out, file, reach: { timeoutMs }, progress }: {
    readonly out: Deno.FsFile;
    readonly file: string;
    readonly reach: Reach;
    readonly progress: Progress;
  },
): Promise<number> {
  const reader = response.body!.getReader();
  let [bytes, syncedBytes] = [0, 0];
  for (;;) {
    const part = await within(timeoutMs, reader.read()).catch((error) => {
      reader.cancel().catch(() => {});
      const reason = reasonOf(error, timeoutMs);
      throw new ClientError(
        `the backup was cut off after ${bytes} bytes: ${reason}; ${file} was not written`,
        EXIT.unavailable,
      );
    });
    if (part.done) return bytes;
    for (let at = 0; at < part.value.length;) at += out.writeSync(part.value.subarray(at));
    bytes += part.value.length;
    progress.note(bytes);
    // Little by little: a long sync at the end would hold up those of a node on the same disk.
    if (bytes - syncedBytes < SYNC_BYTES) continue;
    out.syncDataSync();
    syncedBytes = bytes;
  }
}

/** What the file says of itself, once all of it was read back. */
function check(fresh: string, file: string): SnapshotMeta {
  try {
    return checkBackup(fresh);
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    throw new ClientError(
      `what arrived is no whole backup: ${error.message}; ${file} was not written`,
      EXIT.failure,
    );
  }
}

async function within<Value>(ms: number, promise: Promise<Value>): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DOMException("late", "TimeoutError")), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** An empty file that no other backup writes, also if an earlier one left it behind. */
function create(path: string): Deno.FsFile {
  let file: Deno.FsFile;
  try {
    file = Deno.openSync(path, { write: true, create: true, mode: FILE_MODE });
  } catch (error) {
    throw new UsageError(`cannot write ${path}: ${(error as Error).message}`);
  }
  // The other one may have renamed it before it was locked here: then it is a whole backup.
  if (!file.tryLockSync(true) || !isAt(path, file)) {
    file.close();
    throw new UsageError(`another backup writes ${path} at this moment`);
  }
  file.truncateSync(0);
  return file;
}

function isAt(path: string, file: Deno.FsFile): boolean {
  if (!exists(path)) return false;
  const [found, opened] = [Deno.lstatSync(path), file.statSync()];
  return found.dev === opened.dev && found.ino === opened.ino;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // The error that is thrown says more.
  }
}

function syncDirectoryOf(path: string): void {
  const at = path.lastIndexOf("/");
  using directory = Deno.openSync(at < 0 ? "." : path.slice(0, at + 1), { read: true });
  directory.syncSync();
}
