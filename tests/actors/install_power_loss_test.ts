/**
 * Power lost at every disk operation of a follower that installs a leader's snapshot and takes the
 * entries behind it. The test is the leader.
 *
 * @module
 */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { DEFAULT_BOUNDS } from "../../machines/bounds.ts";
import type { EntryRun, RaftMessage, SnapshotRef, Term } from "../../machines/raft_types.ts";
import { packRequests } from "../../machines/request_batch.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import { SnapshotEncoder } from "../../storage/log/snapshot_file.ts";
import { encodeRun } from "../../storage/log/wal_record.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { Dice } from "../sim/random.ts";
import { commandOf } from "../storage/kv/command_of.ts";
import { joined } from "../storage/snapshot_image.ts";
import { LoneGroup } from "./lone_group.ts";

const POWER_LOSS = "power loss";
/** Ways in which the disk may lose what was not synced, tried at each operation. */
const LOSSES = 48;
const PART_BYTES = 150;
const TERM = 5;
/** The snapshot covers entries up to here, … */
const COVERED = 20;
/** … and the leader has so many, all committed. */
const LAST = 23;
/** What the follower has when it begins: of these, two are committed, and two are nobody else's. */
const OWN_TERMS: readonly Term[] = [1, 1, 2, 2];
const OWN_COMMITTED = 2;

type Group = LoneGroup<CommandResult, KvStore>;

function requestAt(index: number, term: Term): Uint8Array {
  const value = new Uint8Array(30).fill(index + 100 * term);
  return encodeCommand(commandOf({ type: "put", key: `k${index % 7}`, value }));
}

function runOf(index: number, term: Term): EntryRun {
  const { payloads } = packRequests([requestAt(index, term)]);
  const place = { group: 0, term, firstIndex: index, timeMs: index } as const;
  return encodeRun({ ...place, kind: "command", payloads });
}

/** Entries up to the committed ones are the follower's, too; then come those of the leader's term. */
function termAt(index: number): Term {
  return index <= OWN_COMMITTED ? OWN_TERMS[index - 1]! : TERM;
}

/** The state after each entry, by index. */
function storeAt(index: number): KvStore {
  const store = new KvStore();
  for (let at = 1; at <= index; at++) {
    const term = termAt(at);
    store.apply({ index: at, term, timeMs: at, kind: "command", requests: [requestAt(at, term)] });
  }
  return store;
}

const hashes = Array.from({ length: LAST + 1 }, (_, index) => storeAt(index).stateHash());

const { snapshot, bytes } = ((): { snapshot: SnapshotRef; bytes: Uint8Array } => {
  const frozen = storeAt(COVERED).freeze();
  const encoder = new SnapshotEncoder();
  const place = { index: COVERED, term: TERM, timeMs: COVERED };
  const head = encoder.head({
    ...{ clusterId: "lone", group: 0, ...place, clusterVersion: 1, members: [1, 2] },
    ...{ machineVersion: new KvStore().version, stateHash: frozen.stateHash },
  });
  const chunks = Array.from(frozen.chunks(), (chunk) => encoder.chunk(chunk));
  const bytes = joined([head, ...chunks, encoder.end()]);
  return { snapshot: { ...place, size: bytes.length, digest: encoder.digest }, bytes };
})();

/** A follower whose power fails after so many operations, and what it has promised by then. */
class Follower {
  readonly disk: MemoryDisk;
  operations = 0;
  /** It has said that it has installed the snapshot, and that its log matches up to an index. */
  saidInstalled = false;
  saidMatch = 0;
  /** How much of the snapshot it has said to have. */
  offset = 0;
  #operationsLeft = Infinity;
  #group: Group | undefined;

