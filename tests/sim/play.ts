/**
 * Lines of a simulated run that is told as a play: the time, then what kind of line it is, who acts,
 * and what happens.
 *
 *     12.345  send  node 1  -> 2  AppendEntries t1 after 0@t0 [1-1@t1] commit 0
 *     12.911  recv  node 2  <- 1  AppendEntries t1 after 0@t0 [1-1@t1] commit 0
 *     12.911  disk  node 2  append wal/00000000000000000001.wal 84 bytes
 *     13.020  client c3  append c3n7; at k0.1 -> ok @4
 *
 * Heartbeats, and answers that accept, are left out as in the plays of tests/machines.
 *
 * @module
 */
import type { NodeId } from "../../machines/raft_types.ts";
import type { WireMessage } from "../../transport/wire/messages.ts";
import { describeMessage, isQuiet } from "../machines/transcript.ts";
import type { Operation } from "./history.ts";
import type { DiskOperation } from "./memory_disk.ts";
import type { Fate, Way } from "./network.ts";
import { describeRequest, describeResult } from "./timeline.ts";

/** What became of a message; undefined if it would drown the play. */
export function describeFate(
  fate: Fate,
  { from, to }: Way,
  message: WireMessage,
): string | undefined {
  const isRaft = "group" in message && "term" in message;
  if (isRaft && isQuiet(message)) return undefined;
  const text = isRaft ? describeMessage(message) : describeOther(message);
  if (fate === "arrived") return `recv  node ${to}  <- ${from}  ${text}`;
  return `send  node ${from}  -> ${to}  ${text}${fate === "sent" ? "" : ` (${fate})`}`;
}

/** An operation of a node's disk. */
export function describeDisk(
  node: NodeId,
  { type, path, bytes }: DiskOperation,
  failed: boolean,
): string {
  const size = bytes === undefined ? "" : ` ${bytes} bytes`;
  return `disk  node ${node}  ${type} ${path || "."}${size}${failed ? " (failed)" : ""}`;
}

/** A client begins an operation. */
export function describeBegin(operation: Operation): string {
  return `client ${operation.client}  ${describeRequest(operation)} at ${operation.key}`;
}

/** A client's operation is over; "?" if its outcome is unknown. */
export function describeEnd(operation: Operation): string {
  return `${describeBegin(operation)} -> ${describeResult(operation)}`;
}

/** A message of the actors beside Raft: the kind, and the call that it belongs to. */
function describeOther(message: WireMessage): string {
  return "callId" in message ? `${message.type} call ${message.callId}` : message.type;
}
