/**
 * A cluster of bare cores for paper tests and scenarios: messages, disk and time move only when a
 * test says so. No actors, no codec; the simulator (tests/sim) has those.
 *
 * @module
 */
import { assert } from "@std/assert";
import { DEFAULT_TIMING, type Outbox, type RaftTiming } from "../../machines/group_state.ts";
import type { Write } from "../../machines/pending_writes.ts";
import { RaftCore } from "../../machines/raft_core.ts";
import { lastIndexOf, RaftLog } from "../../machines/raft_log.ts";
import { type RoleChange, roleChangeOf } from "../../machines/raft_step.ts";
import type {
  EntryRun,
  Envelope,
  HardState,
  LogIndex,
  NodeId,
  RaftMessage,
  Term,
} from "../../machines/raft_types.ts";
import { packRequests, unpackRequests } from "../../machines/request_batch.ts";
import { encodeRun, forEachEntry, recordFormat } from "../../storage/log/wal_record.ts";
import { mulberry32 } from "../sim/random.ts";

/** What a test gives to start from. */
export interface ClusterOptions {
  readonly voters: readonly NodeId[];
  readonly learners?: readonly NodeId[];
  readonly timing?: RaftTiming;
  /** Election timeouts are drawn from this. */
  readonly seed?: number;
  /** Terms of the entries that nodes begin with, from index 1 on. */
  readonly logs?: Readonly<Record<NodeId, readonly Term[]>>;
  readonly hardStates?: Readonly<Record<NodeId, HardState>>;
  /** Called with every core before it runs; a test plants its defects here. */
  readonly onBoot?: (id: NodeId, core: RaftCore) => void;
}

/** One node: its core, its disk, and what it was told. */
export class CoreNode {
  core!: RaftCore;
  /** What a crash leaves. */
  readonly disk: { hardState: HardState; runs: EntryRun[] };
  /** Writes whose sync a test holds back. */
  readonly unsynced: Write[] = [];
  holdSync = false;
  running = true;
  readonly readsReady: { readIndex: LogIndex; readIds: readonly number[] }[] = [];
  readonly readsRefused: number[] = [];
  readonly transfers: string[] = [];

  constructor(disk: { hardState: HardState; runs: EntryRun[] }) {
    this.disk = disk;
  }
}

