/**
 * How a process follows the members: links, addresses, and whose directories are welcome.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Members, membersHintOf, membersHintValue } from "../../actors/members.ts";
import type { Peers } from "../../actors/peers.ts";
import {
  foundingConfig,
  type GroupConfig,
  type PlacedConfig,
} from "../../machines/group_config.ts";
import { LEAVING_MS_MAX } from "../../machines/leadership.ts";
import type { NodeId } from "../../machines/raft_types.ts";
import { DiskError } from "../../storage/log/disk.ts";
import type { HostPort } from "../../transport/wire/network.ts";
import { formatHostPort } from "../../transport/wire/network.ts";

/** Members of node 1 over links and identities that the test looks at. */
class Bench {
  nowMs = 0;
  isFull = false;
  readonly links = new Map<NodeId, string>();
  readonly known = new Map<NodeId, string>([[2, "d-2"], [3, "d-3"]]);
  readonly renewed: NodeId[] = [];
  readonly members: Members;

  constructor(joined?: PlacedConfig) {
    const first = placed(0, { voters: [1, 2, 3] });
    this.members = new Members(first, {
      self: 1,
      joined,
      given: new Map([[2, { hostname: "given", port: 2 }]]),
      identities: {
        own: "d-1",
        peers: [2, 3],
        of: (peer) => this.known.get(peer),
        recognise: () => true,
        forget: (peer) => {
          if (this.isFull) throw new DiskError("full", { code: "no-space", path: "peers.json" });
          this.known.delete(peer);
        },
      },
      peers: () => this.#peers,
      nowMs: () => this.nowMs,
      onRenewed: (peer) => void this.renewed.push(peer),
      onFault: (error) => {
        throw error;
      },
      onChanged: () => {},
    });
    this.members.tend();
  }

  get #peers(): Peers {
    const add = (peer: NodeId, addresses: readonly HostPort[]): void =>
      void this.links.set(peer, addresses.map(formatHostPort).join());
    return {
      has: (peer: NodeId) => this.links.has(peer),
      add,
      relocate: add,
      remove: (peer: NodeId) => void this.links.delete(peer),
      status: () => ({ peers: [...this.links.keys()].map((peer) => ({ peer })) }),
    } as unknown as Peers;
  }
}

function placed(
  index: number,
  config: Parameters<typeof foundingConfig>[0] & Partial<GroupConfig>,
): PlacedConfig {
  const { voters, learners = [], outgoing = [] } = config;
  const ids = [...new Set([...voters, ...learners, ...outgoing])];
  const members = ids.map((id) => ({ id, raft: `host-${id}:7`, http: "" }));
  const founding = foundingConfig({ voters: ids, members });
  return {
    index,
    config: {
      ...founding,
      clusterVersion: 2,
      ...config,
      learners,
      outgoing,
      members: founding.members,
    },
  };
}

Deno.test("links follow what is in force, committed or not; what the start was given comes last", () => {
  const { members, links } = new Bench();
  assertEquals([...links], [[2, "host-2:7,given:2"], [3, "host-3:7"]]);
  members.follow(placed(5, { voters: [1, 2, 3], learners: [4] }), false);
  assertEquals(links.get(4), "host-4:7");
});

Deno.test("a link to somebody who is no member any more goes after a while, so that it can be told", () => {
  const bench = new Bench();
  bench.members.follow(placed(5, { voters: [1, 2], removed: ["d-3"] }), true);
  assert(bench.links.has(3));
  assertEquals(bench.known.get(3), "d-3");
  bench.nowMs += LEAVING_MS_MAX;
  bench.members.tend();
  bench.members.tend();
  assertEquals([bench.links.has(3), bench.known.has(3)], [false, false]);
  assert(bench.members.isRemoved("d-3"));
});

Deno.test("a lost directory is forgotten only once the configuration without it is committed, and stable", () => {
  const bench = new Bench();
  const removed = ["d-2"];
  bench.members.follow(
    placed(5, { voters: [1, 3], outgoing: [1, 2, 3], learners: [2], removed }),
    true,
  );
  assertEquals([bench.known.get(2), bench.members.isRemoved("d-2")], ["d-2", false]);
  bench.members.follow(placed(6, { voters: [1, 3], learners: [2], removed }), false);
  assertEquals([bench.known.get(2), bench.members.isRemoved("d-2")], ["d-2", false]);
  bench.members.follow(placed(6, { voters: [1, 3], learners: [2], removed }), true);
  assertEquals([bench.known.has(2), bench.members.isRemoved("d-2")], [false, true]);
  // What it had acknowledged counts no more, and the one in its place is linked anew.
  assertEquals([bench.renewed, bench.links.has(2)], [[2], true]);
});

Deno.test("without room on the disk a directory is forgotten later", () => {
  const bench = new Bench();
  bench.isFull = true;
  bench.members.follow(placed(6, { voters: [1, 3], learners: [2], removed: ["d-2"] }), true);
  assertEquals([bench.known.get(2), bench.renewed], ["d-2", []]);
  bench.isFull = false;
  bench.members.tend();
  assertEquals([bench.known.has(2), bench.renewed], [false, [2]]);
});

