/**
 * Peers over the network in memory, on virtual time: greeting, refusals, health, reconnection.
 *
 * @module
 */
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import { assert, assertEquals, assertInstanceOf, assertMatch, assertThrows } from "@std/assert";
import { Actor, type Delivery, UnreachableError } from "../../actors/runtime/actor.ts";
import {
  COMPRESSION,
  type CompressionMode,
  UNGREETED_CONNECTIONS_MAX,
  WARNED_FAILURES,
} from "../../actors/limits.ts";
import { Peers, type PeersOptions } from "../../actors/peers.ts";
import { ActorSystem, type SystemFailure } from "../../actors/runtime/system.ts";
import {
  BACK_OFF_MS_MAX,
  BACK_OFF_MS_MIN,
  DIAL_MS_MAX,
  GREETING_MS_MAX,
  IDLE_MS_MAX,
  REFUSED_MS,
  SUSPECT_MS_MAX,
} from "../../machines/peer_machine.ts";
import type { NodeId, RaftMessage } from "../../machines/raft_types.ts";
import { DiskError } from "../../storage/log/disk.ts";
import { StoredPeerIdentities } from "../../storage/log/peer_identities.ts";
import { compress } from "../../storage/compression.ts";
import { createCodec } from "../../transport/wire/codec.ts";
import { packFrame } from "../../transport/wire/packed_frame.ts";
import { FRAME_HEADER_BYTES, PROTOCOL_VERSIONS } from "../../transport/wire/limits.ts";
import type { CloseReason, Connection, HostPort } from "../../transport/wire/network.ts";
import type {
  Hello,
  HelloReply,
  RefusalReason,
  WireMessage,
} from "../../transport/wire/messages.ts";
import { MemoryDisk } from "../sim/memory_disk.ts";
import { MemoryNetwork } from "../sim/memory_network.ts";
import { Dice } from "../sim/random.ts";
import { plainRecords } from "../transport/plain_records.ts";
import { memoryLog, VirtualPorts } from "./virtual_ports.ts";

const CLUSTER = "test";

class Recorder extends Actor<unknown, unknown> {
  readonly seen: unknown[] = [];

  override receive(batch: readonly Delivery<unknown, unknown>[]): void {
    for (const delivery of batch) {
      this.seen.push(delivery.message);
      delivery.reply(delivery.message);
    }
  }
}

class Node {
  readonly system: ActorSystem;
  readonly peers: Peers;
  readonly raft = new Recorder();
  readonly links: string[] = [];
  readonly failures: SystemFailure[] = [];
  readonly logged = memoryLog();
  readonly identities: StoredPeerIdentities;

  constructor(
    world: World,
    id: NodeId,
    options: {
      readonly others: readonly NodeId[];
      readonly clusterId?: string;
      readonly build?: Build;
    },
  ) {
    const { ports } = world;
    this.identities = world.identities(id);
    this.system = new ActorSystem({
      node: id,
      ports,
      log: this.logged.log,
      onFailed: (failure) => this.failures.push(failure),
    });
    const raft = this.system.spawn<unknown, unknown>({
      name: "raft",
      group: 0,
      create: () => this.raft,
      supervision: { policy: "stop-system" },
      remote: (value) => value,
    });
    this.peers = Peers.start({
      listen: addressOf(id),
      self: id,
      clusterId: options.clusterId ?? CLUSTER,
      identities: this.identities,
      peers: new Map(options.others.map((other) => [other, addressOf(other)])),
      network: world.network,
      system: this.system,
      onRaft: (message) => void raft.cast(message),
      createCodec: () => createCodec(plainRecords),
      ...options.build,
      ports,
      log: this.logged.log,
      onLink: (peer, link) => this.links.push(`${peer} ${link}`),
    });
  }

  refusalOf(peer: NodeId): string | undefined {
    return this.peers.status().peers.find((status) => status.peer === peer)?.context.refusal;
  }

  stateOf(peer: NodeId): string | undefined {
    return this.peers.status().peers.find((status) => status.peer === peer)?.state;
  }
}

/** What a release of the program speaks. */
type Build = Pick<
  PeersOptions,
  "versions" | "createCodec" | "compression" | "isSaidRemoved" | "directoryOf"
>;

/** The release before packed frames. */
const firstBuild: Build = {
  versions: { min: 1, max: 1 },
  createCodec: () => createCodec(plainRecords),
};

/** A release that is one version on: in version 2 it appends a field to every message. */
function laterBuild(spoken: number[]): Build {
  return {
    versions: { min: 1, max: 2 },
    createCodec: (version) => {
      const codec = createCodec(plainRecords);
      return {
        decode: (body) => codec.decode(body),
        encode: (message) => {
          const frame = codec.encode(message);
          const isGreeting = message.type === "Hello" || message.type === "HelloReply";
          if (isGreeting) return frame;
          spoken.push(version);
          return version === 1 ? frame : withField(frame);
        },
      };
    },
  };
}

/** The frame with one more element in its array, which has fewer than fifteen. */
function withField(frame: Uint8Array): Uint8Array {
  const longer = new Uint8Array(frame.length + 1);
  longer.set(frame);
  longer[FRAME_HEADER_BYTES]!++;
  longer[frame.length] = 42;
  new DataView(longer.buffer).setUint32(0, longer.length - FRAME_HEADER_BYTES);
  return longer;
}

class World {
  readonly ports = new VirtualPorts();
  readonly network = new MemoryNetwork(this.ports.scheduler);

