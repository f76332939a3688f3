/**
 * A node's metrics, under etcd's names where the meaning is the same.
 *
 * @module
 */
import type { RaftCore } from "../machines/raft_core.ts";
import type { Role } from "../machines/raft_machine.ts";
import type { CompressionTotals } from "../storage/compression.ts";
import type { KvStore } from "../storage/kv/kv_store.ts";
import {
  formatHistograms,
  formatMetrics,
  type Histogram,
  type Metric,
} from "../transport/http/prometheus.ts";
import type { BackupCounters } from "./backups.ts";
import type { ScheduledCounters } from "./scheduled_backups.ts";
import type { ActorMetrics } from "./runtime/cell.ts";
import type { GatewayCounters } from "./node_client.ts";
import type { ClientConnections } from "./client_connections.ts";
import type { WatchHub } from "./watch_hub.ts";
import type { PeersStatus } from "./peers.ts";
import type { RaftCounters } from "./raft_actor.ts";
import type { SnapshotCounters } from "./snapshot_actor.ts";
import type { SystemStatus } from "./runtime/system.ts";

/** Buckets of the fsync histogram, etcd's. */
export const FSYNC_BUCKETS_SECONDS: readonly number[] = Array.from(
  { length: 14 },
  (_, exponent) => 0.001 * 2 ** (exponent - 3),
);

/** Buckets of the commit histogram: a sync, a round trip, a slow disk, an election. */
export const COMMIT_BUCKETS_SECONDS: readonly number[] = FSYNC_BUCKETS_SECONDS;

/** What the metrics are made of. */
export interface NodeMetricsSource {
  readonly core: RaftCore;
  readonly store: KvStore;
  readonly counters: RaftCounters;
  readonly gatewayCounters: GatewayCounters;
  readonly watches: WatchHub;
  readonly clients: Pick<ClientConnections, "size" | "counters">;
  readonly peers: PeersStatus;
  readonly actors: readonly ActorMetrics[];
  readonly leaderChanges: number;
  readonly clusterVersion: number;
  readonly fsync: Histogram;
  readonly commit: Histogram;
  /** Version of the package. */
  readonly version: string;
  readonly system: SystemStatus;
  /** Bytes of the log on disk. */
  readonly walBytes: number;
  /** What compression did to the log. */
  readonly logCompression: CompressionTotals;
  /** Bytes that may still be written to the disk; undefined where nobody can tell. */
  readonly freeBytes: number | undefined;
  /** Voters whose states differ from this node's, and comparisons that found them equal. */
  readonly differences: number;
  readonly compared: number;
  readonly snapshots: SnapshotCounters;
  /** Bytes of all snapshots on disk. */
  readonly snapshotBytes: number;
  readonly backups: BackupCounters;
  /** Undefined if there is no schedule. */
  readonly scheduledBackups: ScheduledCounters | undefined;
  /** How often the HTTP listener closed idle connections because no file descriptor was left. */
  readonly httpSheds: number;
  readonly droppedLogLines: number;
}

