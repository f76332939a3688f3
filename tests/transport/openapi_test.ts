/**
 * The OpenAPI document says what is so: of the routes, of the parameters, of each answer and of each request
 * that is taken.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Validator } from "@seriousme/openapi-schema-validator";
import { createRoutes } from "../../transport/http/gateway.ts";
import { document, mismatch, pathOf } from "./openapi_check.ts";
import { FakePort } from "./http_fake_port.ts";

function routes(): ReturnType<typeof createRoutes>["app"] {
  const port = new FakePort();
  return createRoutes(port, { version: "1.2.3", nowMs: () => 0, onDefect: () => {} }).app;
}

Deno.test("openapi: an independent validator finds nothing wrong", async () => {
  const result = await new Validator().validate(structuredClone(document));
  assertEquals([result.valid, result.errors], [true, undefined]);
});

Deno.test("openapi: it is served as it is", async () => {
  const response = await routes().request("/openapi.json");
  assertEquals(response.headers.get("content-type"), "application/json");
  assertEquals<unknown>(await response.json(), document);
});

Deno.test("openapi: every route is in it, and everything in it is a route", async () => {
  const app = routes();
  const served = app.routes.filter(({ method, path }) => method !== "ALL" && path !== "*").map(
    ({ method, path }) => {
      // One route of the program stands for the two verbs of a key.
      const verbs = method === "POST" && path === "/v1/kv/*"
        ? ["/v1/kv/{key}/append", "/v1/kv/{key}/increment"]
        : [
          path.replace("/v1/kv/*", "/v1/kv/{key}").replace("/v1/locks/*", "/v1/locks/{name}")
            .replaceAll(/:(\w+)/g, "{$1}"),
        ];
      return verbs.map((each) => `${method} ${each}`);
    },
  );
  const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).filter((name) => name !== "parameters")
      .map((method) => `${method.toUpperCase()} ${path}`)
  );
  assertEquals([...new Set(served.flat())].sort(), documented.sort());
  for (const line of documented) {
    const [method, path] = line.split(" ") as [string, string];
    const filled = path.replace("{id}", "1").replace(/\{\w+\}/, "k");
    assertEquals(pathOf(filled, method.toLowerCase()), path);
    const response = await app.request(filled, { method, headers: { host: "x" } });
    assert(response.status !== 405, `${line}: ${response.status}`);
    await response.body?.cancel();
  }
});

Deno.test("openapi: a route takes the query parameters that it names, and refuses others", async () => {
  const app = routes();
  for (const [path, operations] of Object.entries(document.paths)) {
    if (!path.startsWith("/v1/") || path.startsWith("/v1/raft") || path.startsWith("/v1/cluster")) {
      continue;
    }
    for (const [method, operation] of Object.entries(operations)) {
      if (method === "parameters") continue;
      const filled = path.replace("{id}", "1").replace(/\{\w+\}/, "k");
      const detailOf = async (query: string): Promise<string> => {
        const body = method === "post" ? { body: "{}" } : {};
        const response = await app.request(`${filled}?${query}`, {
          method: method.toUpperCase(),
          headers: { host: "x" },
          ...body,
        });
        if (response.status < 400) {
          await response.body?.cancel();
          return "";
        }
        return (await response.json()).detail;
      };
      const named = operation.parameters.filter((each) => each.in === "query").map(({ name }) =>
        name
      );
      for (const name of named) {
        const detail = await detailOf(`${name}=x`);
        assert(!detail.includes("no parameter"), `${method} ${path}?${name}: ${detail}`);
      }
      const unknown = await detailOf("unheard_of=1");
      assert(unknown.includes('no parameter "unheard_of"'), `${method} ${path}: ${unknown}`);
    }
  }
});

Deno.test("openapi: requests that are taken fit its schemas, and what makes no sense does not", () => {
  const bodies: readonly [string, unknown, boolean][] = [
    ["Transaction", { success: [{ put: { key: "a", value: "b" } }] }, true],
    ["Transaction", { success: [{ put: { key: "a" } }] }, false],
    ["Transaction", { succes: [] }, false],
    ["Transaction", { compare: [{ key: "a", target: "version", op: "==", version: 0 }] }, true],
    ["Transaction", { compare: [{ key: "a", target: "version", op: "==", value: "x" }] }, false],
    ["Transaction", { success: [{ delete: { prefix: "", all: true } }] }, true],
    ["Transaction", { success: [{ get: { key: "a" }, delete: { key: "a" } }] }, false],
    ["Transaction", { success: Array(129).fill({ get: { key: "a" } }) }, false],
    ["LeaseGrant", { ttlSeconds: 0.5 }, true],
    ["LeaseGrant", { ttlSeconds: 0.4 }, false],
    ["LeaseGrant", {}, false],
    ["LockRequest", { ttlSeconds: 10, wait: "5s", value: { base64: "AA==" } }, true],
    ["LockRequest", { lease: "7" }, true],
    ["LockRequest", { lease: "x" }, false],
    ["Increment", { by: "9223372036854775807" }, true],
    ["Increment", { by: 1.5 }, false],
    ["MembersChange", { add: [{ id: 4, raft: "127.0.0.1:7004" }], remove: [1] }, true],
    ["MembersChange", { add: [{ id: 4 }] }, false],
    ["MembersChange", { grow: [4] }, false],
    ["Transfer", { to: 2 }, true],
    ["Transfer", { to: 0 }, false],
  ];
  for (const [name, body, fits] of bodies) {
    const why = mismatch({ $ref: `#/components/schemas/${name}` }, body);
    assertEquals(why === undefined, fits, `${name} ${JSON.stringify(body)}: ${why}`);
  }
});
