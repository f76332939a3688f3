/**
 * The stage of a scenario: bare cores under watch (watched_cluster.ts), with the network, the disks
 * and the time in the script's hands.
 *
 * @module
 */
import { DEFAULT_BOUNDS, type ReplicationBounds } from "../../../machines/bounds.ts";
import type { RaftCore } from "../../../machines/raft_core.ts";
import type { Envelope, HardState, NodeId, Term } from "../../../machines/raft_types.ts";
import type { CoreCluster } from "../core_cluster.ts";
import { describeMessage, isQuiet } from "../transcript.ts";
import { WatchedCluster } from "../watched_cluster.ts";
import type { NodeSet, Words } from "./words.ts";

/** How much the transcript tells. */
export const TELLINGS = ["all", "brief", "nothing"] as const;

type Selection = (envelope: Envelope) => boolean;

interface Member {
  readonly id: NodeId;
  readonly kind: "voter" | "learner";
  readonly hardState: HardState | undefined;
  readonly log: readonly Term[];
}

/** The members, from the script's first command to its last. */
export class Stage {
  readonly #members: Member[] = [];
  readonly #texts: Set<string> = new Set();
  #bounds: ReplicationBounds = DEFAULT_BOUNDS;
  #seed = 1;
  #watched: WatchedCluster | undefined;
  #telling: typeof TELLINGS[number] = "brief";
  #lost: Selection[] = [];
  #held: Selection[] = [];

  /** The cluster; it begins when it is first asked for. */
  get watched(): WatchedCluster {
    this.#watched ??= this.#begin();
    return this.#watched;
  }

  /** The cores. */
  get cluster(): CoreCluster {
    return this.watched.cluster;
  }

  /** How much the transcript tells from now on. */
  set telling(telling: typeof TELLINGS[number]) {
    this.#telling = telling;
  }

  /** Adds members that do not exist yet. */
  addMembers(kind: Member["kind"], ids: NodeSet, options: Record<string, readonly number[]>): void {
    this.#assertNotBegun();
    if (ids === "all") throw new Error("members are named by their numbers");
    const term = options["term"]?.[0];
    const hardState = term === undefined ? undefined : { currentTerm: term, votedFor: undefined };
    for (const id of ids) {
      if (this.#members.some((member) => member.id === id)) {
        throw new Error(`node ${id} is a member already`);
      }
      this.#members.push({ id, kind, hardState, log: options["log"] ?? [] });
    }
  }

  /** Changes bounds of the members. */
  bound(bounds: Partial<ReplicationBounds>): void {
    this.#assertNotBegun();
    this.#bounds = { ...this.#bounds, ...bounds };
  }

  /** Election timeouts are drawn from this. */
  seed(seed: number): void {
    this.#assertNotBegun();
    this.#seed = seed;
  }

  /** The members of a set. */
  members(ids: NodeSet): readonly NodeId[] {
    const { ids: all } = this.watched;
    if (ids === "all") return all;
    const stranger = ids.find((id) => !all.includes(id));
    if (stranger !== undefined) throw new Error(`there is no node ${stranger}`);
    return ids;
  }

  /** The node, which must be a member that runs. */
  running(id: NodeId): NodeId {
    this.members([id]);
    if (!this.cluster.node(id).running) throw new Error(`node ${id} is down`);
    return id;
  }

  /** The core of a member. */
  core(id: NodeId): RaftCore {
    return this.cluster.core(id);
  }

  /** Which messages a command speaks of: `NODES -> NODES [TYPES]`. */
  link(words: Words): Selection {
    const from = this.members(words.ids());
    words.literal("->");
    const to = this.members(words.ids());
    const types = words.types();
    return (envelope) =>
      from.includes(envelope.message.from) && to.includes(envelope.to) &&
      (types.length === 0 || types.includes(envelope.message.type));
  }

  /** Takes the messages under way that a command speaks of; there must be one. */
  take(words: Words): Envelope[] {
    const taken = this.cluster.take(this.link(words));
    if (taken.length === 0) throw new Error("no such message is under way");
    return taken;
  }

  /** Loses such messages from now on. */
  lose(selection: Selection): void {
    this.#lost.push(selection);
  }

  /** Holds such messages from now on. */
  hold(selection: Selection): void {
    this.#held.push(selection);
  }

  /** Loses and holds nothing from now on. */
  heal(): void {
    this.#lost = [];
    this.#held = [];
  }

  /** Adds a line about a message that arrives or is lost at a command. */
  tell({ to, message }: Envelope, fate: string): void {
    this.cluster.say("recv", to, `<- ${message.from}  ${describeMessage(message)}${fate}`);
  }

  /** A client proposes a text; the watch tells commands apart by their texts. */
  propose(id: NodeId, text: string): void {
    if (this.#texts.has(text)) throw new Error(`"${text}" was proposed before`);
    this.#texts.add(text);
    const outcome = this.watched.propose(id, text);
    const answer = outcome.accepted
      ? `index ${outcome.firstIndex}@t${outcome.term}`
      : `refused, ${outcome.reason}`;
    this.cluster.say("client", id, `propose ${text} -> ${answer}`);
  }

  /**
   * Checks what must hold after every command.
   *
   * @throws {Error} If a promise of Raft is broken.
   */
  check(): void {
    this.#watched?.check();
  }

  /** Takes the lines that the command has caused so far. */
  takeLines(): string[] {
    const lines = this.#watched?.cluster.transcript.splice(0) ?? [];
    return this.#telling === "nothing" ? [] : lines;
  }

  #begin(): WatchedCluster {
    const members = (kind: Member["kind"]): NodeId[] =>
      this.#members.filter((member) => member.kind === kind).map(({ id }) => id);
    const voters = members("voter");
    if (voters.length === 0) throw new Error("there are no voters");
    const watched = new WatchedCluster({
      seed: this.#seed,
      bounds: this.#bounds,
      voters,
      learners: members("learner"),
      logs: Object.fromEntries(this.#members.map(({ id, log }) => [id, log])),
      hardStates: Object.fromEntries(
        this.#members.flatMap(({ id, hardState }) =>
          hardState === undefined ? [] : [[id, hardState]]
        ),
      ),
    });
    watched.cluster.isLost = (envelope) => this.#lost.some((isIt) => isIt(envelope));
    watched.cluster.isHeld = (envelope) => this.#held.some((isIt) => isIt(envelope));
    watched.cluster.isTold = (message) => this.#telling === "all" || !isQuiet(message);
    return watched;
  }

  #assertNotBegun(): void {
    if (this.#watched !== undefined) throw new Error("the cluster has begun already");
  }
}
