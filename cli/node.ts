/**
 * `deno task node`: one member of a cluster.
 *
 * @module
 */
import {
  BACKUP_EVERY_MS,
  BACKUPS_KEPT,
  ClusterVersionError,
  type CompressionMode,
  DEFAULT_SNAPSHOT_TRIGGER,
  DirectoryCopiedError,
  DiskError,
  forceNewCluster,
  IdentityDamagedError,
  IdentityMismatchError,
  inspectSurvivor,
  isFounded,
  MemberRemovedError,
  SnapshotError,
  SnapshotMissingError,
  startNode,
  type StatecraftNode,
  VERSION,
  WalCorruptError,
  WalFailedError,
  WalMisplacedSegmentError,
  WalMissingSegmentError,
} from "../mod.ts";
import type { LogLevel } from "../actors/runtime/ports.ts";
import type { NodeOptions } from "../actors/node.ts";
import { LineWriter, LOG_FLUSH_MS_MAX } from "./line_writer.ts";
import { createLog, type LogFormat, type LogWriter } from "./log_writer.ts";
import {
  durationSetting,
  hostPortSetting,
  memberListSetting,
  membersSetting,
  numberSetting,
  readSettings,
  type Settings,
  urlSetting,
} from "./settings.ts";
import { diskFaults, EXIT, NODE_EXIT, print, UsageError } from "./usage.ts";

/** The highest id whose default HTTP port exists. */
const DEFAULT_HTTP_ID_MAX = 65_535 - 8_000;

/** Below, a node would do little else than write snapshots; above, nobody means it. */
const SNAPSHOT_AFTER_BOUNDS = { min: 1_000, max: 2 ** 40 };

/** A stop that takes longer is cut short. */
export const STOP_MS_MAX = 5_000;
/** A signal that comes so soon after the first is its echo. */
export const SIGNAL_ECHO_MS = 250;

/** Errors that name a path within the data directory, or none. */
const storageErrors =
  /^(DirectoryLocked|DirectoryCopied|Identity\w+|Disk|Wal\w+|Snapshot\w*)Error$/;
/** Errors that say that the log, or whose directory it is in, cannot be trusted. */
const damageErrors = [
  ...[IdentityDamagedError, WalCorruptError, WalMissingSegmentError, WalMisplacedSegmentError],
  ...[SnapshotError, SnapshotMissingError],
];
/** A day of backups that are made every hour. */
const BACKUPS_KEPT_DEFAULT = 24;

const HELP = `Usage: deno task node --id N [flags]

Starts one member of a Statecraft cluster.

  --id N                        this member's id, 1 to 2^31 (required)
  --peers LIST                  every voter's id and Raft address, this one's too
                                (default 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003)
  --join URL[,URL]              join a running cluster through any member's HTTP address: as a learner
                                that is promoted when it has caught up. Once joined, the directory
                                knows its cluster, and the flag has no effect
  --learner                     with --join: stay a learner, which takes part in no quorum
  --advertise HOST:PORT         where the other members reach this one, if not where it listens
  --listen HOST:PORT            where to listen for the other members, if not at this member's
                                address in --peers (behind a proxy or a NAT)
  --http HOST:PORT              HTTP gateway (default 127.0.0.1:(8000+id))
  --http-peers LIST             where clients reach the members, such as
                                1=http://10.0.0.1:8001,2=http://10.0.0.2:8002
                                (default: the hosts of --peers and ports 8000+id)
  --data DIR                    data directory (default ./data/node-<id>)
  --single                      a cluster of one member: no other node needed
  --force-new-cluster           last resort, when a majority of the members is lost for good: this
                                directory alone becomes a new cluster with a new id. Says what may
                                be lost, and does nothing without --yes
  --moved                       the data directory is a copy, or was brought from another file
                                system: the original is used no more, and nothing is missing in it
  --config FILE                 settings as a JSON object, such as {"id": 1, "log-level": "warn"};
                                its keys are the names of these flags, and flags win
  --election-timeout-ms MIN-MAX (default 300-600)
  --heartbeat-ms N              (default 50; at most a third of MIN)
  --snapshot-bytes N            take a snapshot when so many bytes of entries were applied since the
                                last (default 67108864, 64 MiB) …
  --snapshot-entries N          … or so many entries (default 1000000)
  --compression MODE            of the log and of frames to members: adaptive (only while the disk or
                                the network is slow), always or off (default adaptive); members may
                                differ
  --min-free-bytes N            refuse writes, and hand leadership over, with less free space on the
                                disk (default 134217728, 128 MiB; 0 for never)
  --backup-every DURATION       make a backup of this member's state each time that so much has passed,
                                such as 1h, 1s to 24 days (default: none)
  --backup-dir DIR              where the backups are kept; members may share it
  --backup-keep N               how many of this member's are kept (default ${BACKUPS_KEPT_DEFAULT})
  --log-level LEVEL             debug, info, warn or error (default info)
  --log-format FORMAT           text or json (default text)
  --supervised                  for a program that starts nodes: print the HTTP address on stdout
                                once it is served, and stop in order when stdin ends
  --help, --version

Every flag can be set as STATECRAFT_<FLAG> in the environment, such as STATECRAFT_LOG_LEVEL.
Exit codes: 0 stopped in order, 1 failure, 2 usage (a flag, an address, a directory that is not
this member's), 3 damaged data, 4 the disk failed.
`;

