/**
 * The hello between simulated nodes. The simulated network carries messages without connections, so
 * the hello is modelled: when processes start, and before a message is delivered, both nodes ask the product's own memory
 * (storage/log/peer_identities.ts) whether they know the other's data directory.
 *
 * @module
 */
import type { SimNode } from "./sim_node.ts";

/** Who has greeted whom. */
export class Greetings {
  /** Pairs of directories of which both sides took the other. */
  readonly #agreed = new Set<string>();

  /**
   * Whether a message sent from this directory of the sender reaches the receiver, which runs. Asked
   * at every delivery, so that each pair of lives asks what it read from its own disk.
   */
  admits(
    { sender, sentFrom, receiver }: {
      readonly sender: SimNode;
      readonly sentFrom: string;
      readonly receiver: SimNode;
    },
  ): boolean {
    const pair = pairOf(sentFrom, receiver.directoryId);
    if (sender.identities === undefined || sender.directoryId !== sentFrom) {
      // The process that sent it is gone, and its hello with it: it must have been before.
      return this.#agreed.has(pair) && receiver.recognises(sender.id, sentFrom);
    }
    // Who has met the other speaks first: a node that is refused remembers nobody for it.
    const senderSpeaksFirst = sender.identities.of(receiver.id) !== undefined;
    const asSender = (): boolean => sender.recognises(receiver.id, receiver.directoryId);
    const asReceiver = (): boolean => receiver.recognises(sender.id, sentFrom);
    const isAgreed = senderSpeaksFirst ? asSender() && asReceiver() : asReceiver() && asSender();
    if (isAgreed) this.#agreed.add(pair);
    return isAgreed;
  }

  /** Whether the two nodes have greeted each other in the directories that they have now. */
  haveMet(a: SimNode, b: SimNode): boolean {
    return this.#agreed.has(pairOf(a.directoryId, b.directoryId));
  }
}

function pairOf(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}
