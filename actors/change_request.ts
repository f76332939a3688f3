/**
 * A change of the members as a client has asked for it, checked as far as that needs no members.
 *
 * @module
 */
import {
  ChangeError,
  changeOf,
  isEmptyChange,
  type MembershipChange,
} from "../machines/membership_change.ts";
import { GatewayError } from "../transport/http/problem.ts";
import { parseHostPort } from "../transport/wire/network.ts";

/**
 * Reads a change from plain values.
 *
 * @throws {GatewayError} `invalid-request` if it is none, or an address is none.
 */
export function changeRequestOf(plain: unknown): MembershipChange {
  let change: MembershipChange;
  try {
    change = changeOf(plain);
  } catch (error) {
    throw error instanceof ChangeError ? invalid(error.message) : error;
  }
  if (isEmptyChange(change)) throw invalid("The change asks for nothing");
  for (const { raft, http } of addressesIn(change)) {
    if (raft !== undefined) checkRaft(raft);
    if (http !== undefined && http !== "") checkHttp(http);
  }
  return change;
}

function addressesIn(
  { add = [], replace = [], update = [] }: MembershipChange,
): { readonly raft?: string; readonly http?: string }[] {
  return [...add, ...replace.flatMap(({ by }) => by === undefined ? [] : [by]), ...update];
}

function checkRaft(text: string): void {
  const address = parseHostPort(text);
  if (address !== undefined && address.port > 0) return;
  throw invalid(`A Raft address is HOST:PORT that others can dial, not ${JSON.stringify(text)}`);
}

function checkHttp(text: string): void {
  const url = URL.parse(text);
  const isSound = url !== null && ["http:", "https:"].includes(url.protocol) &&
    url.pathname === "/" && url.search === "" && url.hash === "" && url.username === "";
  if (!isSound) throw invalid(`An HTTP address is http://HOST:PORT, not ${JSON.stringify(text)}`);
}

function invalid(detail: string): GatewayError {
  return new GatewayError("invalid-request", detail);
}
