/**
 * A cluster of bare cores for paper tests and scenarios: messages, disk and time move only when a
 * test says so. No actors, no codec; the simulator (tests/sim) has those.
 *
 * @module
 */
import { foundingConfig, type GroupConfig, MEMBERS_VERSION } from "../../machines/group_config.ts";
import { assert } from "@std/assert";
import type { ReplicationBounds } from "../../machines/bounds.ts";
import { DEFAULT_TIMING, type Outbox, type RaftTiming } from "../../machines/group_state.ts";
import type { ChangeOutcome } from "../../machines/membership.ts";
import type { MembershipChange } from "../../machines/membership_change.ts";
import type { Write } from "../../machines/pending_writes.ts";
import { RaftCore } from "../../machines/raft_core.ts";
import { RaftLog } from "../../machines/raft_log.ts";
import { roleChangeOf } from "../../machines/raft_step.ts";
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
import {
  describeChange,
  describeMessage,
  describeWrite,
  isQuiet,
  type LineKind,
  transcriptLine,
} from "./transcript.ts";

/** Messages that a cluster exchanges before it is quiet; with more it never would be. */
export const SETTLE_STEPS_MAX = 10_000;

/** What a test gives to start from. */
export interface ClusterOptions {
  readonly voters: readonly NodeId[];
  readonly learners?: readonly NodeId[];
  /** The members are in the log and may change, as from MEMBERS_VERSION on; default false. */
  readonly membersChange?: boolean;
  readonly timing?: RaftTiming;
  readonly bounds?: ReplicationBounds;
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
  /** What it was founded with, or joined with. */
  config: GroupConfig;
  memberSince = 0;
  /** Counts the disks that this node has had. */
  generation = 0;
  readonly readsReady: { readIndex: LogIndex; readIds: readonly number[] }[] = [];
  readonly readsRefused: number[] = [];
  readonly transfers: string[] = [];