const flags = {
  string: [
    "id",
    "peers",
    ...["join", "listen", "advertise"],
    "http",
    "http-peers",
    "data",
    "config",
    "election-timeout-ms",
    "heartbeat-ms",
    "snapshot-bytes",
    "snapshot-entries",
    "compression",
    "min-free-bytes",
    ...["backup-every", "backup-dir", "backup-keep"],
    "log-level",
    "log-format",
  ],
  boolean: [
    "single",
    "learner",
    "force-new-cluster",
    "yes",
    "moved",
    "supervised",
    "help",
    "version",
  ],
} as const;

/** What the settings say, checked. */
function nodeOptionsOf(settings: Settings): NodeOptions & { readonly writer: LogWriter } {
  if (settings.words.length > 0) throw new UsageError(`unexpected word "${settings.words[0]}"`);
  const idText = settings.text("id");
  if (idText === undefined) throw new UsageError("--id is required");
  const id = numberSetting("id", idText, { min: 1, max: 2 ** 31 });
  const { peers, single } = membersSetting(settings, id);
  const join = joinOf(settings, { peers, single });
  const dataDir = settings.text("data") ?? `./data/node-${id}`;
  const isNamed = peers !== undefined || single || join !== undefined ||
    settings.isOn("force-new-cluster");
  if (!isNamed && id > 3 && !isFounded(dataDir)) {
    throw new UsageError(
      `--peers or --join is required for node ${id}: the default names nodes 1 to 3`,
    );
  }
  const listen = settings.text("listen");
  const advertise = settings.text("advertise");
  const http = settings.text("http");
  if (http === undefined && id > DEFAULT_HTTP_ID_MAX) {
    throw new UsageError(`--http is required for node ${id}: the default port is 8000 and the id`);
  }
  const httpPeers = settings.text("http-peers");
  const minFree = settings.text("min-free-bytes");
  const backups = backupsOf(settings);
  const writer = createLog({
    node: id,
    level: choice<LogLevel>(settings, "log-level", ["info", "debug", "warn", "error"]),
    format: choice<LogFormat>(settings, "log-format", ["text", "json"]),
  });
  return {
    id,
    single,
    mayBeCopy: settings.isOn("moved"),
    dataDir,
    learner: settings.isOn("learner"),
    ...(join === undefined ? {} : { join }),
    ...(advertise === undefined ? {} : { advertise: hostPortSetting("advertise", advertise) }),
    timing: timingOf(settings),
    snapshotAfter: snapshotAfterOf(settings),
    compression: choice<CompressionMode>(settings, "compression", ["adaptive", "always", "off"]),
    ...(minFree === undefined
      ? {}
      : { minFreeBytes: numberSetting("min-free-bytes", minFree, { min: 0, max: 2 ** 50 }) }),
    writer,
    log: writer.log,
    droppedLogLines: () => writer.lines.dropped,
    ...(peers === undefined ? {} : { peers }),
    ...(backups === undefined ? {} : { backups }),
    ...(listen === undefined ? {} : { listen: hostPortSetting("listen", listen) }),
    ...(http === undefined ? {} : { http: hostPortSetting("http", http) }),
    ...(httpPeers === undefined ? {} : {
      httpPeers: memberListSetting(
        "http-peers",
        httpPeers,
        (url) => urlSetting("http-peers", url, "ID=http://HOST:PORT"),
      ),
    }),
  };
}

/** The members to join through. */
function joinOf(
  settings: Settings,
  { peers, single }: { readonly peers: unknown; readonly single: boolean },
): readonly string[] | undefined {
  const text = settings.text("join");
  if (text === undefined) {
    if (settings.isOn("learner")) throw new UsageError("--learner goes with --join");
    return undefined;
  }
  if (peers !== undefined || single) {
    throw new UsageError("--join joins a cluster, so it does not go with --peers or --single");
  }
  return text.split(",").map((each) => urlSetting("join", each.trim()));
}

