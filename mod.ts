/**
 * Statecraft: a replicated key-value store for Deno whose consensus protocol is an executable
 * statechart.
 *
 * @example Start a cluster of one member and use it over HTTP
 * ```ts
 * import { startNode } from "statecraft";
 *
 * const dataDir = await Deno.makeTempDir();
 * await using node = await startNode({
 *   id: 1,
 *   single: true,
 *   dataDir,
 *   http: { hostname: "127.0.0.1", port: 0 },
 * });
 * const url = `${node.httpAddress}/v1/kv/greeting`;
 * await (await fetch(url, { method: "PUT", body: "hello" })).body?.cancel();
 * console.assert(await (await fetch(url)).text() === "hello");
 * ```
 *
 * @module
 */
export {
  type BackupOptions,
  checkNodeDirectory,
  isFounded,
  type NodeOptions,
  startNode,
  type StatecraftNode,
  VERSION,
} from "./actors/node.ts";
export {
  type GatewayStartOptions,
  type RunningGateway,
  startGateway,
} from "./actors/gateway_process.ts";
export {
  checkBackup,
  type OnRead,
  RestoreError,
  restoreNode,
  type RestoreOptions,
  type RestoreResult,
} from "./actors/restore.ts";
export {
  type ForcedCluster,
  forceNewCluster,
  type ForceOptions,
  inspectSurvivor,
  type Survivor,
} from "./actors/force_new_cluster.ts";
export { ForceInterruptedError, ForceNewClusterError } from "./actors/forced_paths.ts";
export { BACKUP_EVERY_MS, BACKUPS_KEPT } from "./actors/limits.ts";
export type { BuildVersions } from "./actors/process.ts";
export type { VersionRange } from "./actors/peer_link.ts";
export { DEFAULT_SNAPSHOT_TRIGGER } from "./actors/group.ts";
export { COMPRESSION, type CompressionMode, type CompressionPolicy } from "./actors/limits.ts";
export type { SnapshotTrigger } from "./actors/machine_actor.ts";
export { DEFAULT_TIMING, type RaftTiming } from "./machines/group_state.ts";
export type {
  ClusterStatus,
  MembersChanged,
  MemberStatus,
  TakenSnapshot,
} from "./transport/http/gateway_port.ts";
export type { ChangeReport, QuorumReport } from "./machines/membership_change.ts";
export type { Role } from "./machines/raft_machine.ts";
export type { GroupId, LogIndex, NodeId, Term } from "./machines/raft_types.ts";
export type { Log, LogLevel } from "./actors/runtime/ports.ts";
export { type HostPort, parseHostPort } from "./transport/wire/network.ts";

// The client.
export {
  AbortedError,
  type Attempt,
  type AttemptOptions,
  type Bytes,
  type CallLimits,
  type CallOptions,
  Clerk,
  CLERK_TIMEOUT_MS,
  ClerkError,
  type ClerkLink,
  type ClerkLinkOptions,
  type ClerkOptions,
  type ClerkPorts,
  type ClerkRequest,
  CompactedError,
  type Compare,
  ConflictError,
  type Entry,
  InvalidRequestError,
  jsonValues,
  type KeyRange,
  KeySpace,
  Lease,
  LeaseNotFoundError,
  Lock,
  LOCK_TTL_MS,
  LockHeldError,
  type LockHolder,
  type LockOptions,
  type Operation,
  type OperationResult,
  OutcomeUnknownError,
  PreconditionFailedError,
  type PutOptions,
  type RangeOptions,
  type ReadOptions,
  textValues,
  type Transaction,
  type TransactionResult,
  type Transport,
  type TypedEntry,
  type TypedEvent,
  UnavailableError,
  UPDATE_TRIES_MAX,
  type ValueCodec,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
  type Written,
} from "./actors/clerk.ts";
export { reasonOf } from "./actors/clerk_link.ts";
export { LINE_BYTES_MAX, linesOf } from "./actors/lines.ts";

// What a member can fail with.
export { ClusterVersionError, type StoredConfig } from "./machines/group_config.ts";
export {
  DirectoryCopiedError,
  DirectoryLockedError,
  type DirectoryOwner,
  IdentityMismatchError,
} from "./storage/log/data_directory.ts";
export { JoinError } from "./actors/join.ts";
export { MemberRemovedError } from "./actors/members.ts";
export { IdentityDamagedError } from "./storage/log/directory_file.ts";
export { readAt } from "./storage/log/deno_disk.ts";
export { DiskError, type DiskErrorCode } from "./storage/log/disk.ts";
export {
  openSnapshot,
  type ReadBytes,
  SnapshotError,
  type SnapshotFrame,
  type SnapshotMeta,
  type SnapshotReader,
} from "./storage/log/snapshot_file.ts";
export {
  type GroupFinding,
  inspectLog,
  type LogFiles,
  type LogFinding,
  type LogVerdict,
  type RecordFinding,
  type SegmentFinding,
  type UnreadableFinding,
} from "./storage/log/wal_inspect.ts";
export type { RecordKind } from "./storage/log/wal_record.ts";
export type { SegmentHeader, WalIdentity } from "./storage/log/wal_segment.ts";
export {
  SnapshotMissingError,
  WalCorruptError,
  WalError,
  WalFailedError,
  WalIdentityError,
  WalLockedError,
  WalMisplacedSegmentError,
  WalMissingSegmentError,
  WalUnknownRecordError,
  WalVersionError,
} from "./storage/log/wal_errors.ts";

// The charts that run, what they look like, and why a node is where it is.
export {
  activePaths,
  type Chart,
  type ChartDescription,
  type ChartState,
  chartToMermaid,
  type ChartTransition,
  describeChart,
} from "./machines/chart.ts";
export { openApiDocument } from "./transport/http/openapi/document.ts";
export { chartDocument, charts } from "./machines/chart_document.ts";
export {
  type Cause,
  type Explanation,
  explanationToText,
  type Possibility,
} from "./machines/explain.ts";

// What a group replicates.
export type {
  Applied,
  AppliedEntry,
  FrozenState,
  RequestRefusal,
  StateMachine,
} from "./machines/state_machine.ts";