  constructor(tornPartBytes: number) {
    this.disk = new MemoryDisk({
      tornPartBytes,
      later: (run) => run(),
      fault: () => {
        this.operations++;
        if (this.#operationsLeft-- > 0) return undefined;
        throw new Error(POWER_LOSS);
      },
    });
  }

  start(): Group {
    this.offset = 0;
    return this.#group = new LoneGroup<CommandResult, KvStore>(new KvStore(), {
      disk: this.disk,
      voters: [1, 2],
      segmentBytes: 600,
      bounds: { ...DEFAULT_BOUNDS, trailingBytes: 0 },
    });
  }

  /** Its own log, of which a later leader knows the first entries only. */
  begin(): void {
    this.start();
    const runs = OWN_TERMS.map((term, at) => runOf(at + 1, term));
    this.#append({ term: 2, prevLogIndex: 0, runs, leaderCommit: OWN_COMMITTED });
    assertEquals(this.#group!.host.machine.lastApplied, OWN_COMMITTED);
  }

  /** The leader sends its snapshot, part by part, and then its entries. */
  lead(): void {
    for (let tries = 0; !this.saidInstalled; tries++) {
      assert(tries < 100, "the snapshot is never installed");
      const { offset } = this;
      const part = bytes.subarray(offset, offset + PART_BYTES);
      const header = { group: 0, term: TERM, from: 2 } as const;
      this.#tell({ type: "InstallSnapshot", ...header, snapshot, offset, bytes: part });
    }
    for (let index = COVERED + 1; index <= LAST; index++) {
      const runs = [runOf(index, TERM)];
      this.#append({ term: TERM, prevLogIndex: index - 1, runs, leaderCommit: index - 1 });
    }
    this.#append({ term: TERM, prevLogIndex: LAST, runs: [], leaderCommit: LAST });
  }

  /** Power fails after so many operations from now on. */
  failAfter(operations: number): void {
    this.#operationsLeft = operations;
  }

  #append(
    { term, prevLogIndex, runs, leaderCommit }: {
      readonly term: Term;
      readonly prevLogIndex: number;
      readonly runs: readonly EntryRun[];
      readonly leaderCommit: number;
    },
  ): void {
    const prevLogTerm = prevLogIndex === 0 ? 0 : termAt(prevLogIndex);
    const place = { group: 0, term, from: 2, prevLogIndex, prevLogTerm, leaderCommit } as const;
    this.#tell({ type: "AppendEntries", ...place, round: 0, runs });
  }

  #tell(message: RaftMessage): void {
    const group = this.#group!;
    group.host.receive(message);
    group.pass(2);
    for (const { message: said } of group.sent.splice(0)) this.#note(said);
    for (const failure of group.failures) throw failure;
  }

  #note(message: RaftMessage): void {
    if (message.type === "InstallSnapshotReply") {
      this.saidInstalled ||= message.installed;
      this.offset = message.offset;
    }
    if (message.type === "AppendEntriesReply" && message.accepted && message.term === TERM) {
      this.saidMatch = Math.max(this.saidMatch, message.matchIndex);
    }
  }
}

/** Loses power after so many operations of the leader's work; answers how many there were. */
function loseAfter(
  survived: number,
  dice: Dice,
): { lost: boolean; operations: number; at: string } {
  const follower = new Follower(dice.pick([16, 512]));
  follower.begin();
  follower.failAfter(survived);
  const before = follower.operations;
  let lost = false;
  try {
    follower.lead();
  } catch (error) {
    // A log that failed tells of it as the cause.
    const { cause = error } = error as Error;
    if ((cause as Error).message !== POWER_LOSS) throw error;
    lost = true;
  }
  const operations = follower.operations - before;
  const { saidInstalled, saidMatch } = follower;
  follower.failAfter(Infinity);
  follower.disk.crash((count) => dice.below(count));

  const { broken, host, failures } = follower.start();
  assertEquals([broken, failures], [[], []]);
  const { machine, core } = host;
  const { log, commitIndex } = core.state;
  // Nothing is applied at a start but the snapshot: it has all of it or nothing.
  const covered = machine.lastApplied;
  assert(covered === 0 || covered === COVERED, `it begins with ${covered}`);
  assertEquals(machine.stateHash(), hashes[covered]);
  if (saidInstalled) assertEquals(covered, COVERED, "it said that it had installed it");
  assert(log.lastIndex >= saidMatch, `it said ${saidMatch}, and has ${log.lastIndex}`);
  for (let index = log.base.index + 1; index <= log.lastIndex; index++) {
    const term = log.termAt(index);
    const isOwn = covered === 0 && term === OWN_TERMS[index - 1];
    assert(isOwn || term === termAt(index), `entry ${index} has term ${term}`);
  }
  // What was committed before is there.
  assert(log.lastIndex >= OWN_COMMITTED && commitIndex <= log.lastIndex);

  // The leader goes on where the follower says it is.
  follower.saidInstalled = false;
  follower.lead();
  assertEquals([machine.lastApplied, machine.stateHash()], [LAST, hashes[LAST]]);
  const at = saidMatch > COVERED ? "entries" : saidInstalled ? "installed" : `${covered}`;
  return { lost, operations, at };
}

Deno.test("B3: power lost at any operation of installing a snapshot: what was promised is there, and the rest comes again", () => {
  const dice = new Dice(1);
  const { operations } = loseAfter(Infinity, dice);
  assertGreater(operations, 25);
  const outcomes = new Map<string, number>();
  let images = 0;
  for (let survived = 0; survived < operations; survived++) {
    for (let loss = 0; loss < LOSSES; loss++) {
      try {
        const { lost, at } = loseAfter(survived, dice);
        assert(lost);
        outcomes.set(at, (outcomes.get(at) ?? 0) + 1);
      } catch (error) {
        throw new Error(`operation ${survived}: ${(error as Error).message}`, { cause: error });
      }
      images++;
    }
  }
  assertEquals(images, operations * LOSSES);
  // Before it was there, there without a word of it, promised, and with entries behind it.
  for (const at of ["0", `${COVERED}`, "installed", "entries"]) {
    assertGreater(outcomes.get(at) ?? 0, LOSSES / 2, at);
  }
});