function timingOf(settings: Settings): NonNullable<NodeOptions["timing"]> {
  const range = settings.text("election-timeout-ms") ?? "300-600";
  const match = /^(\d{1,7})-(\d{1,7})$/.exec(range);
  if (match === null) {
    throw new UsageError(`--election-timeout-ms takes MIN-MAX such as 300-600, not "${range}"`);
  }
  const [electionTimeoutMsMin, electionTimeoutMsMax] = [Number(match[1]), Number(match[2])];
  const heartbeatMs = numberSetting("heartbeat-ms", settings.text("heartbeat-ms") ?? "50", {
    min: 1,
    max: 1_000_000,
  });
  if (electionTimeoutMsMin > electionTimeoutMsMax) {
    throw new UsageError("--election-timeout-ms: MIN is above MAX");
  }
  if (heartbeatMs > electionTimeoutMsMin / 3) {
    throw new UsageError(
      `--heartbeat-ms ${heartbeatMs} is more than a third of the shortest election timeout, ` +
        `${electionTimeoutMsMin} ms`,
    );
  }
  return { electionTimeoutMsMin, electionTimeoutMsMax, heartbeatMs };
}

function snapshotAfterOf(settings: Settings): NonNullable<NodeOptions["snapshotAfter"]> {
  const { bytes, entries } = DEFAULT_SNAPSHOT_TRIGGER;
  const amount = (flag: string, preset: number): number =>
    numberSetting(flag, settings.text(flag) ?? String(preset), SNAPSHOT_AFTER_BOUNDS);
  return {
    bytes: amount("snapshot-bytes", bytes),
    entries: amount("snapshot-entries", entries),
  };
}

function backupsOf(settings: Settings): NodeOptions["backups"] {
  const every = settings.text("backup-every");
  const directory = settings.text("backup-dir");
  const keepText = settings.text("backup-keep");
  if (every === undefined && directory === undefined && keepText === undefined) return undefined;
  if (every === undefined || directory === undefined) {
    throw new UsageError("--backup-every and --backup-dir go together");
  }
  const everyMs = durationSetting("backup-every", every);
  if (everyMs < BACKUP_EVERY_MS.min || everyMs > BACKUP_EVERY_MS.max) {
    throw new UsageError(`--backup-every takes 1s to 24 days, such as 1h, not "${every}"`);
  }
  const keep = keepText ?? String(BACKUPS_KEPT_DEFAULT);
  return { everyMs, directory, keep: numberSetting("backup-keep", keep, BACKUPS_KEPT) };
}

/** One of the values, the first by default. */
function choice<Value extends string>(
  settings: Settings,
  flag: string,
  values: readonly Value[],
): Value {
  const text = settings.text(flag) ?? values[0]!;
  if (!values.includes(text as Value)) {
    throw new UsageError(`--${flag} is one of ${values.join(", ")}, not "${text}"`);
  }
  return text as Value;
}

/**
 * The first signal stops in order, the second at once. The answer does what a signal does.
 *
 * Ctrl-C reaches the whole process group, and `deno task` passes it on once more: what follows the first
 * signal so soon is the same wish.
 */
function stopOnSignals(node: StatecraftNode, lines: LineWriter): () => void {
  let stopMs: number | undefined;
  const stop = (): void => {
    if (stopMs !== undefined && performance.now() - stopMs < SIGNAL_ECHO_MS) return;
    if (stopMs !== undefined) Deno.exit(EXIT.failure);
    stopMs = performance.now();
    setTimeout(() => {
      lines.write("statecraft node: the stop took too long and was cut short");
      exit(lines, EXIT.failure);
    }, STOP_MS_MAX - LOG_FLUSH_MS_MAX);
    node.stop().then(() => exit(lines, EXIT.ok), (error) => {
      lines.write(`statecraft node: ${error.message}`);
      exit(lines, exitCodeOf(error, EXIT.failure));
    });
  };
  Deno.addSignalListener("SIGTERM", stop);
  Deno.addSignalListener("SIGINT", stop);
  return stop;
}

/**
 * Calls `stop` at the end of stdin. The program that started the node holds the other end of that
 * pipe. When that program ends, even by SIGKILL, the pipe closes, so no node outlives it.
 */
async function stopWithStdin(stop: () => void): Promise<void> {
  const bytes = new Uint8Array(64);
  try {
    while (await Deno.stdin.read(bytes) !== null);
  } catch {
    // A stdin that cannot be read has ended, too.
  }
  stop();
}

/** Ends the process with its last lines written, if they can be. */
async function exit(lines: LineWriter, code: number): Promise<never> {
  await lines.flush();
  return Deno.exit(code);
}

