/**
 * What a group starts from: its newest sound snapshot in the machine, and the log behind it.
 *
 * The snapshot and the log are durable each by itself, so a crash may leave them at odds. Whatever the
 * snapshot covers counts, also if the log has lost it or never had it: only what is committed is in a
 * snapshot.
 *
 * @module
 */
import { type LogBase, RaftLog } from "../machines/raft_log.ts";
import type { GroupId, HardState } from "../machines/raft_types.ts";
import type { StateMachine } from "../machines/state_machine.ts";
import { SnapshotError } from "../storage/log/snapshot_file.ts";
import type { SnapshotStore, StoredSnapshot } from "../storage/log/snapshot_store.ts";
import { SnapshotMissingError } from "../storage/log/wal_errors.ts";
import type { RecoveredGroup } from "../storage/log/wal_replay.ts";

/** What a group starts from. */
export interface RecoveredState {
  readonly snapshot: StoredSnapshot | undefined;
  readonly log: RaftLog;
  readonly hardState: HardState;
  /** Whether the log on disk has another one: this one is to be written before anything else. */
  readonly hardStateIsNew: boolean;
  /** Set if the log on disk does not reach the snapshot, or contradicts it: it is to begin behind it. */
  readonly newBase: LogBase | undefined;
}

/**
 * Loads the newest snapshot that is sound, and puts aside those that are damaged.
 *
 * @throws {SnapshotError} If the machine of a newer release wrote it; it stays as it is.
 * @throws {SnapshotMissingError} If the log's first entries were forgotten, and no snapshot covers them.
 * @throws {DiskError} If the disk fails.
 */
export function recoverState({ group, machine, store, recovered, onBroken }: {
  readonly group: GroupId;
  /** New: nothing was applied to it. */
  readonly machine: Pick<StateMachine, "load" | "version">;
  readonly store: SnapshotStore;
  readonly recovered: RecoveredGroup | undefined;
  readonly onBroken: (error: Error) => void;
}): RecoveredState {
  const base = recovered?.base ?? { index: 0, term: 0 };
  const snapshot = loadNewest(machine, { group, store, from: base.index, onBroken });
  if (snapshot === undefined && base.index > 0) throw new SnapshotMissingError(group, base.index);
  const log = new RaftLog(base);
  for (const run of recovered?.runs ?? []) log.append(run);
  const newBase = snapshot === undefined || log.termAt(snapshot.index) === snapshot.term
    ? undefined
    : { index: snapshot.index, term: snapshot.term };
  if (newBase !== undefined) log.reset(newBase);
  return { snapshot, log, newBase, ...hardStateOf(recovered, snapshot) };
}

function loadNewest(
  machine: Pick<StateMachine, "load" | "version">,
  { group, store, from, onBroken }: {
    readonly group: GroupId;
    readonly store: SnapshotStore;
    /** An older one does not reach the log. */
    readonly from: number;
    readonly onBroken: (error: Error) => void;
  },
): StoredSnapshot | undefined {
  for (const snapshot of [...store.of(group)].reverse()) {
    if (snapshot.index < from) return undefined;
    checkVersion(machine, snapshot);
    try {
      const steps = machine.load(store.open(snapshot).chunks());
      while (steps.next().done !== true);
      return snapshot;
    } catch (error) {
      // Anything else says nothing of the file, which may be all that is left of the state.
      if (!(error instanceof SnapshotError)) throw error;
      store.putAside(snapshot);
      onBroken(error);
    }
  }
  return undefined;
}

function checkVersion(
  { version }: Pick<StateMachine, "version">,
  { path, meta: { machineVersion } }: StoredSnapshot,
): void {
  if (machineVersion <= version) return;
  const reason = `its state is of version ${machineVersion}, and this build reads versions up to ` +
    `${version}; use a newer release`;
  throw new SnapshotError(path, reason, "foreign");
}

/**
 * The term of a snapshot may be ahead of the log's: the log's end was not durable when power was lost,
 * so nothing was promised in that term. The node enters it now, as if it heard of it.
 */
function hardStateOf(
  recovered: RecoveredGroup | undefined,
  snapshot: StoredSnapshot | undefined,
): Pick<RecoveredState, "hardState" | "hardStateIsNew"> {
  const { currentTerm, votedFor } = recovered?.hardState ?? { currentTerm: 0, votedFor: undefined };
  const snapshotTerm = snapshot?.term ?? 0;
  return snapshotTerm > currentTerm
    ? { hardState: { currentTerm: snapshotTerm, votedFor: undefined }, hardStateIsNew: true }
    : { hardState: { currentTerm, votedFor }, hardStateIsNew: false };
}
