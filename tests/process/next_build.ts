/**
 * `deno task node` as a later build might be: its protocol and its cluster version are one higher.
 *
 * @module
 */
import { main } from "../../cli/node.ts";
import { CLUSTER_VERSIONS } from "../../machines/group_config.ts";
import { PROTOCOL_VERSIONS } from "../../transport/wire/limits.ts";

const { min, max } = PROTOCOL_VERSIONS;
await main({
  protocol: { min, max: max + 1 },
  clusterVersionMax: CLUSTER_VERSIONS.max + 1,
});