/** Prometheus text. */
export function formatNodeMetrics(source: NodeMetricsSource): string {
  const { core, store, counters, gatewayCounters, peers, actors, leaderChanges, fsync } = source;
  const { context, state, role } = core;
  const group = state.group;
  const gauge = (name: string, help: string, value: number): Metric => ({
    name,
    help,
    type: "gauge",
    samples: [{ labels: { group }, value }],
  });
  const counter = (name: string, help: string, value: number): Metric => ({
    ...gauge(name, help, value),
    type: "counter",
  });
  const memory = Deno.memoryUsage();
  const metrics: Metric[] = [
    gauge("etcd_server_has_leader", "1 if a leader is known", context.leaderId ? 1 : 0),
    gauge("etcd_server_is_leader", "1 if this node leads", role === "leader" ? 1 : 0),
    gauge("etcd_server_is_learner", "1 if this node is a learner", isLearner(source) ? 1 : 0),
    counter("etcd_server_leader_changes_seen_total", "Leaders seen", leaderChanges),
    counter("etcd_server_proposals_committed_total", "Entries committed", state.commitIndex),
    counter("etcd_server_proposals_applied_total", "Entries applied", store.lastApplied),
    gauge(
      "etcd_server_proposals_pending",
      "Entries in the log that are not committed",
      state.log.lastIndex - state.commitIndex,
    ),
    counter("etcd_server_proposals_failed_total", "Proposals refused", counters.proposalsRefused),
    counter("etcd_server_read_indexes_failed_total", "Read indexes refused", counters.readsRefused),
    counter("statecraft_proposals_total", "Proposals received", counters.proposals),
    gauge("statecraft_clients", "Connections of clients on their wire", source.clients.size),
    counter(
      "statecraft_client_requests_total",
      "Requests that came over them",
      source.clients.counters.requests,
    ),
    counter(
      "statecraft_client_connections_refused_total",
      "Such connections that were turned away",
      source.clients.counters.refused,
    ),
    counter(
      "statecraft_client_violations_total",
      "Such connections that were closed for what came over them",
      source.clients.counters.violations,
    ),
    counter(
      "statecraft_client_unread_total",
      "Such connections that were closed since the client did not read",
      source.clients.counters.unread,
    ),
    gauge("statecraft_watches", "Watches", source.watches.size),
    gauge(
      "statecraft_watch_log_bytes",
      "Bytes of changes kept for watches",
      source.watches.logBytes,
    ),
    counter(
      "statecraft_watch_changes_total",
      "Changes handed to watches",
      source.watches.counters.delivered,
    ),
    counter(
      "statecraft_watches_refused_total",
      "Watches refused, since there were too many",
      source.watches.counters.refused,
    ),
    gauge("statecraft_leases", "Leases", store.leaseCount),
    counter("statecraft_reads_total", "Reads that were not stale", gatewayCounters.reads),
    counter("statecraft_read_barriers_total", "Read indexes that reads shared", counters.reads),
    {
      ...counter("statecraft_log_lines_dropped_total", "Log lines that could not be written", 0),
      samples: [{ value: source.droppedLogLines }],
    },
    gauge(
      "statecraft_cluster_version",
      "The version that all members have agreed on",
      source.clusterVersion,
    ),
    gauge("statecraft_raft_term", "The current term", context.currentTerm),
    gauge("statecraft_raft_last_log_index", "Index of the last entry", state.log.lastIndex),
    gauge("statecraft_raft_log_bytes", "Bytes of the log in memory", state.log.byteLength),
    counter("statecraft_raft_term_bombs_total", "Messages with an absurd term", core.termBombs),
    gauge("etcd_debugging_mvcc_keys_total", "Keys in the store", store.size),
    gauge("etcd_debugging_mvcc_current_revision", "Revision of the store", store.revision),
    {
      ...gauge("process_resident_memory_bytes", "Resident memory", 0),
      samples: [{ value: memory.rss }],
    },
    {
      name: "statecraft_peer_connected",
      help: "1 if the link to the peer is up",
      type: "gauge",
      samples: peers.peers.map(({ peer, state }) => ({
        labels: { to: peer },
        value: state.startsWith("connected") ? 1 : 0,
      })),
    },
    {
      name: "etcd_network_peer_sent_bytes_total",
      help: "Bytes sent to the peer",
      type: "counter",
      samples: peers.peers.map(({ peer, counters }) => ({
        labels: { To: peer },
        value: counters.sentBytes,
      })),
    },
    {
      name: "etcd_network_peer_received_bytes_total",
      help: "Bytes received from the peer",
      type: "counter",
      samples: peers.peers.map(({ peer, counters }) => ({
        labels: { From: peer },
        value: counters.receivedBytes,
      })),
    },
    {
      name: "statecraft_actor_messages_total",
      help: "Messages handled by the actor",
      type: "counter",
      samples: actors.map((actor) => ({ labels: { actor: actor.address }, value: actor.messages })),
    },
    {
      name: "statecraft_actor_mailbox_peak",
      help: "Most messages that ever waited in the actor's mailbox",
      type: "gauge",
      samples: actors.map((actor) => ({
        labels: { actor: actor.address },
        value: actor.waitingMax,
      })),
    },
  ];
  return formatMetrics([
    ...metrics,
    ...conditionMetrics(source),
    ...boundaryMetrics(source),
    ...compressionMetrics(source),
    ...snapshotMetrics(source),
    ...backupMetrics(source),
    ...processMetrics(source),
  ]) +
    formatHistograms(
      "statecraft_commit_duration_seconds",
      "From the proposal of entries to their commit, on the leader",
      [{ labels: { group }, histogram: source.commit }],
    ) +
    formatHistograms("etcd_disk_wal_fsync_duration_seconds", "Duration of the log's fsyncs", [
      { histogram: fsync },
    ]);
}

const ROLES: readonly Role[] = ["follower", "recovering", "preCandidate", "candidate", "leader"];