/** What an operator has to do about the end of a node, as an exit code. */
export function exitCodeOf(error: unknown, otherwise: number): number {
  if (isDamage(error)) return NODE_EXIT.damagedLog;
  if (error instanceof WalFailedError) return NODE_EXIT.failedDisk;
  if (error instanceof ClusterVersionError || error instanceof MemberRemovedError) {
    return EXIT.usage;
  }
  const isFault = error instanceof DiskError && diskFaults.includes(error.code);
  return isFault ? NODE_EXIT.failedDisk : otherwise;
}

function isDamage(error: unknown): boolean {
  // It is sound, but not this build's or this cluster's.
  if (error instanceof SnapshotError && error.kind === "foreign") return false;
  return damageErrors.some((kind) => error instanceof kind);
}

/** Why the node could not start, on one line; `options` are undefined if they could not be read. */
function complaintOf(error: unknown, options: NodeOptions | undefined): string {
  const { name, message } = error as Error;
  const where = options !== undefined && storageErrors.test(name)
    ? ` (--data ${options.dataDir})`
    : "";
  return message.replaceAll("\n", " ") + where + adviceOn(error, options);
}

/** What the operator can do, where the error itself does not say it. */
export function adviceOn(
  error: unknown,
  options: Pick<NodeOptions, "id" | "single"> | undefined,
): string {
  if (isDamage(error)) {
    return options?.single === true
      ? "; bring it back as it was, or restore a backup: README, Backup and restore"
      : "; bring it back as it was, or leave this member down: README, When a disk is lost";
  }
  if (error instanceof DirectoryCopiedError) {
    return "; if the original is used no more, and the copy was made after it was used last, start " +
      "it once with --moved";
  }
  if (error instanceof IdentityMismatchError && error.stored.nodeId === options?.id) {
    if (options.single === true) return "; leave out --single";
    if (error.stored.members.length === 1) return "; use --single";
  }
  return "";
}

/** Makes the directory a cluster of its own, if the operator has said yes to what may be lost. */
async function forceCluster(
  { id, dataDir, peers, single, join }: NodeOptions,
  isAgreed: boolean,
  lines: LineWriter,
): Promise<void> {
  if (peers !== undefined || single === true || join !== undefined) {
    throw new UsageError("--force-new-cluster does not go with --peers, --single or --join");
  }
  const { clusterId, members, lastIndex, lastTerm, committed, keys } = inspectSurvivor({
    id,
    dataDir,
  });
  const others = members.filter((member) => member !== id).join(", ") || "none";
  lines.write(
    `statecraft node: of cluster ${clusterId} (other members: ${others}) this directory holds ` +
      `${keys} keys, and the log up to entry ${lastIndex} of term ${lastTerm}. Entries after that are ` +
      "lost, though they may have been acknowledged. Entries after " +
      `${committed} may not have been committed, and count from now on`,
  );
  if (!isAgreed) {
    throw new UsageError(
      "nothing was changed; to go on, make sure that no other member runs, and add --yes",
    );
  }
  const { newClusterId, keptAt } = await forceNewCluster({ id, dataDir });
  lines.write(
    `statecraft node: it is cluster ${newClusterId} now; the old directory is kept in ${keptAt}; ` +
      "add members with --join, each with an empty data directory",
  );
}

/** Runs the command; `build` lets a test claim to be a later build. */
export async function main(build?: NodeOptions["build"]): Promise<void> {
  let options: ReturnType<typeof nodeOptionsOf> | undefined;
  // The program that starts nodes may not read their output. A start that fails must end all the
  // same.
  let lines = new LineWriter(Deno.stderr, () => "");
  try {
    const settings = readSettings(Deno.args, flags, (name) => Deno.env.get(name));
    if (settings.isOn("help")) return print(HELP);
    if (settings.isOn("version")) return print(`statecraft ${VERSION}\n`);
    options = nodeOptionsOf(settings);
    ({ lines } = options.writer);
    if (settings.isOn("force-new-cluster")) {
      await forceCluster(options, settings.isOn("yes"), lines);
    }
    const node = await startNode({
      ...options,
      ...(build === undefined ? {} : { build }),
      onFailed: (error) => void exit(lines, exitCodeOf(error, EXIT.failure)),
    });
    const stop = stopOnSignals(node, lines);
    if (settings.isOn("supervised")) {
      print(`${node.httpAddress}\n`);
      stopWithStdin(stop);
    }
  } catch (error) {
    lines.write(`statecraft node: ${complaintOf(error, options)}`);
    await exit(lines, exitCodeOf(error, EXIT.usage));
  }
}

if (import.meta.main) await main();