  /** What the nodes' directories hold; `wipe` replaces one. */
  readonly #directories = new Map<NodeId, { readonly disk: MemoryDisk; readonly id: string }>();
  /** Disk operations of this type fail. */
  failing: string | undefined;

  /** The memory of a node, as a process that starts reads it. */
  identities(id: NodeId): StoredPeerIdentities {
    if (!this.#directories.has(id)) this.wipe(id, directoryOf(id));
    const { disk, id: directoryId } = this.#directories.get(id)!;
    return StoredPeerIdentities.open(disk, directoryId);
  }

  /** The node's directory is lost, and another one is in its place. */
  wipe(id: NodeId, directoryId: string): void {
    const disk = new MemoryDisk({
      fault: ({ type, path }) =>
        type === this.failing
          ? new DiskError("Cannot write: planted", { code: "io", path })
          : undefined,
    });
    this.#directories.set(id, { disk, id: directoryId });
  }

  node(id: NodeId, others: readonly NodeId[], clusterId = CLUSTER, build?: Build): Node {
    return new Node(this, id, { others, clusterId, ...(build === undefined ? {} : { build }) });
  }

  /** Nodes 1 and 2, connected. */
  pair(): [Node, Node] {
    const nodes: [Node, Node] = [this.node(1, [2]), this.node(2, [1])];
    this.ports.settle();
    assertEquals(nodes.map((node) => node.links), [["2 up"], ["1 up"]]);
    return nodes;
  }

  stranger(to: NodeId): Stranger {
    return new Stranger(this, addressOf(to));
  }
}

/** A program that dials a node and is no node itself. */
class Stranger {
  readonly connection: Connection;
  readonly received: WireMessage[] = [];
  readonly closes: CloseReason[] = [];
  readonly #codec = createCodec(plainRecords);

