/**
 * Every scenario by the name that `deno task play` takes.
 *
 * @module
 */
import { disruptiveServer } from "./disruptive_server.ts";
import { figure7 } from "./figure7.ts";
import { figure8 } from "./figure8.ts";
import { partition } from "./partition.ts";
import type { Plays } from "./plays.ts";
import { splitVote } from "./split_vote.ts";
import { transfer } from "./transfer.ts";

/** The scenarios. */
export const scenarios: Readonly<Record<string, Plays>> = {
  figure7,
  figure8,
  "split-vote": splitVote,
  partition,
  "disruptive-server": disruptiveServer,
  transfer,
};
