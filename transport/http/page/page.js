/**
 * The page's live part: the chart with its active states, what it did last, and who the members are.
 *
 * @module
 */

const MEMBERS_EVERY_MS = 2_000;
const TIMELINE_LINES_MAX = 100;

const at = (id) => document.getElementById(id);

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className !== "") made.className = className;
  return made;
}

const boxes = new Map();

/** Draws each state as a box in that of its parent. */
function draw({ states }) {
  const parents = new Set(states.map(({ path }) => path.replace(/\.?[^.]*$/, "")));
  at("chart").replaceChildren();
  for (const { path, type } of states) {
    if (path === "") continue;
    const dot = path.lastIndexOf(".");
    const isLeaf = !parents.has(path);
    const box = element("div", path.slice(dot + 1), `state ${type} ${isLeaf ? "leaf" : ""}`);
    const home = boxes.get(path.slice(0, Math.max(0, dot))) ?? at("chart");
    home.append(box);
    boxes.set(path, box);
  }
}

function light(active) {
  for (const [path, box] of boxes) box.classList.toggle("active", active.includes(path));
}

/** Which states were left and entered, such as "role: follower > preCandidate". */
function changeOf(from, to) {
  const left = from.filter((path) => !to.includes(path)).join(", ");
  const entered = to.filter((path) => !from.includes(path)).join(", ");
  return left === "" && entered === "" ? "" : `${left} → ${entered}`;
}

function note({ from, to, cause, term, leader, agoMs }) {
  const when = new Date(Date.now() - agoMs).toLocaleTimeString();
  const who = leader === undefined ? "no leader" : `leader ${leader}`;
  const line = element("li", `${when}  ${cause}  ${changeOf(from, to)}  (term ${term}, ${who})`);
  at("timeline").prepend(line);
  if (at("timeline").children.length > TIMELINE_LINES_MAX) at("timeline").lastChild.remove();
}

async function json(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return await response.json();
}

async function refresh() {
  try {
    const [cluster, { summary }] = await Promise.all([
      json("/v1/cluster"),
      json("/v1/raft/explain"),
    ]);
    at("node").textContent = `node ${cluster.nodeId}`;
    at("summary").textContent = summary;
    at("summary").className = cluster.leader === undefined ? "lost" : "";
    at("members").replaceChildren(...cluster.members.map((member) => {
      const part = member.id === cluster.leader ? "leader" : member.voter ? "voter" : "learner";
      const row = element("tr");
      const link = element("td");
      if (member.httpAddress === "") link.textContent = "";
      else {
        const anchor = element("a", member.httpAddress);
        if (/^https?:\/\//.test(member.httpAddress)) anchor.href = member.httpAddress;
        link.append(anchor);
      }
      const index = member.self && cluster.role === "leader"
        ? cluster.lastLogIndex
        : member.matchIndex;
      row.append(
        element("td", String(member.id)),
        element("td", part),
        element("td", member.raftAddress),
        link,
        element("td", member.refusal ?? member.link),
        element("td", index === undefined ? "" : String(index)),
      );
      return row;
    }));
  } catch (error) {
    at("summary").textContent = `This node does not answer: ${error.message}`;
    at("summary").className = "lost";
  }
}

function begin() {
  const { origin } = location;
  at("curl").textContent = [
    `curl -X PUT --data-binary hello ${origin}/v1/kv/greeting`,
    `curl ${origin}/v1/kv/greeting`,
    `curl -N "${origin}/v1/watch?prefix="`,
  ].join("\n");
  at("script").textContent = [
    `import { Clerk } from "statecraft";`,
    `await using kv = new Clerk({ endpoints: ["${origin}"] });`,
    `await kv.put("greeting", "hello");`,
  ].join("\n");
  at("cli").textContent = `deno task kv get greeting --endpoints ${origin}`;
}

async function start() {
  begin();
  setInterval(refresh, MEMBERS_EVERY_MS);
  await refresh();
  const { active, ...chart } = await json("/v1/raft/chart");
  draw(chart);
  light(active);
  const events = new EventSource("/v1/raft/events");
  events.addEventListener("transition", ({ data }) => {
    const transition = JSON.parse(data);
    note(transition);
    light(transition.to);
  });
}

start();