Deno.test("what a peer says of the members is used for links only, and only if it is newer", () => {
  const bench = new Bench();
  bench.members.follow(placed(5, { voters: [1, 2, 3] }), true);
  bench.members.noteHint(placed(4, { voters: [1, 8] }));
  assert(!bench.links.has(8));
  bench.members.noteHint(placed(9, { voters: [1, 4, 5] }));
  assertEquals([bench.links.has(4), bench.links.has(5)], [true, true]);
  bench.members.noteHint(placed(8, { voters: [1, 9] }));
  assertEquals([bench.links.has(9), bench.members.current.index], [false, 5]);
  // The log has caught up, and says otherwise.
  bench.members.follow(placed(10, { voters: [1, 2, 6] }), false);
  bench.nowMs += LEAVING_MS_MAX;
  bench.members.tend();
  bench.nowMs += LEAVING_MS_MAX;
  bench.members.tend();
  assertEquals([...bench.links.keys()].sort(), [2, 6]);
});

Deno.test("a member that has its removal in its log, and no leader to say more, hears from others that it is committed", () => {
  const bench = new Bench();
  bench.members.follow(placed(7, { voters: [2, 3] }), false);
  assertEquals(bench.members.isAbsent, false);
  bench.members.noteHint(placed(6, { voters: [1, 2, 3] }));
  assertEquals(bench.members.isAbsent, false);
  bench.members.noteHint(placed(7, { voters: [2, 3] }));
  assertEquals(bench.members.isAbsent, true);
});

Deno.test("a configuration that may be dropped helps to find links, and shuts out no committed one", () => {
  const bench = new Bench();
  bench.members.follow(placed(5, { voters: [1, 2, 3] }), true);
  bench.members.noteRumour(placed(20, { voters: [1, 2, 3, 8] }));
  assert(bench.links.has(8));
  // Entry 20 was dropped. Where it was, the cluster has gone another way, and without this node.
  bench.members.noteHint(placed(15, { voters: [2, 3, 4] }));
  assertEquals([bench.links.has(4), bench.members.isAbsent], [true, true]);
  bench.nowMs += LEAVING_MS_MAX;
  bench.members.tend();
  bench.nowMs += LEAVING_MS_MAX;
  bench.members.tend();
  assertEquals(bench.links.has(8), false);
  // A rumour neither takes a removal back, nor is one.
  bench.members.noteRumour(placed(21, { voters: [1, 2, 3, 4] }));
  assertEquals(bench.members.isAbsent, true);
  const other = new Bench();
  other.members.follow(placed(5, { voters: [1, 2, 3] }), true);
  other.members.noteRumour(placed(6, { voters: [2, 3] }));
  assertEquals(other.members.isAbsent, false);
});

Deno.test("a peer's word about removed directories stands beside what HTTP has said of the members", () => {
  const bench = new Bench();
  const config = { voters: [1, 2, 3] };
  bench.members.noteHint(placed(9, config));
  assertEquals(bench.members.isSaidRemoved("d-2"), false);
  bench.members.noteHint(placed(9, { ...config, removed: ["d-2"] }));
  bench.members.noteHint(placed(9, config));
  bench.members.noteHint(placed(8, { ...config, removed: ["d-3"] }));
  assertEquals(["d-2", "d-3"].map((id) => bench.members.isSaidRemoved(id)), [true, false]);
  // It is no more than a word.
  assertEquals([bench.members.isRemoved("d-2"), bench.known.get(2)], [false, "d-2"]);
});

Deno.test("who joined follows what it joined with until its log has come so far", () => {
  const joined = placed(20, { voters: [7, 8], learners: [1] });
  const bench = new Bench(joined);
  bench.members.follow(placed(5, { voters: [2, 3] }), true);
  assert(bench.links.has(7) && bench.links.has(8));
  assertEquals(bench.members.isAbsent, false);
  bench.members.follow(placed(21, { voters: [7, 8] }), true);
  assertEquals(bench.members.isAbsent, true);
});

Deno.test("a removal that is not committed yet is none, and a return in force takes it back", () => {
  const bench = new Bench();
  bench.members.follow(placed(5, { voters: [2, 3] }), false);
  assertEquals(bench.members.isAbsent, false);
  bench.members.follow(placed(5, { voters: [2, 3] }), true);
  assertEquals(bench.members.isAbsent, true);
  bench.members.follow(placed(6, { voters: [2, 3], learners: [1] }), false);
  assertEquals(bench.members.isAbsent, false);
});

Deno.test("a hint is read as it was written, and what is none is refused", () => {
  const said = placed(9, { voters: [1, 4], learners: [5], removed: ["x"] });
  assertEquals(membersHintOf(membersHintValue(said)), { type: "Members", placed: said });
  const value = membersHintValue(said) as Readonly<Record<string, object>>;
  const wrong = [
    undefined,
    7,
    {},
    { ...value, type: "Other" },
    { ...value, index: "9" },
    { ...value, index: 1.5 },
    { ...value, clusterVersion: undefined },
    { ...value, config: {} },
    { ...value, config: { ...value["config"], voters: [99] } },
  ];
  for (const each of wrong) assertEquals(membersHintOf(each as never), undefined);
});
