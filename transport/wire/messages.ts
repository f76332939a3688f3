/**
 * What travels between two processes, as types: the hello, health checks, Raft messages and the
 * messages of the actor runtime. transport/wire/codec.ts turns them into bytes and back.
 *
 * @module
 */
import type { GroupId, NodeId, RaftMessage } from "../../machines/raft_types.ts";

/**
 * What a remote actor message may carry: plain values, bytes, and arrays and objects of them.
 *
 * Numbers are finite; strings are well-formed UTF-16; objects are plain and have no `__proto__`
 * key. `undefined` travels as MessagePack's nil.
 */
export type WireValue =
  | undefined
  | boolean
  | number
  | string
  | Uint8Array
  | readonly WireValue[]
  | { readonly [key: string]: WireValue };

/** Whether a value is one of named values. */
export function isWireObject(value: WireValue): value is { readonly [key: string]: WireValue } {
  return typeof value === "object" && !Array.isArray(value) && !(value instanceof Uint8Array);
}

/** The first frame of a connection, sent by the side that dialled. */
export interface Hello {
  /** Names the kind of message. */
  readonly type: "Hello";
  /** "STCF"; with anything else the sender is no Statecraft node. */
  readonly magic: string;
  /** The lowest version of the protocol that the sender speaks. */
  readonly versionMin: number;
  /** The highest one. Both sides use the highest that both speak. */
  readonly versionMax: number;
  /** The cluster, `^[a-z0-9-]{1,64}$`. */
  readonly clusterId: string;
  /** The sender. */
  readonly from: NodeId;
  /** The node that the sender believes to have reached. */
  readonly to: NodeId;
  /** Differs from one start of the sender's process to the next. */
  readonly incarnation: number;
  /** Id of the sender's data directory, `^[a-z0-9-]{1,64}$`: differs once it was lost. */
  readonly directoryId: string;
  /** The directory that the sender remembers of the receiver; undefined if they never met. */
  readonly toDirectoryId: string | undefined;
  /** The highest cluster version that the sender's build knows (machines/group_config.ts). */
  readonly clusterVersionMax: number;
}

/**
 * Why a hello was refused. Nothing has changed on the refusing side.
 *
 * `wrong-directory`: the sender has another data directory than the receiver remembers of it.
 * `wrong-target-directory`: the sender remembers another one of the receiver than the receiver has.
 * `removed`: the sender's directory was removed from the cluster with its member, for good.
 * `unknown-reason`: a later version has said one that this version does not know; it is never sent.
 */
export type RefusalReason =
  | "wrong-magic"
  | "wrong-version"
  | "wrong-cluster"
  | "wrong-target"
  | "unknown-node"
  | "wrong-direction"
  | "wrong-directory"
  | "wrong-target-directory"
  | "removed"
  | "unknown-reason";

/** The answer to {@linkcode Hello}; a refusal is the last frame of its connection. */
export interface HelloReply {
  /** Names the kind of message. */
  readonly type: "HelloReply";
  /** The sender. */
  readonly from: NodeId;
  /** Differs from one start of the process to the next. */
  readonly incarnation: number;
  /** Why the hello was refused; undefined if the peer is welcome. */
  readonly refusal: RefusalReason | undefined;
  /** The version of the protocol that the connection uses from now on; 0 with a refusal. */
  readonly version: number;
  /** Id of the sender's data directory, `^[a-z0-9-]{1,64}$`. */
  readonly directoryId: string;
  /** The highest cluster version that the sender's build knows. */
  readonly clusterVersionMax: number;
}

/** Asks for a {@linkcode Pong}: is the other side still there, and how far away is it? */
export interface Ping {
  /** Names the kind of message. */
  readonly type: "Ping";
  /** Repeated by the pong. */
  readonly id: number;
}

/** The answer to {@linkcode Ping}. */
export interface Pong {
  /** Names the kind of message. */
  readonly type: "Pong";
  /** The ping's id. */
  readonly id: number;
}

/** What every message to or about an actor carries. */
export interface ToActor {
  /** The sender; the transport closes a connection whose peer it is not. */
  readonly from: NodeId;
  /** Group of the actor. */
  readonly group: GroupId;
  /** The actor's name within the group. */
  readonly name: string;
}

/** A message to an actor of another process. */
export interface ActorCast extends ToActor {
  /** Names the kind of message. */
  readonly type: "ActorCast";
  /** What is carried. */
  readonly payload: WireValue;
}

/** A message that wants an answer: {@linkcode ActorReply} or {@linkcode ActorFail} with its callId. */
export interface ActorCall extends ToActor {
  /** Names the kind of message. */
  readonly type: "ActorCall";
  /** Unique until the sender's process ends. */
  readonly callId: number;
  /** What is carried. */
  readonly payload: WireValue;
}

/** Asks for one {@linkcode ActorTerminated}, at once if there is no such actor. */
export interface ActorWatch extends ToActor {
  /** Names the kind of message. */
  readonly type: "ActorWatch";
}

/** The watched actor has stopped for good; `group` and `name` say which of the sender's. */
export interface ActorTerminated extends ToActor {
  /** Names the kind of message. */
  readonly type: "ActorTerminated";
}

/** The value a call was answered with. */
export interface ActorReply {
  /** Names the kind of message. */
  readonly type: "ActorReply";
  /** The sender. */
  readonly from: NodeId;
  /** The call that is answered. */
  readonly callId: number;
  /** What is carried. */
  readonly payload: WireValue;
}

/** An error that crosses the wire: its class's name, its text and its plain fields. */
export interface WireFailure {
  /** Name of the error's class. */
  readonly name: string;
  /** Its text. */
  readonly message: string;
  /** Its plain fields. */
  readonly fields: { readonly [key: string]: WireValue };
}

/** The error a call was answered with. */
export interface ActorFail {
  /** Names the kind of message. */
  readonly type: "ActorFail";
  /** The sender. */
  readonly from: NodeId;
  /** The call that is answered. */
  readonly callId: number;
  /** What the actor failed with. */
  readonly error: WireFailure;
}

/** Everything two actor systems say to each other. */
export type ActorWire =
  | ActorCast
  | ActorCall
  | ActorReply
  | ActorFail
  | ActorWatch
  | ActorTerminated;

/** Whether the message is for the actor system, not for a group's Raft. */
export function isActorWire(message: RaftMessage | ActorWire): message is ActorWire {
  return !("term" in message);
}

/** Everything that can be in a frame. */
export type WireMessage = RaftMessage | Hello | HelloReply | Ping | Pong | ActorWire;

/** What was wrong with a frame. */
export type WireErrorCode =
  | "frame-empty"
  | "frame-too-large"
  | "truncated"
  | "trailing-bytes"
  | "too-deep"
  | "too-large"
  | "too-many-values"
  | "unsupported-type"
  | "unknown-tag"
  | "bad-field"
  | "bad-records"
  | "not-encodable";

/**
 * A frame that cannot be read, or a message that cannot be written.
 *
 * Reading: the receiver closes the connection, since nothing after the bad bytes can be trusted.
 * Writing (`not-encodable`, `too-large`, `too-deep`, `too-many-values`, `frame-too-large`): the
 * message is the sender's mistake, and the connection stays open.
 */
export class WireError extends Error {
  /** Its class's name. */
  override readonly name = "WireError";
  /** What is wrong. */
  readonly code: WireErrorCode;

  /** See the class. */
  constructor(code: WireErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
