/**
 * What a refusal means to the operator, where its name does not say it.
 *
 * @module
 */
import type { NodeId } from "../machines/raft_types.ts";

const ADVICE = "Bring the old directory back as it was; if it is lost, ";

/** Whether a refusal means that one of the two has lost its data directory. */
export function isLostDirectory(reason: string | undefined): boolean {
  return reason === "wrong-directory" || reason === "wrong-target-directory";
}

/**
 * A sentence for a refusal whose cause is a lost data directory; undefined for any other.
 *
 * The two nodes of a link read the same reason from opposite sides. The node that dialled was
 * refused by its peer: "wrong-directory" then means this node's directory. The node that answered
 * has refused its peer: "wrong-directory" then means the peer's directory.
 */
export function refusalText(
  { reason, dials, peer }: {
    readonly reason: string;
    /** Whether this side dialled. */
    readonly dials: boolean;
    readonly peer: NodeId;
  },
): string | undefined {
  if (!isLostDirectory(reason)) return undefined;
  const lostByPeer = (reason === "wrong-target-directory") === dials;
  return lostByPeer
    ? `node ${peer} has another data directory than when this node first met it: its disk was ` +
      `lost or replaced, and the votes and acknowledged writes on it too. ${ADVICE}` +
      `"kv member replace ${peer}", and start it with an empty directory and --join`
    : `node ${peer} has met this node with another data directory: this node's disk was lost or ` +
      `replaced, and the votes and acknowledged writes on it too. ${ADVICE}` +
      '"kv member replace" with its id, and start it with an empty directory and --join';
}
