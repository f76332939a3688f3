/**
 * Golden data directories: what a release has written, and every later release must read. Each is a
 * member's whole directory, with `expected.json` beside it.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { DEFAULT_BOUNDS } from "../../machines/bounds.ts";
import { encodeCommand } from "../../storage/kv/command.ts";
import type { CommandResult } from "../../storage/kv/command_result.ts";
import { KvStore } from "../../storage/kv/kv_store.ts";
import type { Once } from "../../storage/kv/once.ts";
import { openDataDirectory } from "../../storage/log/data_directory.ts";
import { StoredPeerIdentities } from "../../storage/log/peer_identities.ts";
import { LoneGroup } from "../actors/lone_group.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { commandOf } from "../storage/kv/command_of.ts";

/** What a golden directory's state must be. */
export interface Expected {
  readonly revision: number;
  readonly lastApplied: number;
  readonly currentTerm: number;
  readonly votedFor: number;
  /** The log's base: the entries up to it are in the snapshots only. */
  readonly base: number;
  readonly stateHash: string;
  /** Keys, and their values in hexadecimal digits. */
  readonly keys: readonly (readonly [key: string, value: string])[];
  /** Requests that were applied, with a session or an idempotency key, and the revisions of their results. */
  readonly once: readonly (readonly [request: string, revision: number])[];
}

/** Whose directory it is. */
export const OWNER = { clusterId: "lone", nodeId: 1, members: [1, 2] } as const;

const WRITES = 70;
const SESSION: Once = { type: "session", clientId: "client", sequence: 1 };
const IDEMPOTENCY_KEY: Once = { type: "idempotencyKey", key: "key", fingerprint: "print" };

/** Makes a directory with all that today's formats hold, and what is expected of it. */
export function makeDirectory(): { readonly disk: MemoryDisk; readonly expected: Expected } {
  const disk = new MemoryDisk({ later: (run) => run() });
  disk.place = disk.innerPlace = undefined;
  const directory = openDataDirectory(disk, {
    ...OWNER,
    clusterIdSource: "configured",
    newDirectoryId: "golden-1",
  });
  const group = new LoneGroup<CommandResult, KvStore>(new KvStore(), {
    disk,
    snapshotAfter: { bytes: 6_000, entries: 1_000 },
    segmentBytes: 1_500,
    packBytesMin: 80,
    bounds: { ...DEFAULT_BOUNDS, trailingBytes: 0 },
  });
  directory.noteLogBegun();
  StoredPeerIdentities.open(disk, directory.directoryId).recognise(2, "golden-2");
  group.lead();
  const once: [string, number][] = [];
  const propose = (request: Uint8Array): number => {
    const answers = group.propose(...request);
    group.pass(2);
    const [answer] = answers;
    assert(answer?.status === "ok");
    return answer.revision;
  };
  for (let at = 0; at < WRITES; at++) {
    const value = Uint8Array.from({ length: 4 * at }, (_, byte) => byte % 4 === 0 ? byte : at);
    const put = { type: "put", key: `k${at % 12}`, value, contentType: "text/plain" } as const;
    propose(encodeCommand(commandOf(put)));
    if (at === 10) { for (const each of [SESSION, IDEMPOTENCY_KEY]) remember(each); }
  }
  propose(encodeCommand(commandOf({ type: "append", key: "k0", value: new Uint8Array([1, 2]) })));
  propose(encodeCommand(commandOf({ type: "delete", key: "k5" })));
  group.pass(50);
  assertEquals(group.failures, []);
  // The process is killed: its locks are gone, and all that it wrote was synced.
  disk.crash(() => 0);
  const { core, machine } = group.host;
  const { currentTerm, votedFor } = core.context;
  return {
    disk,
    expected: {
      ...{ revision: machine.revision, lastApplied: machine.lastApplied, currentTerm, once },
      ...{ votedFor: votedFor!, base: core.state.log.base.index, stateHash: machine.stateHash() },
      keys: keysOf(machine),
    },
  };

  function remember(each: Once): void {
    const append = {
      type: "append",
      key: `once ${each.type}`,
      value: new Uint8Array([7]),
    } as const;
    const request = encodeCommand(commandOf(append, { once: each }));
    once.push([request.toHex(), propose(request)]);
  }
}

/** The keys of a store as they are expected. */
export function keysOf(machine: KvStore): [key: string, value: string][] {
  return Array.from(machine.range({ limit: 1_000 }), ({ key, value }) => [key, value.toHex()]);
}