  constructor(disk: { hardState: HardState; runs: EntryRun[] }, config: GroupConfig) {
    this.disk = disk;
    this.config = config;
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
  /** Which messages stay under way until a test delivers them; a test may replace it. */
  isHeld: (envelope: Envelope) => boolean = () => false;
  /** Which messages the transcript names; a test may replace it. */
  isTold: (message: RaftMessage) => boolean = (message) => !isQuiet(message);
  readonly #options: ClusterOptions;
  readonly #random: () => number;

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#random = mulberry32(options.seed ?? 1);
    for (const id of [...options.voters, ...options.learners ?? []]) {
      const terms = options.logs?.[id] ?? [];
      const hardState = options.hardStates?.[id] ??
        { currentTerm: terms.at(-1) ?? 0, votedFor: undefined };
      const node = new CoreNode({ hardState, runs: runsOfTerms(terms) }, this.#founding(options));
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

  /**
   * A node with an empty disk, as a leader's answer to its request to join tells it of the others. With
   * an id that there is it takes that node's place.
   */
  join(id: NodeId, leader: NodeId): void {
    const { index, config } = this.core(leader).state.configs.current;
    const { clusterVersion } = config;
    const voters = config.voters.filter((voter) => voter !== id);
    const started = { ...foundingConfig({ voters, learners: [id] }), clusterVersion };
    const hardState = { currentTerm: 0, votedFor: undefined };
    const node = new CoreNode({ hardState, runs: [] }, started);
    node.memberSince = index;
    node.generation = (this.nodes.get(id)?.generation ?? -1) + 1;
    this.nodes.set(id, node);
    this.#boot(id, node);
  }

  /** Asks a node to change the members. */
  change(id: NodeId, change: MembershipChange, force = false): ChangeOutcome {
    return this.turn(id, (core) => core.changeMembers(change, { force }));
  }

  #founding(members: Parameters<typeof foundingConfig>[0]): GroupConfig {
    const config = foundingConfig(members);
    return this.#options.membersChange === true
      ? { ...config, clusterVersion: MEMBERS_VERSION }
      : config;
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
      this.say("info", id, `commits through ${core.state.commitIndex}`);
    }
    this.#perform(id, outbox);
    return result;
  }

  /** Delivers one message, which need not be one that is under way. */
  deliver(envelope: Envelope): void {
    // Somebody who has not joined yet, or a node that is down.
    if (this.nodes.get(envelope.to)?.running !== true) return;
    this.turn(envelope.to, (core) => core.receive(envelope.message));
  }

  /**
   * Delivers what is under way, and what that causes, until all is quiet: every message, or those
   * of the given types. What is held stays.
   */
  settle(types?: readonly RaftMessage["type"][]): void {
    const isNext = (envelope: Envelope): boolean =>
      !this.isHeld(envelope) && (types?.includes(envelope.message.type) ?? true);
    for (let steps = 0;; steps++) {
      assert(steps < SETTLE_STEPS_MAX, "messages do not come to an end");
      const at = this.inFlight.findIndex(isNext);
      if (at < 0) return;
      const [envelope] = this.inFlight.splice(at, 1);
      if (!this.isLost(envelope!)) this.deliver(envelope!);
      else this.#tell("recv", envelope!, " (lost)");
    }
  }

  /** Takes those out of the messages under way that are chosen now, in their order. */
  take(isChosen: (envelope: Envelope) => boolean): Envelope[] {
    const chosen = this.inFlight.filter(isChosen);
    this.inFlight = this.inFlight.filter((envelope) => !chosen.includes(envelope));
    return chosen;
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

  /** Lets a node campaign once no voter has heard a leader for an election timeout. */
  campaign(id: NodeId): void {
    this.nowMs += (this.#options.timing ?? DEFAULT_TIMING).electionTimeoutMsMax;
    this.timeout(id);
  }

  /** Elects a node by its time-out, all messages arriving. */
  elect(id: NodeId): void {
    this.campaign(id);
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
    this.say("info", id, "crashed");
    for (const write of node.unsynced.splice(0)) {
      this.say("disk", id, `lost ${describeWrite(write)}`);
    }
  }

  /** The node starts from its disk. */
  restart(id: NodeId): void {
    const node = this.node(id);
    node.running = true;
    this.#boot(id, node);
    this.say("info", id, "started");
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

  /** Adds a line about a node to the transcript. */
  say(kind: LineKind, node: NodeId, text: string): void {
    this.transcript.push(transcriptLine({ nowMs: this.nowMs, kind, node, text }));
  }

  #boot(id: NodeId, node: CoreNode): void {
    const log = new RaftLog();
    for (const run of node.disk.runs) log.append(run);
    node.core = new RaftCore({
      id,
      group: 0,
      timing: this.#options.timing ?? DEFAULT_TIMING,
      ...(this.#options.bounds === undefined ? {} : { bounds: this.#options.bounds }),
      records: recordFormat,
      random: this.#random,
      log,
      nowMs: this.nowMs,
      config: node.config,
      memberSince: node.memberSince,
      directoryOf: (of) => `directory-${of}-${this.nodes.get(of)?.generation ?? 0}`,
      ...node.disk.hardState,
      onStep: (step) => {
        const change = roleChangeOf(step);
        if (change !== undefined) this.say("info", id, describeChange(change));
      },
    });
    this.#options.onBoot?.(id, node.core);
  }

  #perform(id: NodeId, outbox: Outbox): void {
    const node = this.node(id);
    this.#send(outbox.messages);
    node.readsReady.push(...outbox.readsReady);
    for (const { readIds, readIndex } of outbox.readsReady) {
      for (const readId of readIds) {
        this.say("client", id, `read ${readId} -> ready at index ${readIndex}`);
      }
    }
    node.readsRefused.push(...outbox.readsRefused);
    for (const readId of outbox.readsRefused) this.say("client", id, `read ${readId} -> refused`);
    if (outbox.transfer !== undefined) {
      node.transfers.push(outbox.transfer);
      this.say("client", id, `transfer -> ${outbox.transfer}`);
    }
    const { write } = outbox;
    if (write === undefined) return;
    if (node.holdSync || node.unsynced.length > 0) {
      node.unsynced.push(write);
      this.say("disk", id, `written ${describeWrite(write)}`);
    } else this.#durable(id, write);
  }

  #durable(id: NodeId, write: Write): void {
    const { hardState, runs } = write;
    const { disk } = this.node(id);
    this.say("disk", id, `durable ${describeWrite(write)}`);
    if (hardState !== undefined) disk.hardState = hardState;
    for (const run of runs) {
      disk.runs = truncated(disk.runs, run.firstIndex);
      disk.runs.push({ ...run, bytes: run.bytes.slice() });
    }
    this.turn(id, (core) => core.durable());
  }

  #send(envelopes: readonly Envelope[]): void {
    for (const envelope of envelopes) {
      const isLost = this.isLost(envelope);
      this.#tell("send", envelope, isLost ? " (lost)" : "");
      if (!isLost) this.inFlight.push(envelope);
    }
  }

  /** Adds a line about a message, if the transcript names it. */
  #tell(kind: "send" | "recv", { to, message }: Envelope, fate: string): void {
    if (!this.isTold(message)) return;
    const text = `${describeMessage(message)}${fate}`;
    if (kind === "send") this.say(kind, message.from, `-> ${to}  ${text}`);
    else this.say(kind, to, `<- ${message.from}  ${text}`);
  }
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
