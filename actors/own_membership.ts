/**
 * What a process does about its own membership: it keeps the members beside the log, tells its peers who
 * they are, finds out whether it is still one of them, and tells the leader where it is if it has moved.
 * Whom it has links to, and where, is {@linkcode Members}'s.
 *
 * @module
 */
import { type Member, MEMBERS_VERSION, storedMembersOf } from "../machines/group_config.ts";
import type { PlacedConfig } from "../machines/group_config.ts";
import { LEAVING_MS_MAX } from "../machines/leadership.ts";
import type { LogIndex, NodeId } from "../machines/raft_types.ts";
import { type Disk, isNoSpace } from "../storage/log/disk.ts";
import { readMembers, writeMembers } from "../storage/log/members_file.ts";
import type { WireValue } from "../transport/wire/messages.ts";
import { FAIL_STOP, type KvGroup } from "./group.ts";
import {
  MemberRemovedError,
  Members,
  MembersActor,
  type MembersHint,
  membersHintOf,
  membersHintValue,
  type MembersOptions,
} from "./members.ts";
import type { Log } from "./runtime/ports.ts";
import type { ActorSystem } from "./runtime/system.ts";

/** A node that listens elsewhere than the members know tells the leader so often. */
const ANNOUNCE_MS = 5_000;
/** The actor that takes what other members say of the members. */
const MEMBERS_ADDRESS = { name: "members", group: 0 } as const;

/** What it needs. */
export interface OwnMembershipOptions extends Omit<MembersOptions, "onFault" | "onChanged"> {
  /** The group whose members are those of the process. */
  readonly host: KvGroup;
  readonly system: ActorSystem;
  readonly disk: Disk;
  /** Where the others, and clients, reach this node. */
  readonly ownAddresses: () => { readonly raft: string; readonly http: string | undefined };
  readonly log: Log;
}

/** See the module. */
export class OwnMembership {
  /** Who the members are. */
  readonly members: Members;
  readonly #options: OwnMembershipOptions;
  /** Since when the members do not name this node, and no leader is known. */
  #absentSinceMs: number | undefined;
  /** The entry whose configuration was logged last. */
  #toldIndex = 0;
  /** The entry whose configuration is kept beside the log. */
  #keptIndex: LogIndex;
  /** What the members had agreed on as this node's addresses when it started. */
  #addressAtStart: string | undefined;
  /** When this node last told the leader its address. */
  #announcedMs = -Infinity;

  /** Takes other members' hints from now on; the links are there once it is tended. */
  constructor(options: OwnMembershipOptions) {
    const { host, system, disk } = options;
    this.#options = options;
    this.#keptIndex = readMembers(disk)?.index ?? 0;
    this.members = new Members(host.core.state.configs.current, {
      ...options,
      onChanged: (placed, isCommitted) => this.#changed(placed, isCommitted),
      onFault: (error) => system.fail(error),
    });
    system.spawn<MembersHint>({
      ...MEMBERS_ADDRESS,
      supervision: FAIL_STOP,
      create: () => new MembersActor((placed) => this.members.noteHint(placed)),
      remote: membersHintOf,
    });
  }

  /** Tells a peer who the members are, as far as this node knows them to be agreed on. */
  tell(peer: NodeId): void {
    const placed = this.members.toTell;
    if (placed === undefined) return;
    const { system } = this.#options;
    system.ref<WireValue>({ ...MEMBERS_ADDRESS, node: peer }).cast(membersHintValue(placed));
  }

  /** To be called again and again: what nothing else gives an occasion for. */
  tend(): void {
    const { host: { core }, joined, log, peers, self } = this.#options;
    this.members.tend();
    this.#write();
    const { config: { members, learners }, index } = this.members.current;
    const { leaderId } = core.context;
    if (leaderId === undefined) peers().knock();
    if (this.members.isAbsent) return this.#noteAbsence(leaderId);
    this.#absentSinceMs = undefined;
    const own = members.find(({ id }) => id === self);
    const isReading = (joined?.index ?? 0) > index;
    const isCatchingUp = isReading ||
      (learners.includes(self) && own !== undefined && !own.staysLearner);
    if (isCatchingUp) {
      const { commitIndex, log: { lastIndex } } = core.state;
      log("info", "catching-up", { entries: lastIndex, committed: commitIndex });
    } else if (own !== undefined && leaderId !== undefined) this.#announceAddress(own, leaderId);
  }

  #changed({ index, config }: PlacedConfig, isCommitted: boolean): void {
    const { clusterVersion, voters, outgoing, learners } = config;
    if (clusterVersion < MEMBERS_VERSION || index === 0) return;
    if (isCommitted) {
      for (const { peer } of this.#options.peers().status().peers) this.tell(peer);
    }
    if (index === this.#toldIndex) return;
    this.#toldIndex = index;
    this.#options.log("info", "members", {
      ...{ index, voters: voters.join() },
      ...(outgoing.length === 0 ? {} : { outgoing: outgoing.join() }),
      ...(learners.length === 0 ? {} : { learners: learners.join() }),
    });
    this.#write();
  }

  /**
   * Keeps the configuration in force beside the log, which may be lost. A full disk has no room for the
   * log's entry either: it is tried again later.
   */
  #write(): void {
    const { disk, host: { core }, system } = this.#options;
    const { index, config } = this.members.current;
    const isNamed = config.clusterVersion >= MEMBERS_VERSION && index > 0;
    // A log that is fetched anew begins with members of long ago. If this node crashes meanwhile, it must
    // still know whom to ask.
    const isOfThePast = core.role === "recovering" && index < this.#keptIndex;
    if (!isNamed || isOfThePast || index === this.#keptIndex) return;
    try {
      writeMembers(disk, storedMembersOf(this.members.current));
      this.#keptIndex = index;
    } catch (error) {
      if (!isNoSpace(error)) system.fail(error as Error);
    }
  }

  /** The members do not name this node. If no leader says otherwise, it ends. */
  #noteAbsence(leaderId: NodeId | undefined): void {
    const { system, self, nowMs } = this.#options;
    this.#absentSinceMs = leaderId === undefined ? this.#absentSinceMs ?? nowMs() : undefined;
    if (nowMs() - (this.#absentSinceMs ?? nowMs()) < LEAVING_MS_MAX) return;
    system.fail(new MemberRemovedError(self));
  }

  /** If this node listens elsewhere than the members have agreed on, it tells the leader. */
  #announceAddress({ raft, http }: Member, leaderId: NodeId): void {
    const { host, ownAddresses, self, nowMs } = this.#options;
    if (this.members.current.config.clusterVersion < MEMBERS_VERSION) return;
    // What an operator has said since this node runs is where it is to go next: that stays.
    this.#addressAtStart ??= `${raft} ${http}`;
    if (this.#addressAtStart !== `${raft} ${http}`) return;
    const own = ownAddresses();
    const ownHttp = own.http ?? http;
    if (own.raft === raft && ownHttp === http) return;
    if (nowMs() - this.#announcedMs < ANNOUNCE_MS) return;
    this.#announcedMs = nowMs();
    const change = { update: [{ id: self, raft: own.raft, http: ownHttp }] };
    host.raftOn(leaderId).ask(
      { type: "ChangeMembers", change, force: false, dryRun: false },
      { timeoutMs: ANNOUNCE_MS },
      // It is asked again as long as the members have agreed on another one.
      () => {},
    );
  }
}
