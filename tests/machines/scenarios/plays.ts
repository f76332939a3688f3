/**
 * What a scenario is: plays of a few cores, each of which checks itself as it goes.
 *
 * @module
 */
import type { CoreCluster } from "../core_cluster.ts";

/** Plays by title; each runs to its end and answers with the cluster that tells it. */
export type Plays = Readonly<Record<string, () => CoreCluster>>;
