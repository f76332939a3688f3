/**
 * How a process that stops takes leave of the other members, so that no call to it is lost.
 *
 * A call that is on its way when the link closes has an unknown outcome: the caller cannot tell whether
 * it was read. So a process that stops says first that it leaves. Who hears so forwards nothing to it any
 * more, and answers. A link keeps the order of what goes over it, so that by the answer all that was
 * forwarded has arrived. It is answered, and then the process takes leave once more: by the second answer
 * what it has sent has arrived, too, and the link may close.
 *
 * A member of an older build does not know the word and refuses it. Its calls may be lost as before.
 *
 * @module
 */
import type { NodeId } from "../machines/raft_types.ts";
import { isWireObject, type WireValue } from "../transport/wire/messages.ts";
import { FAIL_STOP } from "./group.ts";
import { LEAVE_MS_MAX, LEAVING_NODE_MS_MAX } from "./limits.ts";
import { Actor, type Delivery } from "./runtime/actor.ts";
import type { Ports } from "./runtime/ports.ts";
import type { ActorSystem } from "./runtime/system.ts";

const ADDRESS = { name: "leave", group: 0 } as const;

/** What a process says that stops. */
interface Leaving {
  readonly type: "Leaving";
  readonly node: NodeId;
}

function leavingOf(value: WireValue): Leaving | undefined {
  if (!isWireObject(value) || value["type"] !== "Leaving") return undefined;
  const { node } = value;
  return typeof node === "number" ? { type: "Leaving", node } : undefined;
}

class LeaveActor extends Actor<Leaving, true> {
  readonly #note: (node: NodeId) => void;

  constructor(note: (node: NodeId) => void) {
    super();
    this.#note = note;
  }

  override receive(batch: readonly Delivery<Leaving, true>[]): void {
    for (const delivery of batch) {
      this.#note(delivery.message.node);
      delivery.reply(true);
    }
  }
}

/** Who is leaving, and how this process does. */
export class LeaveTaking {
  readonly #system: ActorSystem;
  readonly #clock: Ports["clock"];
  /** Who has said that it stops, and until when that is believed. */
  readonly #untilMs = new Map<NodeId, number>();

  /** Hears the others from now on. */
  constructor(system: ActorSystem, { clock }: Pick<Ports, "clock">) {
    this.#system = system;
    this.#clock = clock;
    system.spawn<Leaving, true>({
      ...ADDRESS,
      supervision: FAIL_STOP,
      create: () =>
        new LeaveActor((node) => {
          this.#untilMs.set(node, clock.monotonicMs() + LEAVING_NODE_MS_MAX);
        }),
      remote: leavingOf,
    });
  }

  /** Whether nothing is to be forwarded to the node, since it stops. */
  isLeaving(node: NodeId): boolean {
    return this.#clock.monotonicMs() < (this.#untilMs.get(node) ?? -Infinity);
  }

  /** The link to the node is gone. The next one is to a process that stays. */
  linkLost(node: NodeId): void {
    this.#untilMs.delete(node);
  }

  /** Tells the nodes that this one leaves. Resolves once each has answered, is gone, or was too slow. */
  async tell(nodes: readonly NodeId[]): Promise<void> {
    await Promise.all(nodes.map((node) =>
      new Promise<void>((resolve) => {
        const message: Leaving = { type: "Leaving", node: this.#system.node };
        this.#system.ref<Leaving, true>({ ...ADDRESS, node }).ask(
          message,
          { timeoutMs: LEAVE_MS_MAX },
          () => resolve(),
        );
      })
    ));
  }
}
