/**
 * Drives a bare core with one event of the chart at a time, so that the core can be compared with
 * the chart it hosts.
 *
 * What the core computes for the chart is arranged beforehand: the time, the deadline that is due,
 * whose log is up-to-date, whether a leader was heard.
 *
 * @module
 */
import { foundingConfig } from "../../machines/group_config.ts";
import { DEFAULT_TIMING, type GroupState } from "../../machines/group_state.ts";
import { RaftCore } from "../../machines/raft_core.ts";
import { RaftLog } from "../../machines/raft_log.ts";
import type { RaftEvent, RaftInput } from "../../machines/raft_machine.ts";
import { recordFormat } from "../../storage/log/wal_record.ts";
import { runsOfTerms } from "./core_cluster.ts";

/** Long after every deadline and every contact. */
const LONG_MS = 10 * DEFAULT_TIMING.electionTimeoutMsMax;
/** Above every term and index that an exploration reaches. */
const FAR = 1_000;

/** A core with one entry of term 1, and a way to make it take a given event. */
export class CoreDriver {
  readonly core: RaftCore;
  readonly #state: GroupState;
  #isGiven = false;

  constructor(input: RaftInput) {
    const log = new RaftLog();
    for (const run of runsOfTerms([1])) log.append(run);
    this.core = new RaftCore({
      id: input.id,
      currentTerm: input.currentTerm,
      votedFor: input.votedFor,
      config: foundingConfig(input),
      group: 0,
      timing: DEFAULT_TIMING,
      records: recordFormat,
      random: () => 0.5,
      log,
      nowMs: 0,
    });
    this.#state = this.core.state as GroupState;
    const raise = this.#state.raise.bind(this.#state);
    // What a changed log says of the members is an event of its own, which comes when it is given.
    this.#state.raise = (event) => {
      if (event.type !== "MembersChanged" || this.#isGiven) raise(event);
    };
  }

  /** Makes the core take the event in a turn of its own. */
  take(event: RaftEvent): void {
    this.core.beginTurn(this.#state.nowMs + 1);
    this.#feed(event);
    this.core.endTurn();
  }

  #feed(event: RaftEvent): void {
    const { core } = this;
    const state = this.#state;
    switch (event.type) {
      case "HigherTerm":
        // A reply that no follower reacts to, so that nothing but its term matters.
        return core.receive({
          type: "RequestVoteReply",
          group: 0,
          from: 2,
          term: event.term,
          granted: false,
        });
      case "StaleTerm":
        return core.receive(event.message);
      case "ElectionTimeout":
        return this.#elapse("election");
      case "HeartbeatTimeout":
        return this.#elapse("heartbeat");
      case "TransferTimeout":
        return this.#elapse("transfer");
      case "QuorumLost":
        core.beginTurn(state.nowMs + LONG_MS);
        return this.#elapse("quorum");
      case "EntriesDurable":
      case "VoteDurable":
        // The core itself raises them, of the writes that it has handed out.
        return this.#raise(event);
      case "Propose":
        return void core.propose(event.requests);
      case "MachineDue":
        return core.machineDue();
      case "RaiseClusterVersion":
        return core.raiseClusterVersion(event.version);
      case "Read":
        return core.read(event.readIds);
      case "TransferLeadership":
        return core.transfer(event.to);
      case "PeerRenewed":
        return core.peerRenewed(event.peer);
      case "ChangeMembers":
      case "MembersChanged":
      case "JointCommitted":
      case "LearnersReady":
      case "LeaderDemoted":
      case "MemberRemoved":
      case "TargetCaughtUp":
      case "VoterHeard":
      case "CaughtUp":
        // Only the core itself raises it.
        return this.#raise(event);
      case "LogLost":
      case "RecoveryTimeout":
        return this.#raise(event);
      case "SnapshotDue":
        return core.snapshotDue();
      case "SnapshotTaken":
        return core.snapshotTaken(event.snapshot, event.before);
      case "SnapshotFailed":
        return core.snapshotFailed();
      case "SnapshotReceived":
        return core.snapshotReceived(event.snapshot, event.config);
      case "SnapshotRefused":
        return core.snapshotRefused();
      case "SnapshotLost":
        return core.snapshotLost(event.snapshot);
      case "SnapshotOffered":
      case "SnapshotOutdated":
        // Only the core itself raises it.
        return this.#raise(event);
      case "SpaceLow":
      case "SpaceNone":
      case "SpaceEnough":
        return core.space(event.type);
      case "DiskSlow":
      case "DiskStalled":
      case "DiskRecovered":
        return core.disk(event.type);
      case "RequestVote":
      case "PreVote": {
        const lastLogTerm = event.logIsUpToDate ? FAR : 0;
        if (event.type === "RequestVote") {
          state.leaderContactMs = state.nowMs - LONG_MS;
          return core.receive({ ...event, lastLogTerm });
        }
        state.leaderContactMs = state.nowMs - (event.leaderIsAlive ? 0 : LONG_MS);
        return core.receive({ ...event, lastLogTerm });
      }
      default:
        return core.receive(event);
    }
  }

  /** Has the chart take an event that only rules raise, behind one that changes nothing. */
  #raise(event: RaftEvent): void {
    this.#isGiven = true;
    this.#state.raise(event);
    this.#isGiven = false;
    this.core.read([]);
  }

  /** Has one deadline pass and no other. What is due in a role that is over is raised as it is. */
  #elapse(due: "election" | "heartbeat" | "quorum" | "transfer"): void {
    const state = this.#state;
    const { leadership } = state;
    if (due === "election") {
      if (state.electionDeadlineMs === undefined) return this.#raise({ type: "ElectionTimeout" });
      state.electionDeadlineMs = state.nowMs;
      return this.core.elapse();
    }
    if (leadership === undefined) {
      const types = {
        heartbeat: "HeartbeatTimeout",
        quorum: "QuorumLost",
        transfer: "TransferTimeout",
      } as const;
      return this.#raise({ type: types[due] });
    }
    const farMs = state.nowMs + LONG_MS;
    leadership.heartbeatDeadlineMs = due === "heartbeat" ? state.nowMs : farMs;
    leadership.quorumDeadlineMs = due === "quorum" ? state.nowMs : farMs;
    leadership.transferDeadlineMs = due === "transfer" ? state.nowMs : undefined;
    this.core.elapse();
  }
}
