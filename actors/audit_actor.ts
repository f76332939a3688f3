/**
 * The corruption alarm of one group: replicas that applied the same entries must hold the same state.
 *
 * Every AUDIT_ENTRIES entries a node remembers its state's hash. Again and again it asks the other
 * voters for theirs, and compares at the last index that both remember. A difference means that memory,
 * a disk or this program has changed a state behind Raft's back: it is an error line and a metric at
 * once, never silence. Nobody can tell from two states which one is right. A node whose state differs
 * from those of a majority of the voters is taken for wrong, and is not ready any more.
 *
 * @module
 */
import { majority } from "../machines/quorum.ts";
import type { GroupId, LogIndex, NodeId } from "../machines/raft_types.ts";
import { isWireObject, type WireValue } from "../transport/wire/messages.ts";
import { AUDIT_HASHES_KEPT, AUDIT_MS } from "./limits.ts";
import { Actor, type ActorRef, type Delivery, type LocalRef } from "./runtime/actor.ts";
import type { AnswerContract } from "./runtime/remote.ts";
import type { Log, Ports, TimerHandle } from "./runtime/ports.ts";

/** What other nodes may ask. */
export interface AuditRequest {
  readonly type: "Hashes";
}

/** The hashes that a node remembers, ascending by index. */
export interface AuditAnswer {
  readonly hashes: readonly { readonly index: LogIndex; readonly hash: string }[];
}

/** What this node's own actors say. */
export type AuditSignal =
  /** The state after this entry. */
  | { readonly type: "Applied"; readonly index: LogIndex; readonly hash: string }
  /** It is time to ask the others. */
  | { readonly type: "Ask" }
  | { readonly type: "Heard"; readonly from: NodeId; readonly answer: AuditAnswer };

/** A voter whose state differs from this node's, and where. */
export interface Difference {
  readonly peer: NodeId;
  readonly index: LogIndex;
  readonly own: string;
  readonly theirs: string;
}

/** What the actor needs. */
export interface AuditActorOptions {
  readonly id: NodeId;
  readonly group: GroupId;
  readonly voters: () => readonly NodeId[];
  /** The audit actor of the group on another node. */
  readonly auditOn: (node: NodeId) => ActorRef<AuditRequest, AuditAnswer>;
  readonly ports: Ports;
  readonly log: Log;
  readonly self: () => LocalRef<AuditRequest, AuditAnswer, AuditSignal>;
}

const HASH = /^[0-9a-f]{16}$/;

/** Hosts the alarm of one group. */
export class AuditActor extends Actor<AuditRequest, AuditAnswer, AuditSignal> {
  /** Comparisons that found equal states. */
  compared = 0;
  readonly #options: AuditActorOptions;
  /** Ascending by index. */
  #hashes: { readonly index: LogIndex; readonly hash: string }[] = [];
  readonly #differences = new Map<NodeId, Difference>();
  #timer: TimerHandle | undefined;

  /** Compares the states of one group. */
  constructor(options: AuditActorOptions) {
    super();
    this.#options = options;
  }

  /** The voters whose states differ from this node's. */
  get differences(): readonly Difference[] {
    return [...this.#differences.values()];
  }

  /** Whether a majority of the voters holds another state than this node. */
  get isWrong(): boolean {
    return this.#differences.size >= majority(this.#options.voters().length);
  }

  override onStart(): void {
    this.#askSoon();
  }

  override onStop(): void {
    if (this.#timer !== undefined) this.#options.ports.timers.clear(this.#timer);
  }

  override receive(batch: readonly Delivery<AuditRequest | AuditSignal, AuditAnswer>[]): void {
    for (const delivery of batch) {
      const { message } = delivery;
      switch (message.type) {
        case "Hashes":
          delivery.reply({ hashes: this.#hashes });
          break;
        case "Applied":
          this.#remember(message);
          break;
        case "Ask":
          this.#ask();
          break;
        case "Heard":
          this.#compare(message.from, message.answer);
          break;
      }
    }
  }

  #remember({ index, hash }: { readonly index: LogIndex; readonly hash: string }): void {
    // An answer that is on its way holds the array as it was.
    this.#hashes = [...this.#hashes.slice(1 - AUDIT_HASHES_KEPT), { index, hash }];
  }

  #askSoon(): void {
    const { ports, self } = this.#options;
    this.#timer = ports.timers.set(AUDIT_MS, () => self().signal({ type: "Ask" }));
  }

  #ask(): void {
    const { id, voters, auditOn, self } = this.#options;
    this.#askSoon();
    for (const from of voters()) {
      if (from === id) continue;
      auditOn(from).ask({ type: "Hashes" }, { timeoutMs: AUDIT_MS }, (outcome) => {
        // Who cannot be asked now is asked again.
        if (outcome.ok) self().signal({ type: "Heard", from, answer: outcome.value });
      });
    }
  }

  #compare(peer: NodeId, { hashes }: AuditAnswer): void {
    const { group, log } = this.#options;
    const common = hashes.findLast((theirs) =>
      this.#hashes.some(({ index }) => index === theirs.index)
    );
    if (common === undefined) return;
    const { index, hash: theirs } = common;
    const own = this.#hashes.find((it) => it.index === index)!.hash;
    if (own === theirs) {
      this.compared++;
      this.#differences.delete(peer);
      return;
    }
    const isKnown = this.#differences.has(peer);
    this.#differences.set(peer, { peer, index, own, theirs });
    if (isKnown) return;
    log("error", "state-differs", {
      ...{ group, peer, index, own, theirs },
      next: "compare the stateHash of all members; stop the one that is alone with its state, " +
        "remove its wal and snapshots, and start it: it fetches the state from the others",
    });
  }
}

/** The request that another node's value stands for; undefined if it stands for none. */
export function auditRequestOf(value: WireValue): AuditRequest | undefined {
  return isWireObject(value) && value["type"] === "Hashes" ? { type: "Hashes" } : undefined;
}

/** The answer that another node's value stands for; undefined if it stands for none. */
export const auditAnswerOf: AnswerContract<AuditAnswer> = (value) => {
  if (!isWireObject(value)) return undefined;
  const { hashes } = value;
  if (!Array.isArray(hashes) || hashes.length > AUDIT_HASHES_KEPT) return undefined;
  const isSound = hashes.every((item: WireValue) =>
    isWireObject(item) && Number.isSafeInteger(item["index"]) && typeof item["hash"] === "string" &&
    HASH.test(item["hash"])
  );
  return isSound ? value as unknown as AuditAnswer : undefined;
};