/** What the chart says of the node and its disk: for each a sample of every state, 1 for the present one. */
function conditionMetrics({ core }: NodeMetricsSource): Metric[] {
  const { disk, space } = core.snapshot.value;
  const metric = (name: string, help: string, states: readonly string[], now: string): Metric => ({
    ...{ name: `statecraft_${name}`, help, type: "gauge" },
    samples: states.map((state) => ({
      labels: { group: core.state.group, state },
      value: state === now ? 1 : 0,
    })),
  });
  return [
    metric("raft_role", "The node's role", ROLES, core.role),
    metric(
      "disk_condition",
      "How fast the log's disk syncs; a stalled one neither leads nor campaigns",
      ["healthy", "slow", "stalled"],
      disk,
    ),
    metric(
      "disk_space",
      "Space on the log's disk; low: as leader it takes no writes; none: nothing can be written",
      ["enough", "low", "none"],
      space,
    ),
  ];
}

/** What compression has done to the log and to the frames to each peer. */
function compressionMetrics({ logCompression, peers }: NodeMetricsSource): Metric[] {
  const places: { labels: Record<string, string | number>; totals: CompressionTotals }[] = [
    { labels: { of: "log" }, totals: logCompression },
    ...peers.peers.map(({ peer: to, counters: { compression: totals } }) => ({
      labels: { of: "frames", to },
      totals,
    })),
  ];
  const metric = (
    name: string,
    help: string,
    of: (totals: CompressionTotals) => number,
  ): Metric => ({
    name: `statecraft_compression_${name}_total`,
    help,
    type: "counter",
    samples: places.map(({ labels, totals }) => ({ labels, value: of(totals) })),
  });
  return [
    metric("plain_bytes", "Bytes that were compressed, before", ({ plainBytes }) => plainBytes),
    metric("packed_bytes", "The same bytes, after", ({ packedBytes }) => packedBytes),
    metric("futile", "Blocks that did not shrink when it was tried", ({ futile }) => futile),
    metric("seconds", "Time that compression took", ({ durationMs }) => durationMs / 1000),
  ];
}

/** How far the other members are behind, and what this node has refused from outside. */
function boundaryMetrics({ core, peers, system, httpSheds }: NodeMetricsSource): Metric[] {
  const { leadership, log } = core.state;
  const { greeter } = peers;
  return [
    {
      name: "statecraft_peer_match_lag",
      help: "Entries of the leader's log that the peer is not known to hold; on the leader only",
      type: "gauge",
      samples: [...leadership?.progress ?? []].map(([to, { matchIndex }]) => ({
        labels: { to },
        value: log.lastIndex - matchIndex,
      })),
    },
    {
      name: "statecraft_peer_frames_dropped_total",
      help: "Frames not sent: no link, a full queue, or not encodable",
      type: "counter",
      samples: peers.peers.map(({ peer: to, counters }) => ({
        labels: { to },
        value: counters.droppedFrames + counters.unencodable,
      })),
    },
    {
      name: "statecraft_peer_violations_total",
      help: "Connections closed because of a frame that the peer sent",
      type: "counter",
      samples: peers.peers.map(({ peer: from, counters }) => ({
        labels: { from },
        value: counters.violations,
      })),
    },
    {
      name: "statecraft_connections_refused_total",
      help: "Connections to the Raft port that did not become a peer's",
      type: "counter",
      samples: Object.entries(greeter).map(([cause, value]) => ({ labels: { cause }, value })),
    },
    {
      name: "statecraft_messages_refused_total",
      help: "Messages of other nodes that no actor of this one takes",
      type: "counter",
      samples: [
        { labels: { cause: "contract" }, value: system.refused },
        { labels: { cause: "undeliverable" }, value: system.undeliverable },
      ],
    },
    {
      name: "statecraft_http_connections_shed_total",
      help: "Times that idle HTTP connections were closed because no file descriptor was left",
      type: "counter",
      samples: [{ value: httpSheds }],
    },
  ];
}