/** A deterministic cluster of cores. */
export class CoreCluster {
  readonly nodes: Map<NodeId, CoreNode> = new Map();
  /** Messages under way, oldest first. */
  inFlight: Envelope[] = [];
  /** One line for each thing that happened. */
  readonly transcript: string[] = [];
  nowMs = 0;
  /** Which messages are lost on the way; a test may replace it. */
  isLost: (envelope: Envelope) => boolean = () => false;
  readonly #options: ClusterOptions;
  readonly #random: () => number;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#random = mulberry32(options.seed ?? 1);
    for (const id of [...options.voters, ...options.learners ?? []]) {
      const terms = options.logs?.[id] ?? [];
      const hardState = options.hardStates?.[id] ??
        { currentTerm: terms.at(-1) ?? 0, votedFor: undefined };
      const node = new CoreNode({ hardState, runs: runsOfTerms(terms) });
      this.nodes.set(id, node);
      this.#boot(id, node);
    }
  }

  /** The node with this id. */
  node(id: NodeId): CoreNode {
    const node = this.nodes.get(id);
    assert(node !== undefined, `there is no node ${id}`);
    return node;
  }

  /** The core of the node with this id. */
  core(id: NodeId): RaftCore {
    return this.node(id).core;
  }

  /** The only leader of the highest term, if there is one. */
  get leader(): NodeId | undefined {
    let leader: NodeId | undefined;
    for (const [id, node] of this.nodes) {
      if (!node.running || node.core.role !== "leader") continue;
      if (
        leader === undefined ||
        node.core.context.currentTerm > this.core(leader).context.currentTerm
      ) leader = id;
    }
    return leader;
  }

  /** Runs one turn of a node. */
  turn<Result>(id: NodeId, act: (core: RaftCore) => Result): Result {
    const { core } = this.node(id);
    const { commitIndex } = core.state;
    core.beginTurn(this.nowMs);
    const result = act(core);
    const outbox = core.endTurn();
    if (core.state.commitIndex > commitIndex) {
      this.log(id, `commits through ${core.state.commitIndex}`);
    }
    this.#perform(id, outbox);
    return result;
  }

  /** Delivers one message, which need not be one that is under way. */
  deliver(envelope: Envelope): void {
    if (!this.node(envelope.to).running) return;
    this.turn(envelope.to, (core) => core.receive(envelope.message));
  }

  /** Delivers what is under way, and what that causes, until all is quiet. */
  settle(stepsMax = 10_000): void {
    for (let steps = 0; this.inFlight.length > 0; steps++) {
      assert(steps < stepsMax, "messages do not come to an end");
      const envelope = this.inFlight.shift()!;
      if (this.isLost(envelope)) continue;
      this.deliver(envelope);
    }
  }

  /** Delivers what is under way of these types, and what it causes of them; the rest stays. */
  settleTypes(types: readonly RaftMessage["type"][]): void {
    const isOne = ({ message }: Envelope): boolean => types.includes(message.type);
    let at = this.inFlight.findIndex(isOne);
    for (; at >= 0; at = this.inFlight.findIndex(isOne)) {
      const [envelope] = this.inFlight.splice(at, 1);
      if (!this.isLost(envelope!)) this.deliver(envelope!);
    }
  }

  /** Delivers what is under way now from one node to another, and nothing that it causes. */
  deliverBetween(from: NodeId, to: NodeId): void {
    const isOne = (envelope: Envelope): boolean =>
      envelope.to === to && envelope.message.from === from;
    const chosen = this.inFlight.filter(isOne);
    this.inFlight = this.inFlight.filter((envelope) => !isOne(envelope));
    for (const envelope of chosen) if (!this.isLost(envelope)) this.deliver(envelope);
  }

  /** Lets time pass, delivering as it goes. */
  elapse(durationMs: number, stepMs = 5): void {
    const endMs = this.nowMs + durationMs;
    this.settle();
    while (this.nowMs < endMs) {
      this.nowMs = Math.min(endMs, this.nowMs + stepMs);
      for (const [id, node] of this.nodes) {
        if (node.running && node.core.nextDeadlineMs <= this.nowMs) {
          this.turn(id, (core) => core.elapse());
          this.settle();
        }
      }
    }
  }

  /** Makes one node's election timeout elapse now, before any other's. */
  timeout(id: NodeId): void {
    const { core } = this.node(id);
    this.nowMs = Math.max(this.nowMs, core.state.electionDeadlineMs!);
    this.turn(id, (core) => core.elapse());
  }

  /** Elects a node by its time-out, all messages arriving. */
  elect(id: NodeId): void {
    // Voters must not have heard from a leader for a minimum election timeout.
    this.nowMs += (this.#options.timing ?? DEFAULT_TIMING).electionTimeoutMsMax;
    this.timeout(id);
    this.settle();
    assert(this.core(id).role === "leader", `node ${id} was not elected`);
  }

  /** Proposes texts at a node; the batch gets consecutive indexes. */
  propose(id: NodeId, ...texts: string[]): ReturnType<RaftCore["propose"]> {
    const payloads = texts.map((text) => new TextEncoder().encode(text));
    return this.turn(id, (core) => core.propose(payloads));
  }

  /** Makes the writes that a test held back durable. */
  sync(id: NodeId): void {
    while (this.node(id).unsynced.length > 0) this.syncOne(id);
  }

  /** Makes the oldest of the writes that a test held back durable. */
  syncOne(id: NodeId): void {
    const write = this.node(id).unsynced.shift();
    if (write !== undefined) this.#durable(id, write);
  }

  /** The node forgets all that was not durable. */
  crash(id: NodeId): void {
    const node = this.node(id);
    node.running = false;
    node.unsynced.length = 0;
    this.log(id, "crashed");
  }

  /** The node starts from its disk. */
  restart(id: NodeId): void {
    const node = this.node(id);
    node.running = true;
    this.#boot(id, node);
    this.log(id, "restarted");
  }

  /** Loses all messages between the sides. */
  partition(...sides: readonly (readonly NodeId[])[]): void {
    this.isLost = ({ to, message }) =>
      !sides.some((side) => side.includes(to) && side.includes(message.from));
  }

  /** All messages arrive again. */
  heal(): void {
    this.isLost = () => false;
  }

  /** Terms of a node's log from index 1 on. */
  termsOf(id: NodeId): Term[] {
    const { log } = this.core(id).state;
    const terms: Term[] = [];
    for (let index = log.base.index + 1; index <= log.lastIndex; index++) {
      terms.push(log.termAt(index)!);
    }
    return terms;
  }

  /** A node's committed commands as texts. */
  committedTexts(id: NodeId): string[] {
    const { log, commitIndex } = this.core(id).state;
    const texts: string[] = [];
    for (const run of log.slice(log.base.index + 1, commitIndex)) {
      forEachEntry(run, (_index, _timeMs, kind, payload) => {
        if (kind !== "command") return;
        for (const text of unpackRequests(payload)) texts.push(new TextDecoder().decode(text));
      });
    }
    return texts;
  }

  /** Adds a line that says what happens next to the transcript. */
  scene(text: string): void {
    this.transcript.push(`# ${text}`);
  }

  /** The transcript as one text, a line's end at every line's end. */
  get play(): string {
    return `\n${this.transcript.join("\n")}\n`;
  }

  /** Adds a line to the transcript. */
  log(id: NodeId, text: string): void {
    this.transcript.push(`${String(Math.round(this.nowMs)).padStart(6)} ms  node ${id}  ${text}`);
  }

  #boot(id: NodeId, node: CoreNode): void {
    const log = new RaftLog();
    for (const run of node.disk.runs) log.append(run);
    node.core = new RaftCore({
      id,
      group: 0,
      timing: this.#options.timing ?? DEFAULT_TIMING,
      records: recordFormat,
      random: this.#random,
      log,
      nowMs: this.nowMs,
      voters: this.#options.voters,
      learners: this.#options.learners ?? [],
      ...node.disk.hardState,
      onStep: (step) => {
        const change = roleChangeOf(step);
        if (change !== undefined) this.log(id, describeChange(change));
      },
    });
    this.#options.onBoot?.(id, node.core);
  }

  #perform(id: NodeId, outbox: Outbox): void {
    const node = this.node(id);
    this.#send(id, outbox.messages);
    node.readsReady.push(...outbox.readsReady);
    node.readsRefused.push(...outbox.readsRefused);
    if (outbox.transfer !== undefined) {
      node.transfers.push(outbox.transfer);
      this.log(id, `transfer ${outbox.transfer}`);
    }
    const { write } = outbox;
    if (write === undefined) return;
    if (node.holdSync || node.unsynced.length > 0) node.unsynced.push(write);
    else this.#durable(id, write);
  }

  #durable(id: NodeId, { hardState, runs }: Write): void {
    const { disk } = this.node(id);
    if (hardState !== undefined) disk.hardState = hardState;
    for (const run of runs) {
      disk.runs = truncated(disk.runs, run.firstIndex);
      disk.runs.push({ ...run, bytes: run.bytes.slice() });
    }
    this.turn(id, (core) => core.durable());
  }

  #send(id: NodeId, envelopes: readonly Envelope[]): void {
    for (const envelope of envelopes) {
      const lost = this.isLost(envelope) ? " (lost)" : "";
      if (!isQuiet(envelope.message)) {
        this.log(id, `-> ${envelope.to}  ${describeMessage(envelope.message)}${lost}`);
      }
      if (lost === "") this.inFlight.push(envelope);
    }
  }
}

