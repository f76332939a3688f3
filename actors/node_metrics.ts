/**
 * A node's metrics, under etcd's names where the meaning is the same.
 *
 * @module
 */
import type { RaftCore } from "../machines/raft_core.ts";
import type { KvStore } from "../storage/kv/kv_store.ts";
import {
  formatHistograms,
  formatMetrics,
  type Histogram,
  type Metric,
} from "../transport/prometheus.ts";
import type { ActorMetrics } from "./runtime/cell.ts";
import type { GatewayCounters } from "./node_gateway.ts";
import type { PeersStatus } from "./peers.ts";
import type { RaftCounters } from "./raft_actor.ts";

/** Buckets of the fsync histogram, etcd's. */
export const FSYNC_BUCKETS_SECONDS: readonly number[] = Array.from(
  { length: 14 },
  (_, exponent) => 0.001 * 2 ** (exponent - 3),
);

/** What the metrics are made of. */
export interface NodeMetricsSource {
  readonly core: RaftCore;
  readonly store: KvStore;
  readonly counters: RaftCounters;
  readonly gatewayCounters: GatewayCounters;
  readonly peers: PeersStatus;
  readonly actors: readonly ActorMetrics[];
  readonly leaderChanges: number;
  readonly fsync: Histogram;
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
    counter("statecraft_reads_total", "Reads that were not stale", gatewayCounters.reads),
    counter("statecraft_read_barriers_total", "Read indexes that reads shared", counters.reads),
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
  return formatMetrics(metrics) +
    formatHistograms("etcd_disk_wal_fsync_duration_seconds", "Duration of the log's fsyncs", [
      { histogram: fsync },
    ]);
}

function isLearner({ core }: NodeMetricsSource): boolean {
  return core.context.learners.includes(core.context.id);
}
