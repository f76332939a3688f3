import { assertEquals, assertThrows } from "@std/assert";
import {
  ADDRESS_CHARS_MAX,
  configAfter,
  configOfStored,
  decodeConfig,
  encodeConfig,
  foundingConfig,
  type GroupConfig,
  MEMBERS_MAX,
  REMOVED_MAX,
  storedConfigOf,
} from "../../machines/group_config.ts";

const founding = foundingConfig({ voters: [1, 2, 3] });
/** Every field has a value that is not its default somewhere. */
const joint: GroupConfig = {
  clusterVersion: 2,
  voters: [1, 3, 7],
  outgoing: [1, 2, 3],
  learners: [2, 9],
  members: [1, 2, 3, 7, 9].map((id) => ({
    id,
    raft: `[::1]:${7000 + id}`,
    http: id === 9 ? "" : `http://host-${id}:80`,
    staysLearner: id === 2,
    replaces: id === 9 ? 3 : undefined,
  })),
  removed: ["a-directory"],
};

Deno.test("a configuration of the first version is its version, and what is appended to it is read over", () => {
  const bytes = encodeConfig(founding);
  assertEquals([...bytes], [0, 0, 0, 1]);
  assertEquals(decodeConfig(bytes), { clusterVersion: 1, stored: undefined });
  assertEquals(decodeConfig(new Uint8Array([...bytes, 9, 9])).stored, undefined);
  const within = new Uint8Array([7, ...bytes, 7]).subarray(1, 1 + bytes.length);
  assertEquals(decodeConfig(within).clusterVersion, 1);
});

Deno.test("a configuration with its members is read as it was written, whatever else it names", () => {
  for (const clusterVersion of [2, 255, 2 ** 31]) {
    const written = { ...joint, clusterVersion };
    assertEquals(configAfter(founding, decodeConfig(encodeConfig(written))), written);
  }
  const later = { ...storedConfigOf(joint), zones: ["a"] };
  assertEquals(configOfStored(later, 2), joint);
});

Deno.test("an entry without members leaves them, and no entry takes a version back", () => {
  assertEquals(configAfter(joint, { clusterVersion: 1, stored: undefined }), joint);
  assertEquals(configAfter(joint, { clusterVersion: 3, stored: undefined }).clusterVersion, 3);
});

Deno.test("what is no configuration is refused", () => {
  for (const bytes of [[], [0, 0, 1], [0, 0, 0, 0], [0x80, 0, 0, 1], [0, 0, 0, 2, 0x7b]]) {
    assertThrows(() => decodeConfig(new Uint8Array(bytes)), RangeError);
  }
  const stored = storedConfigOf(joint);
  const [first, ...others] = stored.members;
  const many = Array.from({ length: MEMBERS_MAX + 1 }, (_, at) => ({ ...first!, id: at + 1 }));
  const wrong: readonly unknown[] = [
    undefined,
    null,
    [],
    { ...stored, members: [] },
    { ...stored, members: many },
    { ...stored, members: [...others, first] },
    { ...stored, members: [first, ...stored.members] },
    { ...stored, members: [{ ...first!, id: 0 }, ...others] },
    { ...stored, members: [{ ...first!, id: 2 ** 31 + 1 }, ...others] },
    { ...stored, members: [{ ...first!, raft: 7 }, ...others] },
    { ...stored, members: [{ ...first!, raft: "x".repeat(ADDRESS_CHARS_MAX + 1) }, ...others] },
    { ...stored, members: [{ ...first!, learner: true }, ...others] },
    { ...stored, members: [...stored.members, { id: 11, raft: "", http: "" }] },
    { ...stored, voters: [] },
    { ...stored, voters: [1, 1] },
    { ...stored, voters: [1, 8] },
    { ...stored, outgoing: [8] },
    { ...stored, removed: undefined },
    { ...stored, removed: Array(REMOVED_MAX + 1).fill("a") },
  ];
  for (const value of wrong) assertThrows(() => configOfStored(value, 2), RangeError);
});