/** A message as a line of a play. */
export function describeMessage(message: RaftMessage): string {
  const { type, term } = message;
  const head = `${type} t${term}`;
  switch (type) {
    case "AppendEntries": {
      const entries = message.runs.map((run) =>
        `${run.firstIndex}-${lastIndexOf(run)}@t${run.term}`
      );
      return `${head} after ${message.prevLogIndex}@t${message.prevLogTerm} ` +
        `[${entries.join(" ")}] commit ${message.leaderCommit}`;
    }
    case "AppendEntriesReply":
      return message.accepted
        ? `${head} match ${message.matchIndex}`
        : `${head} refused at ${message.prevLogIndex}, conflict ${message.conflictIndex}@t${message.conflictTerm}`;
    case "RequestVote":
    case "PreVote":
      return `${head} last ${message.lastLogIndex}@t${message.lastLogTerm}`;
    case "RequestVoteReply":
    case "PreVoteReply":
      return `${head} ${message.granted ? "granted" : "refused"}`;
    default:
      return head;
  }
}

function describeChange({ from, to, cause, term, leaderId }: RoleChange): string {
  const leader = leaderId === undefined ? "no leader" : `leader ${leaderId}`;
  return from === to
    ? `${to} t${term}: ${leader}`
    : `${from} => ${to} t${term} on ${cause}, ${leader}`;
}

/** Heartbeats and their answers would drown the play. */
export function isQuiet(message: RaftMessage): boolean {
  return (message.type === "AppendEntries" && message.runs.length === 0) ||
    (message.type === "AppendEntriesReply" && message.accepted);
}

/** Runs whose entries have these terms, from index 1 on. */
export function runsOfTerms(terms: readonly Term[]): EntryRun[] {
  return terms.map((term, offset) =>
    encodeRun({
      group: 0,
      term,
      firstIndex: offset + 1,
      timeMs: offset,
      kind: "command",
      payloads: packRequests([new TextEncoder().encode(`t${term}i${offset + 1}`)]).payloads,
    })
  );
}

function truncated(runs: readonly EntryRun[], before: LogIndex): EntryRun[] {
  const log = new RaftLog();
  for (const run of runs) log.append(run);
  return log.slice(1, before - 1);
}