/** The snapshots of the group, and how its states compare. */
function snapshotMetrics(source: NodeMetricsSource): Metric[] {
  const { core, snapshots, snapshotBytes, differences, compared } = source;
  const { snapshot, log, group } = core.state;
  const metric = (
    name: string,
    help: string,
    value: number,
    type: Metric["type"] = "gauge",
  ): Metric => ({ name, help, type, samples: [{ labels: { group }, value }] });
  const count = (name: string, help: string, value: number): Metric =>
    metric(`statecraft_snapshots_${name}_total`, help, value, "counter");
  return [
    metric("statecraft_snapshot_bytes", "Bytes of all snapshots on disk", snapshotBytes),
    metric("statecraft_snapshot_index", "Last entry that the newest covers", snapshot?.index ?? 0),
    metric("statecraft_log_first_index", "First entry of the log in memory", log.base.index + 1),
    metric(
      "statecraft_snapshot_state_bytes",
      "Bytes of state in the newest snapshot that was taken here",
      snapshots.lastStateBytes,
    ),
    metric(
      "statecraft_snapshot_duration_seconds",
      "From the freeze of that snapshot until it was durable",
      snapshots.lastTookMs / 1_000,
    ),
    metric(
      "statecraft_state_differences",
      "Voters whose states differ from this node's",
      differences,
    ),
    metric(
      "statecraft_state_comparisons_total",
      "Comparisons with other voters that found the states equal",
      compared,
      "counter",
    ),
    count("taken", "Snapshots taken", snapshots.taken),
    count("failed", "Snapshots that could not be written", snapshots.failed),
    count("installed", "Snapshots received from a leader", snapshots.received),
    count(
      "refused",
      "Received snapshots that were damaged or could not be kept",
      snapshots.refused,
    ),
    count("parts_sent", "Parts of snapshots sent to followers", snapshots.partsSent),
  ];
}

/** Backups that were sent to clients, and those that were made by themselves. */
function backupMetrics({ backups, scheduledBackups }: NodeMetricsSource): Metric[] {
  const metric = (name: string, help: string, samples: Metric["samples"]): Metric => ({
    ...{ name: `statecraft_${name}`, help, samples },
    type: name.endsWith("_total") ? "counter" : "gauge",
  });
  const scheduled = scheduledBackups;
  return [
    metric("backups_total", "Backups that were made whole, or given up before", [
      { labels: { end: "whole" }, value: backups.whole },
      { labels: { end: "cut" }, value: backups.cut },
    ]),
    metric(
      "scheduled_backups_total",
      "Backups that --backup-every asked for, by whether they are there",
      scheduled === undefined ? [] : [
        { labels: { result: "made" }, value: scheduled.taken },
        { labels: { result: "failed" }, value: scheduled.failed },
      ],
    ),
    metric(
      "scheduled_backup_timestamp_seconds",
      "When the newest of them was made, since 1970; 0 if none was",
      scheduled === undefined ? [] : [{ value: scheduled.newestMs / 1_000 }],
    ),
  ];
}

/** The process: what was built, its log on disk and its file descriptors. */
function processMetrics({ version, walBytes, freeBytes }: NodeMetricsSource): Metric[] {
  const { deno, v8 } = Deno.version;
  const gauge = (name: string, help: string, value: number | undefined): Metric => ({
    name,
    help,
    type: "gauge",
    samples: value === undefined ? [] : [{ value }],
  });
  const { open, max } = descriptors();
  return [
    {
      name: "statecraft_build_info",
      help: "What runs; always 1",
      type: "gauge",
      samples: [{ labels: { version, deno, v8 }, value: 1 }],
    },
    gauge("statecraft_wal_bytes", "Bytes of the write-ahead log on disk", walBytes),
    gauge(
      "statecraft_disk_free_bytes",
      "Bytes that may still be written to the disk; needs --allow-sys=statfs",
      freeBytes,
    ),
    gauge("process_open_fds", "Open file descriptors; needs --allow-all", open),
    gauge("process_max_fds", "Most file descriptors; needs --allow-all", max),
  ];
}

/** Deno lets a program read /proc only with all permissions, and may prompt for them otherwise. */
const MAY_READ_PROC = (["read", "write", "net", "env", "sys", "run", "ffi"] as const)
  .every((name) => Deno.permissions.querySync({ name }).state === "granted");

function descriptors(): { readonly open?: number; readonly max?: number } {
  if (!MAY_READ_PROC) return {};
  try {
    const limits = Deno.readTextFileSync("/proc/self/limits");
    const max = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    // To read the folder opens one descriptor more.
    const open = [...Deno.readDirSync("/proc/self/fd")].length - 1;
    return { open, ...(max === undefined ? {} : { max: Number(max) }) };
  } catch {
    // This system has no /proc, or no descriptor is left.
    return {};
  }
}

function isLearner({ core }: NodeMetricsSource): boolean {
  return core.context.learners.includes(core.context.id);
}