  constructor(world: World, to: HostPort) {
    this.connection = world.network.dial(to, {
      onFrame: (body) => this.received.push(this.#codec.decode(body)),
      onClose: (reason) => this.closes.push(reason),
    });
    world.ports.settle();
  }

  send(message: WireMessage): void {
    this.connection.send(this.#codec.encode(message));
  }

  hello(fields: Partial<Hello> = {}): void {
    const hello: Hello = {
      type: "Hello",
      magic: "STCF",
      versionMin: 1,
      versionMax: 1,
      clusterId: CLUSTER,
      from: 2,
      to: 1,
      incarnation: 7,
      directoryId: directoryOf(2),
      toDirectoryId: undefined,
      clusterVersionMax: 1,
    };
    this.send({ ...hello, ...fields });
  }
}

function directoryOf(id: NodeId): string {
  return `directory-${id}`;
}

function addressOf(id: NodeId): HostPort {
  return { hostname: "node", port: 7_000 + id };
}

function timeoutNow(from: NodeId, term = 1): RaftMessage {
  return { type: "TimeoutNow", group: 0, term, from };
}

Deno.test("peers: the larger id dials, messages of a group reach its raft actor, both ways", () => {
  const world = new World();
  const [one, two] = world.pair();
  assertEquals([one.stateOf(2), two.stateOf(1)], ["connected.healthy", "connected.healthy"]);
  assert(one.peers.send(2, timeoutNow(1)));
  assert(two.peers.send(1, timeoutNow(2)));
  world.ports.settle();
  assertEquals(one.raft.seen, [timeoutNow(2)]);
  assertEquals(two.raft.seen, [timeoutNow(1)]);
  const [status] = one.peers.status().peers;
  assertEquals(status!.incarnation, two.peers.status().incarnation);
  assertEquals([status!.counters.linksUp, status!.counters.violations], [1, 0]);
});

Deno.test("versions: members are upgraded one by one, and speak what both ends know", () => {
  const world = new World();
  const ids = [1, 2, 3];
  const spoken: number[] = [];
  const start = (id: NodeId, build = firstBuild): Node =>
    world.node(id, ids.filter((other) => other !== id), CLUSTER, build);
  const members = new Map(ids.map((id) => [id, start(id)]));
  const versions = (): unknown[] =>
    ids.map((id) => members.get(id)!.peers.status().peers.map(({ version }) => version));
  let term = 0;
  const everyoneHearsEveryone = (): void => {
    world.ports.advance(2 * BACK_OFF_MS_MAX);
    world.ports.settle();
    term++;
    for (const [id, { peers }] of members) {
      for (const other of ids) {
        if (other !== id) assert(peers.send(other, timeoutNow(id, term)), `${id} to ${other}`);
      }
    }
    world.ports.settle();
    for (const [id, { raft, peers }] of members) {
      const heard = (raft.seen as RaftMessage[]).filter((message) => message.term === term);
      assertEquals(heard.map(({ from }) => from).toSorted(), ids.filter((other) => other !== id));
      assertEquals(peers.status().peers.map(({ counters }) => counters.violations), [0, 0]);
    }
  };
  everyoneHearsEveryone();
  assertEquals(versions(), [[1, 1], [1, 1], [1, 1]]);
  const expected = [
    [[1, 1], [1, 1], [1, 1]],
    [[1, 1], [1, 2], [1, 2]],
    [[2, 2], [2, 2], [2, 2]],
  ];
  [2, 3, 1].forEach((id, upgraded) => {
    members.get(id)!.peers.stop();
    world.ports.settle();
    members.set(id, start(id, laterBuild(spoken)));
    everyoneHearsEveryone();
    assertEquals(versions(), expected[upgraded], `after ${upgraded + 1} upgrades`);
  });
  assertEquals(new Set(spoken), new Set([1, 2]));
  // A release that no longer speaks version 1 is welcome now; one of version 1 is not any more.
  members.get(3)!.peers.stop();
  world.ports.settle();
  members.set(3, start(3, { ...laterBuild(spoken), versions: { min: 2, max: 3 } }));
  everyoneHearsEveryone();
  members.get(1)!.peers.stop();
  world.ports.settle();
  members.set(1, start(1));
  world.ports.advance(2 * BACK_OFF_MS_MAX);
  world.ports.settle();
  assertEquals(members.get(3)!.refusalOf(1), "wrong-version");
  assertEquals(members.get(1)!.stateOf(2), "connected.healthy");
});

Deno.test("peers: a call goes to another node's actor and back", () => {
  const world = new World();
  const [one] = world.pair();
  const outcomes: unknown[] = [];
  one.system.ref({ node: 2, name: "raft", group: 0 })
    .ask({ hello: ["there"] }, { timeoutMs: 100 }, (outcome) => outcomes.push(outcome));
  world.ports.settle();
  assertEquals(outcomes, [{ ok: true, value: { hello: ["there"] } }]);
});

Deno.test("peers: what cannot be sent is dropped, counted and, if it is our mistake, logged once", () => {
  const world = new World();
  const one = world.node(1, [2]);
  assertEquals(one.peers.send(2, timeoutNow(1)), false);
  assertEquals(one.peers.send(9, timeoutNow(1)), false);
  const two = world.node(2, [1]);
  world.ports.settle();
  const ref = two.system.ref<unknown, unknown>({ node: 1, name: "raft", group: 0 });
  assertEquals([ref.cast(() => 1), ref.cast(null)], [false, false]);
  assertEquals(ref.cast("fine"), true);
  const { counters } = two.peers.status().peers[0]!;
  assertEquals([counters.unencodable, counters.droppedFrames], [2, 2]);
  assertEquals(one.peers.status().peers[0]!.counters.droppedFrames, 1);
  const lines = two.logged.lines.filter((line) => line.includes("message-unencodable"));
  assertEquals(lines.length, 1);
});

const REFUSALS: readonly { fields: Partial<Hello>; refusal: RefusalReason }[] = [
  { fields: { magic: "HTTP" }, refusal: "wrong-magic" },
  { fields: { versionMin: 3, versionMax: 4 }, refusal: "wrong-version" },
  { fields: { clusterId: "another" }, refusal: "wrong-cluster" },
  { fields: { to: 3 }, refusal: "wrong-target" },
  { fields: { from: 5 }, refusal: "unknown-node" },
];

for (const { fields, refusal } of REFUSALS) {
  Deno.test(`hello: ${refusal} is answered with its reason and changes nothing`, () => {
    const world = new World();
    const node = world.node(1, [2]);
    const before = JSON.stringify(node.peers.status().peers);
    for (let i = 0; i < 3; i++) {
      const stranger = world.stranger(1);
      stranger.hello(fields);
      world.ports.settle();
      const { incarnation } = node.peers.status();
      const reply = {
        type: "HelloReply",
        from: 1,
        incarnation,
        refusal,
        directoryId: directoryOf(1),
        version: 0,
        clusterVersionMax: CLUSTER_VERSIONS.max,
      };
      assertEquals(stranger.received, [reply as HelloReply]);
      assertEquals(stranger.closes.length, 1);
    }
    assertEquals(JSON.stringify(node.peers.status().peers), before);
    assertEquals(node.peers.status().greeter.refused, 3);
    const lines = node.logged.lines.filter((line) => line.includes("connection-refused"));
    assertEquals(lines.length, 1, "logged once");
    assert(lines[0]!.includes(refusal));
    assertEquals(node.links, []);
  });
}

Deno.test("hello: wrong-direction, for the smaller id must not dial", () => {
  const world = new World();
  const node = world.node(2, [1]);
  const stranger = world.stranger(2);
  stranger.hello({ from: 1, to: 2 });
  world.ports.settle();
  const [reply] = stranger.received;
  assertEquals(reply?.type === "HelloReply" && reply.refusal, "wrong-direction");
  assertEquals(node.links, []);
});

Deno.test("hello: a refused dialler asks rarely, says so once, and is welcome when it belongs", () => {
  const world = new World();
  const one = world.node(1, [2], "another");
  const two = world.node(2, [1]);
  world.ports.settle();
  assertEquals(two.stateOf(1), "refused");
  assertEquals(two.peers.status().peers[0]!.context.refusal, "wrong-cluster");
  world.ports.advance(3 * REFUSED_MS + 10);
  assertEquals(one.peers.status().greeter.refused, 4);
  assertEquals(two.logged.lines.filter((line) => line.includes("hello-refused")).length, 1);
  one.peers.stop();
  world.node(1, [2]);
  world.ports.advance(REFUSED_MS + BACK_OFF_MS_MAX);
  assertEquals(two.links, ["1 up"]);
});

Deno.test("lost directory: who is dialled by the lost node refuses it, and says why once", () => {
  const world = new World();
  const [one, two] = world.pair();
  two.peers.stop();
  world.ports.settle();
  world.wipe(2, "new");
  const lost = world.node(2, [1]);
  world.ports.advance(3 * REFUSED_MS + 10);
  assertEquals([one.links, lost.links], [["2 up", "2 lost"], []]);
  assertEquals([one.stateOf(2), lost.stateOf(1)], ["waiting", "refused"]);
  assertEquals(one.refusalOf(2), "wrong-directory");
  assertEquals(lost.refusalOf(1), "wrong-directory");
  const refusals = one.logged.lines.filter((line) => line.includes("connection-refused"));
  assertEquals(refusals.length, 1, "logged once");
  assertMatch(refusals[0]!, /^error .*node 2 has another data directory.*Bring the old directory/);
  const told = lost.logged.lines.filter((line) => line.includes("hello-refused"));
  assertEquals(told.length, 1, "logged once");
  assertMatch(told[0]!, /^error .*node 1 has met this node with another data directory/);
});

Deno.test("lost directory: who dials the lost node is refused by it, and says why once", () => {
  const world = new World();
  const [one, two] = world.pair();
  one.peers.stop();
  world.ports.settle();
  world.wipe(1, "new");
  const lost = world.node(1, [2]);
  world.ports.advance(3 * REFUSED_MS + 10);
  assertEquals([two.links, lost.links], [["1 up", "1 lost"], []]);
  assertEquals([two.stateOf(1), lost.stateOf(2)], ["refused", "waiting"]);
  assertEquals(two.refusalOf(1), "wrong-target-directory");
  assertEquals(lost.refusalOf(2), "wrong-target-directory");
  const told = two.logged.lines.filter((line) => line.includes("hello-refused"));
  assertEquals(told.length, 1, "logged once");
  assertMatch(told[0]!, /^error .*node 1 has another data directory.*Bring the old directory/);
  const refusals = lost.logged.lines.filter((line) => line.includes("connection-refused"));
  assertEquals(refusals.length, 1, "logged once");
  assertMatch(refusals[0]!, /^error .*node 2 has met this node with another data directory/);
});

Deno.test("lost directory: the dialler does not rely on the lost node to notice", () => {
  const world = new World();
  const [one, two] = world.pair();
  one.peers.stop();
  const codec = createCodec(plainRecords);
  world.network.listen(addressOf(1), (connection) => ({
    onFrame: () => {
      const welcome = {
        from: 1,
        incarnation: 1,
        refusal: undefined,
        directoryId: "new",
        version: 1,
        clusterVersionMax: 1,
      };
      connection.send(codec.encode({ type: "HelloReply", ...welcome }));
      connection.send(codec.encode(timeoutNow(1)));
    },
    onClose: () => {},
  }));
  world.ports.advance(BACK_OFF_MS_MAX);
  assertEquals([two.stateOf(1), two.refusalOf(1)], ["refused", "wrong-target-directory"]);
  assertEquals([two.links, two.raft.seen], [["1 up", "1 lost"], []]);
});

Deno.test("a directory in the place of a removed one is heard as a leader only, whoever dials", () => {
  for (const [away, renewed] of [[1, 2], [2, 1]] as const) {
    const world = new World();
    for (const node of world.pair()) node.peers.stop();
    world.ports.settle();
    world.wipe(renewed, "new");
    const said = new Set<string>();
    const one = world.node(away, [renewed], CLUSTER, {
      createCodec: () => createCodec(plainRecords),
      isSaidRemoved: (id) => said.has(id),
    });
    const other = world.node(renewed, [away]);
    world.ports.advance(2 * REFUSED_MS);
    assertEquals(one.links, [], "it is let in though nobody says anything");
    said.add(directoryOf(renewed));
    world.ports.advance(2 * REFUSED_MS);
    assertEquals([one.links, other.links], [[`${renewed} up`], [`${away} up`]]);
    const from = { group: 0, term: 1, from: renewed };
    const heartbeat: RaftMessage = {
      ...from,
      ...{ type: "AppendEntries", prevLogIndex: 0, prevLogTerm: 0, leaderCommit: 0, round: 0 },
      runs: [],
    };
    const vote: RaftMessage = { ...from, type: "RequestVoteReply", granted: true };
    const acceptance: RaftMessage = {
      ...from,
      ...{ type: "AppendEntriesReply", accepted: true, matchIndex: 7, round: 0 },
      ...{ prevLogIndex: 0, conflictTerm: 0, conflictIndex: 0 },
    };
    for (const message of [vote, acceptance, heartbeat, timeoutNow(renewed)]) {
      assert(other.peers.send(away, message));
    }
    assert(one.peers.send(renewed, timeoutNow(away)));
    world.ports.settle();
    assertEquals(one.raft.seen.map((message) => (message as RaftMessage).type), ["AppendEntries"]);
    assertEquals(other.raft.seen, [timeoutNow(away)]);
    // One more lost directory is not in that place.
    said.add("new");
    other.peers.stop();
    world.ports.settle();
    world.node(renewed, [away]);
    world.ports.advance(2 * REFUSED_MS + BACK_OFF_MS_MAX);
    assertEquals(one.links, [`${renewed} up`, `${renewed} lost`]);
  }
});

Deno.test("a node that never met a peer goes by the directory that the configuration names", () => {
  for (const [newcomer, lost] of [[1, 2], [2, 1]] as const) {
    const world = new World();
    world.wipe(lost, "new");
    const one = world.node(newcomer, [lost], CLUSTER, {
      createCodec: () => createCodec(plainRecords),
      directoryOf: () => directoryOf(lost),
    });
    const impostor = world.node(lost, [newcomer]);
    world.ports.advance(2 * REFUSED_MS);
    assertEquals([one.links, one.identities.of(lost)], [[], undefined]);
    impostor.peers.stop();
    world.ports.settle();
    world.wipe(lost, directoryOf(lost));
    world.node(lost, [newcomer]);
    world.ports.advance(2 * REFUSED_MS);
    assertEquals([one.links, one.identities.of(lost)], [[`${lost} up`], directoryOf(lost)]);
  }
});

Deno.test("lost directory: the old one is welcome again, and a restart forgets nothing", () => {
  const world = new World();
  const [one, two] = world.pair();
  one.peers.stop();
  two.peers.stop();
  world.ports.settle();
  const again = world.node(1, [2]);
  const stranger = world.stranger(1);
  stranger.hello({ directoryId: "new" });
  world.ports.settle();
  assertEquals([again.refusalOf(2), again.links], ["wrong-directory", []]);
  world.node(2, [1]);
  world.ports.advance(REFUSED_MS);
  assertEquals([again.refusalOf(2), again.links], [undefined, ["2 up"]]);
});

Deno.test("lost directory: a connection that is up stays while an impostor is refused", () => {
  const world = new World();
  const [one] = world.pair();
  const stranger = world.stranger(1);
  stranger.hello({ directoryId: "new" });
  world.ports.settle();
  assertEquals([one.links, one.stateOf(2)], [["2 up"], "connected.healthy"]);
  assertEquals(one.refusalOf(2), "wrong-directory");
});

Deno.test("lost directory: two that never met greet each other, whatever one of them lost before", () => {
  const world = new World();
  const [one, two] = world.pair();
  one.peers.stop();
  two.peers.stop();
  world.ports.settle();
  for (const id of [1, 2]) world.wipe(id, `new-${id}`);
  const nodes = [world.node(1, [2]), world.node(2, [1])];
  world.ports.advance(BACK_OFF_MS_MAX);
  assertEquals(nodes.map(({ links }) => links), [["2 up"], ["1 up"]]);
});

Deno.test("hello: who cannot be remembered is not greeted, and the process stops", () => {
  for (const failingNode of [1, 2]) {
    const world = new World();
    const one = world.node(1, [2]);
    world.ports.settle();
    if (failingNode === 1) world.failing = "sync";
    const two = world.node(2, [1]);
    if (failingNode === 2) {
      // The greeter's disk takes it, then the dialler's does not.
      one.identities.recognise(2, directoryOf(2));
      world.failing = "sync";
    }
    world.ports.settle();
    const failed = failingNode === 1 ? one : two;
    assertEquals(failed.failures.map(({ error }) => error.message), ["Cannot write: planted"]);
    assertEquals([failed.links, failed.raft.seen], [[], []]);
  }
});

Deno.test("hello: anything else as first frame closes the connection unanswered", () => {
  const world = new World();
  const node = world.node(1, [2]);
  const first: WireMessage[] = [
    timeoutNow(2),
    { type: "Ping", id: 1 },
    {
      type: "HelloReply",
      from: 2,
      incarnation: 1,
      refusal: undefined,
      directoryId: "d",
      version: 1,
      clusterVersionMax: 1,
    },
    { type: "ActorCast", from: 2, group: 0, name: "raft", payload: 1 },
  ];
  for (const message of first) {
    const stranger = world.stranger(1);
    stranger.send(message);
    world.ports.settle();
    assertEquals([stranger.received, stranger.closes.length], [[], 1]);
  }
  const garbage = world.stranger(1);
  garbage.connection.send(new Uint8Array([0, 0, 0, 1, 0xc1]));
  world.ports.settle();
  assertEquals(garbage.closes.length, 1);
  assertEquals(node.peers.status().greeter.garbage, first.length + 1);
  assertEquals(node.raft.seen, []);
});

Deno.test("hello: who keeps silent is closed in time, and at once when there are too many", () => {
  const world = new World();
  const node = world.node(1, [2]);
  const silent = Array.from({ length: UNGREETED_CONNECTIONS_MAX }, () => world.stranger(1));
  assertEquals(node.peers.status().ungreeted, UNGREETED_CONNECTIONS_MAX);
  const oneMore = world.stranger(1);
  const [first, ...others] = silent;
  assertEquals([first!.closes.length, oneMore.closes.length], [1, 0]);
  assertEquals(node.peers.status().ungreeted, UNGREETED_CONNECTIONS_MAX);
  assertEquals(node.peers.status().greeter.turnedAway, 1);
  world.ports.advance(GREETING_MS_MAX);
  assert([...others, oneMore].every((stranger) => stranger.closes.length === 1));
  assertEquals(node.peers.status().ungreeted, 0);
  assertEquals(node.peers.status().greeter.silent, UNGREETED_CONNECTIONS_MAX);
});

Deno.test("hello: those who keep silent keep no peer out", () => {
  const world = new World();
  const node = world.node(1, [2]);
  for (let count = 0; count < 2 * UNGREETED_CONNECTIONS_MAX; count++) world.stranger(1);
  world.node(2, [1]);
  world.ports.settle();
  assertEquals(node.links, ["2 up"]);
});

Deno.test("peers: a message with another's from closes the connection and is not delivered", () => {
  const world = new World();
  const node = world.node(1, [2, 3]);
  const forged: WireMessage[] = [
    timeoutNow(3),
    { type: "ActorCast", from: 3, group: 0, name: "raft", payload: 1 },
    {
      type: "Hello",
      magic: "STCF",
      versionMin: 1,
      versionMax: 1,
      clusterId: CLUSTER,
      from: 2,
      to: 1,
      incarnation: 7,
      directoryId: directoryOf(2),
      toDirectoryId: undefined,
      clusterVersionMax: 1,
    },
  ];
  for (const message of forged) {
    const stranger = world.stranger(1);
    stranger.hello();
    stranger.send(message);
    world.ports.settle();
    assertEquals(stranger.closes.length, 1);
  }
  assertEquals(node.raft.seen, []);
  assertEquals(node.peers.status().peers[0]!.counters.violations, 3);
  assertEquals(node.links, ["2 up", "2 lost", "2 up", "2 lost", "2 up", "2 lost"]);
});

Deno.test("peers: a frame that does not decode closes the connection; the peer comes back", () => {
  const world = new World();
  const node = world.node(1, [2]);
  const stranger = world.stranger(1);
  stranger.hello();
  stranger.connection.send(new Uint8Array([0, 0, 0, 2, 0x91, 99]));
  world.ports.settle();
  assertEquals([stranger.closes.length, node.stateOf(2)], [1, "waiting"]);
  const again = world.stranger(1);
  again.hello();
  world.ports.settle();
  assertEquals(node.stateOf(2), "connected.healthy");
  assertEquals(node.failures, []);
});

Deno.test("peers: what a link has taken arrives, all of it and in order", () => {
  const world = new World();
  const [one, two] = world.pair();
  const before = two.raft.seen.length;
  const sent = Array.from({ length: 500 }, (_, at) => ({ ...timeoutNow(1), term: at + 1 }));
  for (const message of sent) assert(one.peers.send(2, message));
  world.ports.settle();
  assertEquals(two.raft.seen.slice(before), sent);
});

Deno.test("peers: a newer connection replaces one that is half open", () => {
  const world = new World();
  const node = world.node(1, [2]);
  const old = world.stranger(1);
  old.hello();
  world.ports.settle();
  const fresh = world.stranger(1);
  fresh.hello({ incarnation: 8 });
  world.ports.settle();
  assertEquals(node.links, ["2 up", "2 lost", "2 up"]);
  assertEquals([old.closes.length, fresh.closes.length], [1, 0]);
  assertEquals(node.peers.status().peers[0]!.incarnation, 8);
  node.peers.send(2, timeoutNow(1));
  world.ports.settle();
  assertEquals(fresh.received.map(({ type }) => type), ["HelloReply", "TimeoutNow"]);
  assertEquals(old.received.map(({ type }) => type), ["HelloReply"]);
});

Deno.test("peers: a killed process is dialled again with back-off until it is back", () => {
  const world = new World();
  const [one, two] = world.pair();
  one.peers.stop();
  world.ports.settle();
  assertEquals(two.links, ["1 up", "1 lost"]);
  assertEquals(two.stateOf(1), "backingOff");
  world.ports.advance(60_000);
  const failures = two.logged.lines.filter((line) => line.includes("peer-unreachable"));
  assertEquals(failures.length, 1, "logged once, not at each attempt");
  const reborn = world.node(1, [2]);
  world.ports.advance(BACK_OFF_MS_MAX);
  assertEquals([two.stateOf(1), reborn.stateOf(2)], ["connected.healthy", "connected.healthy"]);
  assertEquals(two.links, ["1 up", "1 lost", "1 up"]);
  assertEquals(two.peers.status().peers[0]!.context.failures, 0);
});

Deno.test("peers: a peer that starts a moment later is no warning", () => {
  const world = new World();
  const early = world.node(2, [1]);
  world.ports.advance(3 * BACK_OFF_MS_MIN);
  const dialled = (): boolean => early.peers.status().peers[0]!.context.failures > 0;
  assert(dialled(), "nothing was dialled");
  const late = world.node(1, [2]);
  world.ports.advance(BACK_OFF_MS_MAX);
  assertEquals([early.stateOf(1), late.stateOf(2)], ["connected.healthy", "connected.healthy"]);
  assertEquals(early.logged.lines.filter((line) => line.startsWith("warn")), []);
  late.peers.stop();
  world.ports.settle();
  for (let failures = 1; failures <= WARNED_FAILURES; failures++) {
    assertEquals(early.peers.status().peers[0]!.context.failures, failures);
    const warnings = early.logged.lines.filter((line) => line.startsWith("warn"));
    assertEquals(warnings.length, failures < WARNED_FAILURES ? 0 : 1);
    while (early.peers.status().peers[0]!.context.failures === failures) world.ports.advance(1);
  }
});

Deno.test("peers: silence is suspected, pinged, and at last taken for a lost link, on both sides", () => {
  const world = new World();
  const [one, two] = world.pair();
  world.ports.advance(10 * IDLE_MS_MAX);
  assertEquals([one.links, two.links], [["2 up"], ["1 up"]], "pings keep a quiet link");
  world.network.silence(addressOf(1));
  const outcomes: unknown[] = [];
  one.system.ref({ node: 2, name: "raft", group: 0 }).ask(1, { timeoutMs: 60_000 }, (outcome) => {
    outcomes.push(outcome.ok ? "answered" : outcome.error);
  });
  world.ports.advance(2 * IDLE_MS_MAX + SUSPECT_MS_MAX);
  assertEquals([one.links.at(-1), two.links.at(-1)], ["2 lost", "1 lost"]);
  assertInstanceOf(outcomes[0], UnreachableError);
  assertEquals(outcomes[0].outcome, "unknown");
  world.network.restore(addressOf(1));
  world.ports.advance(DIAL_MS_MAX + BACK_OFF_MS_MAX);
  assertEquals([one.links.at(-1), two.links.at(-1)], ["2 up", "1 up"]);
  assertEquals([one.failures, two.failures], [[], []]);
});

Deno.test("peers: a suspected link is healthy again with the first frame", () => {
  const world = new World();
  const node = world.node(1, [2]);
  const stranger = world.stranger(1);
  stranger.hello();
  world.ports.settle();
  world.ports.advance(IDLE_MS_MAX);
  assertEquals(node.stateOf(2), "connected.suspect");
  const ping = stranger.received.at(-1);
  assert(ping?.type === "Ping");
  world.ports.advance(20);
  stranger.send({ type: "Pong", id: ping.id });
  world.ports.settle();
  assertEquals(node.stateOf(2), "connected.healthy");
  assertEquals(node.peers.status().peers[0]!.rttMs, 20);
  world.ports.advance(IDLE_MS_MAX + SUSPECT_MS_MAX);
  assertEquals(node.stateOf(2), "waiting");
});

Deno.test("peers: a stall of our own is not held against the peer", () => {
  const world = new World();
  const node = world.node(1, [2]);
  const stranger = world.stranger(1);
  stranger.hello();
  world.ports.settle();
  world.ports.advance(IDLE_MS_MAX);
  assertEquals(node.stateOf(2), "connected.suspect");
  // The frame is there, but this process stands still, and its timer is due before it reads.
  stranger.send(timeoutNow(2));
  world.ports.stall(2 * SUSPECT_MS_MAX);
  world.ports.fireDue();
  world.ports.settle();
  assertEquals([node.stateOf(2), node.links], ["connected.healthy", ["2 up"]]);
  assertEquals(node.raft.seen, [timeoutNow(2)]);
});

Deno.test("peers: a peer that accepts and never greets is given up and dialled again", () => {
  const world = new World();
  let accepted = 0;
  world.network.listen(addressOf(1), () => {
    accepted++;
    return { onFrame: () => {}, onClose: () => {} };
  });
  const two = world.node(2, [1]);
  world.ports.settle();
  assertEquals(two.stateOf(1), "greeting");
  world.ports.advance(3 * (GREETING_MS_MAX + BACK_OFF_MS_MAX));
  assert(accepted >= 3, String(accepted));
  assertEquals(two.links, []);
});

Deno.test("peers: a reply that is none, or another node's, is no welcome", () => {
  const replies: WireMessage[] = [
    {
      type: "HelloReply",
      from: 3,
      incarnation: 1,
      refusal: undefined,
      directoryId: "d",
      version: 1,
      clusterVersionMax: 1,
    },
    // A version that this node never offered.
    {
      type: "HelloReply",
      from: 1,
      incarnation: 1,
      refusal: undefined,
      directoryId: "d",
      version: 3,
      clusterVersionMax: 1,
    },
    timeoutNow(1),
  ];
  for (const reply of replies) {
    const world = new World();
    const codec = createCodec(plainRecords);
    world.network.listen(addressOf(1), (connection) => ({
      onFrame: () => void connection.send(codec.encode(reply)),
      onClose: () => {},
    }));
    const two = world.node(2, [1]);
    world.ports.settle();
    assertEquals([two.stateOf(1), two.links, two.raft.seen], ["backingOff", [], []]);
  }
});

/** A build that compresses as it is told. */
const builds = (mode: CompressionMode, version: number = PROTOCOL_VERSIONS.max): Build => ({
  versions: { min: 1, max: version },
  createCodec: () => createCodec(plainRecords),
  compression: COMPRESSION[mode],
});

/** What a node has sent to its only peer, and what compression did to it. */
function sentBy({ peers }: Node): { readonly sentBytes: number; readonly plainBytes: number } {
  const { counters: { sentBytes, compression } } = peers.status().peers[0]!;
  return { sentBytes, plainBytes: compression.plainBytes };
}

Deno.test("packed frames: between members that know them, whatever each is set to", () => {
  const large = "x".repeat(500_000);
  for (
    const [one, two, arePacked] of [
      [builds("always"), builds("always"), [true, true]],
      [builds("always"), builds("off"), [true, false]],
      [builds("always"), builds("always", 1), [false, false]],
      [builds("off"), builds("off"), [false, false]],
      // Nothing waits on the connection, so nothing is compressed.
      [builds("adaptive"), builds("adaptive"), [false, false]],
    ] as const
  ) {
    const world = new World();
    const nodes = [world.node(1, [2], CLUSTER, one), world.node(2, [1], CLUSTER, two)];
    world.ports.settle();
    nodes.forEach((node, at) => {
      assert(node.system.ref({ node: 2 - at, name: "raft", group: 0 }).cast(large));
    });
    world.ports.settle();
    assertEquals(nodes.map(({ raft }) => raft.seen), [[large], [large]]);
    nodes.forEach((node, at) => {
      const { sentBytes, plainBytes } = sentBy(node);
      assertEquals([sentBytes < 50_000, plainBytes > 500_000], [arePacked[at], arePacked[at]]);
    });
  }
});

Deno.test("packed frames: what waits is compressed, and a small frame is not", () => {
  const world = new World();
  const one = world.node(1, [2], CLUSTER, builds("adaptive"));
  const two = world.node(2, [1], CLUSTER, builds("off"));
  world.ports.settle();
  const { frameBytesMin, frameWaitBytesMin } = COMPRESSION.adaptive;
  const peer = one.system.ref({ node: 2, name: "raft", group: 0 });
  const noise = new Dice(1);
  const random = Uint8Array.from({ length: frameWaitBytesMin }, () => noise.below(256));
  const letters = "x".repeat(frameBytesMin);
  assert(peer.cast(random));
  assertEquals(sentBy(one).plainBytes, 0);
  for (const text of ["small", letters]) assert(peer.cast(text));
  const { plainBytes } = sentBy(one);
  assert(plainBytes >= frameBytesMin && plainBytes < frameBytesMin + 100, `${plainBytes}`);
  world.ports.settle();
  assertEquals(two.raft.seen, [random, "small", letters]);
});

Deno.test("hostile: packed frames that lie end the connection, and nobody unpacks one of a stranger", () => {
  const cast = (payload: string): Uint8Array =>
    createCodec(plainRecords).encode({
      ...{ type: "ActorCast", from: 2, group: 0, name: "raft", payload },
    });
  const packedOf = (frame: Uint8Array): Uint8Array =>
    packFrame(frame, { compress: (body) => compress(body, 1) })!;
  const sound = packedOf(cast("x".repeat(5_000)));
  /** The frame with another length in it, of those that need three bytes. */
  const saying = (length: number): Uint8Array => {
    const frame = sound.slice();
    assertEquals(frame[FRAME_HEADER_BYTES + 2], 0xcd);
    new DataView(frame.buffer).setUint16(FRAME_HEADER_BYTES + 3, length);
    return frame;
  };
  const damaged = sound.slice();
  damaged.fill(0xff, damaged.length - 10);
  for (const greets of [true, false]) {
    for (
      const frame of [
        ...[saying(0), saying(4_999), saying(60_000), damaged],
        // Packed twice, and with bytes behind it.
        packedOf(packedOf(cast("x".repeat(500_000)))),
        withField(sound),
        ...(greets ? [] : [sound]),
      ]
    ) {
      const world = new World();
      const node = world.node(1, [2]);
      const stranger = world.stranger(1);
      if (greets) stranger.hello({ versionMax: 2 });
      world.ports.settle();
      stranger.connection.send(frame);
      world.ports.settle();
      assertEquals([stranger.closes.length, node.raft.seen], [1, []]);
    }
  }
  const world = new World();
  const node = world.node(1, [2]);
  const stranger = world.stranger(1);
  stranger.hello({ versionMax: 2 });
  stranger.connection.send(sound);
  world.ports.settle();
  assertEquals([stranger.closes.length, node.raft.seen], [0, ["x".repeat(5_000)]]);
});

Deno.test("peers: large frames are for the greeted only", () => {
  const world = new World();
  const [one, two] = world.pair();
  const large = "x".repeat(500_000);
  assert(two.system.ref({ node: 1, name: "raft", group: 0 }).cast(large));
  assert(one.system.ref({ node: 2, name: "raft", group: 0 }).cast(large));
  world.ports.settle();
  assertEquals([one.raft.seen, two.raft.seen], [[large], [large]]);
  const stranger = world.stranger(1);
  stranger.hello({ clusterId: "a".repeat(4_096) });
  world.ports.settle();
  assertEquals([stranger.closes.length, stranger.received], [1, []]);
});

Deno.test("peers: one that is removed is refused, one that is added is dialled", () => {
  const world = new World();
  const [one, two] = world.pair();
  one.peers.remove(2);
  one.peers.remove(2);
  world.ports.settle();
  assertEquals(one.links, ["2 up", "2 lost"]);
  world.ports.advance(BACK_OFF_MS_MAX);
  assertEquals(two.stateOf(1), "refused");
  one.peers.add(2, [addressOf(2)]);
  assertThrows(() => one.peers.add(2, [addressOf(2)]), RangeError, "Cannot add peer 2");
  assertThrows(() => one.peers.add(1, [addressOf(1)]), RangeError, "Cannot add peer 1");
  world.ports.advance(REFUSED_MS);
  assertEquals(one.links.at(-1), "2 up");
});

Deno.test("peers: stop leaves nothing behind", () => {
  const world = new World();
  const [one, two] = world.pair();
  world.stranger(1);
  one.peers.stop();
  one.peers.stop();
  two.peers.stop();
  world.ports.settle();
  assertEquals([one.links, two.links], [["2 up", "2 lost"], ["1 up", "1 lost"]]);
  assertEquals(world.ports.armedTimers, 0);
  world.ports.advance(60_000);
  assertEquals([one.failures, two.failures], [[], []]);
});

Deno.test("peers: a cluster id that is none and an address that is taken are refused", () => {
  const world = new World();
  assertThrows(() => world.node(1, [2], "Not An Id"), RangeError, "Cannot start peers");
  world.node(1, [2]);
  assertThrows(() => world.node(1, [2]), Error, "Cannot listen");
});

Deno.test("peers: three nodes, three connections, whoever comes first", () => {
  const world = new World();
  const nodes = [3, 1, 2].map((id) => world.node(id, [1, 2, 3]));
  world.ports.advance(BACK_OFF_MS_MAX);
  for (const node of nodes) {
    const { self, peers } = node.peers.status();
    assertEquals(peers.map(({ peer }) => peer), [1, 2, 3].filter((id) => id !== self));
    assert(peers.every(({ state }) => state === "connected.healthy"));
    assert(peers.every(({ counters }) => counters.linksUp === 1));
  }
});
