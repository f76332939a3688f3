import { assert, assertEquals } from "@std/assert";
import { CALL_TIMEOUT_MS_MAX, MAILBOX_CAPACITY } from "../actors/runtime/limits.ts";
import {
  ACTOR_STOP_MS_MAX,
  DRAIN_MS_MAX,
  HANDOVER_MS_MAX,
  LEAVE_MS_MAX,
  LEAVING_NODE_MS_MAX,
} from "../actors/limits.ts";
import { STOP_MS_MAX } from "../cli/node.ts";
import { DEFAULT_TIMING } from "../machines/group_state.ts";
import { REQUEST_BYTES_MAX, REQUEST_HEADER_BYTES } from "../machines/request_batch.ts";
import * as kv from "../storage/kv/limits.ts";
import * as log from "../storage/log/limits.ts";
import * as http from "../transport/http/limits.ts";
import * as transport from "../transport/wire/limits.ts";

Deno.test("the largest request fits an entry, and the largest entry fits a frame", () => {
  const put = kv.KEY_BYTES_MAX + kv.VALUE_BYTES_MAX +
    kv.CONTENT_TYPE_CHARS_MAX + kv.IDEMPOTENCY_KEY_CHARS_MAX +
    kv.FINGERPRINT_CHARS_MAX + 64;
  assert(put <= kv.COMMAND_BYTES_MAX);
  assert(kv.COMMAND_BYTES_MAX <= REQUEST_BYTES_MAX);
  assert(REQUEST_HEADER_BYTES + REQUEST_BYTES_MAX <= log.ENTRY_PAYLOAD_BYTES_MAX);
  assert(log.ENTRY_PAYLOAD_BYTES_MAX + 1024 <= transport.FRAME_BYTES_MAX);
  assert(transport.FRAME_BYTES_MAX <= transport.WRITE_QUEUE_BYTES_MAX);
});

Deno.test("a request that waits for a quorum outlives an election, and no more than a call may", () => {
  assert(http.REQUEST_TIMEOUT_MS > 2 * DEFAULT_TIMING.electionTimeoutMsMax);
  assert(http.REQUEST_TIMEOUT_MS <= CALL_TIMEOUT_MS_MAX);
});

Deno.test("the time that a client may ask for is one that a call may take", () => {
  assert(http.REQUEST_TIMEOUT_MS_MIN < http.REQUEST_TIMEOUT_MS);
  assert(http.REQUEST_TIMEOUT_MS <= http.REQUEST_TIMEOUT_MS_MAX);
  assert(http.REQUEST_TIMEOUT_MS_MAX <= CALL_TIMEOUT_MS_MAX);
});

Deno.test("a mailbox holds every request that the gateway lets in", () => {
  assert(http.REQUESTS_IN_FLIGHT_MAX <= MAILBOX_CAPACITY);
});

Deno.test("an orderly stop ends before it is cut short", () => {
  assert(HANDOVER_MS_MAX + DRAIN_MS_MAX + ACTOR_STOP_MS_MAX < STOP_MS_MAX);
  assert(2 * LEAVE_MS_MAX < DRAIN_MS_MAX);
  assert(LEAVING_NODE_MS_MAX > STOP_MS_MAX);
  assert(HANDOVER_MS_MAX > 2 * DEFAULT_TIMING.electionTimeoutMsMax);
});

Deno.test("the largest results of a command fit a frame, and one get may read the largest value", () => {
  assert(kv.RESULT_BYTES_MAX + 1024 * 1024 <= transport.FRAME_BYTES_MAX);
  assert(kv.VALUE_BYTES_MAX + kv.CONTENT_TYPE_CHARS_MAX <= kv.RESULT_BYTES_MAX);
  assert(kv.RESULT_BYTES_MAX < kv.SESSION_RESULT_BYTES_MAX);
  assert(kv.RESULT_BYTES_MAX < kv.IDEMPOTENCY_BYTES_MAX);
});

Deno.test("a page of a listing can hold the largest value", () => {
  assert(http.LIST_BYTES_MAX >= kv.VALUE_BYTES_MAX);
  assert(http.LIST_LIMIT_DEFAULT <= http.LIST_LIMIT_MAX);
  assert(http.RESPONSE_BYTES_MAX >= 4 * http.LIST_BYTES_MAX);
});

Deno.test("X20: an idempotency key is kept as long as the documents say", () => {
  assertEquals(kv.IDEMPOTENCY_RETENTION_MS, 10 * 60 * 1000);
  assertEquals(kv.IDEMPOTENCY_RETENTION_MS_MIN, 60 * 1000);
});
