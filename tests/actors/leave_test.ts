import { assert, assertEquals } from "@std/assert";
import { LeaveTaking } from "../../actors/leave.ts";
import { LEAVE_MS_MAX, LEAVING_NODE_MS_MAX } from "../../actors/limits.ts";
import { ActorSystem } from "../../actors/runtime/system.ts";
import type { ActorWire } from "../../transport/wire/messages.ts";
import { VirtualPorts } from "./virtual_ports.ts";

/** Node 1, whose links to other nodes hand on or hold back what is sent. */
class Node {
  readonly ports = new VirtualPorts();
  readonly sent: ActorWire[] = [];
  readonly system = new ActorSystem({
    node: 1,
    ports: this.ports,
    log: () => {},
    onFailed: ({ error }) => {
      throw error;
    },
  });
  readonly leave = new LeaveTaking(this.system, this.ports);

  constructor() {
    this.system.connect({ send: (_, message) => this.sent.push(message) > 0 });
  }

  hears(payload: { readonly type: string; readonly node?: number | string }): void {
    const to = { from: 2, group: 0, name: "leave" };
    this.system.deliver(2, { type: "ActorCall", callId: 1, ...to, payload });
    this.ports.advance(0);
  }
}

Deno.test("a node that says that it leaves is believed until its link is lost, and answered", () => {
  const node = new Node();
  assert(!node.leave.isLeaving(2));
  node.hears({ type: "Leaving", node: 2 });
  assert(node.leave.isLeaving(2));
  assert(!node.leave.isLeaving(3));
  assertEquals(node.sent, [{ type: "ActorReply", from: 1, callId: 1, payload: true }]);
  node.leave.linkLost(2);
  assert(!node.leave.isLeaving(2));
});

Deno.test("LEAVING_NODE_MS_MAX: one that does not go takes requests again", () => {
  const node = new Node();
  node.hears({ type: "Leaving", node: 2 });
  node.ports.advance(LEAVING_NODE_MS_MAX - 1);
  assert(node.leave.isLeaving(2));
  node.ports.advance(1);
  assert(!node.leave.isLeaving(2));
});

Deno.test("what is no leave changes nothing", () => {
  const node = new Node();
  node.hears({ type: "Leaving" });
  node.hears({ type: "Leaving", node: "2" });
  node.hears({ type: "Stop", node: 2 });
  assert(!node.leave.isLeaving(2));
  assertEquals(node.sent.map(({ type }) => type), ["ActorFail", "ActorFail", "ActorFail"]);
});

Deno.test("LEAVE_MS_MAX: a stop waits no longer for who does not answer", async () => {
  const node = new Node();
  let isOver = false;
  const told = node.leave.tell([2, 3]).then(() => isOver = true);
  assertEquals(node.sent.map((wire) => "payload" in wire && wire.payload), [
    { type: "Leaving", node: 1 },
    { type: "Leaving", node: 1 },
  ]);
  node.ports.advance(LEAVE_MS_MAX - 1);
  await Promise.resolve();
  assert(!isOver);
  node.ports.advance(2);
  await told;
});
