// The page: queries the JSON API every two seconds and draws the answers. It writes text only, no
// markup.
"use strict";

const EVERY = 2000;
const PEERS = 200;
const FAILURES = 8;

// Cause and remedy of a reason, for peers without advice from the agent.
const REMEDY = {
  not_stored: "the server does not store the sessions that it issues: enable its session cache",
  other_process: "another process of the service issued the session: share cache or ticket keys",
  restarted: "the process that issued the session has ended: keep its ticket keys over restarts",
  foreign_key: "the service never used the ticket's key: share keys and keep them over restarts",
  retired_key: "the service has replaced the ticket's key: keep more old keys or rotate less often",
  foreign_id: "another service issued the session: use tickets, or route the client to one node",
  evicted: "the session was evicted from the cache: enlarge the cache, or use tickets",
  expired: "the session was older than its lifetime: raise the lifetime",
  removed: "the session was removed after an unclean close, by a reload or by the application",
  refused: "the server rejected the session: use the same version, server name and context",
  clock: "the server's clock was stepped: keep it synchronised",
  unknown: "the evidence is not sufficient for a reason yet",
  packet_loss: "handshakes fail on lossy connections: check the network",
  timeout: "handshakes stall until one side abandons them: check CPU load and firewalls",
  reset: "connections are reset during the handshake",
  closed: "connections are closed during the handshake: check for health checks or scans",
  alert_received: "the peer rejects the handshake: check certificate, version and server name",
  alert_sent: "the observed program rejects the handshake: check certificate, version and cipher",
  local_error: "the TLS library of the observed program reports an error",
  abandoned: "the observed program drops its handshakes",
};

const by = (id) => document.getElementById(id);
const state = {
  role: "server", sort: "gain", down: true, paused: false, filter: "",
  peers: [], failures: [], overview: null,
  // Name of the peer whose misses are explained, and the answer about it.
  open: null, explained: null,
};

function element(name, text, type) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (type) made.className = type;
  return made;
}

function shape(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const sum = (object) => Object.values(object || {}).reduce((all, one) => all + one, 0);
const percent = (ratio) => (ratio === null ? "–" : Math.round(ratio * 100) + " %");
const grade = (ratio) => (ratio === null ? ""
  : ratio < 0.1 ? "low" : ratio < 0.4 ? "fair" : ratio < 0.75 ? "good" : "high");
const share = (part, whole) => (whole > 0 ? part / whole : null);
const commonest = (counts) => Object.entries(counts || {}).sort((a, b) => b[1] - a[1])[0];

// Cause and remedy for one peer.
function advice(peer) {
  if (peer.advice) return peer.advice.reason + ": " + peer.advice.text;
  const parts = [];
  const miss = commonest(peer.misses);
  if (miss) parts.push(miss[1] + " × " + miss[0] + ": " + (REMEDY[miss[0]] || ""));
  const failure = commonest(peer.failures);
  if (failure) parts.push(failure[1] + " × " + failure[0] + ": " + (REMEDY[failure[0]] || ""));
  if (parts.length === 0 && peer.resume_ratio !== null && peer.resume_ratio < 0.1 && peer.full > 4) {
    const offers = Object.values(peer.offers || {});
    const offered = offers.reduce((all, one) => all + one.accepted + one.missed, 0);
    parts.push(offered > 0 ? "offered sessions are not resumed"
      : peer.not_offered > 0 ? "no session is offered: the clients are new or store no sessions"
      : "it is not known whether sessions are offered");
  }
  return parts.join("; ");
}

function numbers() {
  const sums = state.overview.roles[state.role];
  const known = sums.full + sums.resumed;
  const completed = known + sums.unknown;
  const failed = sum(sums.failures);
  const ratio = share(sums.resumed, known);
  const tiles = [
    [percent(ratio), "resumed", grade(ratio)],
    [completed.toLocaleString(), "completed"],
    [failed.toLocaleString(), "failed", failed ? "fair" : ""],
    [(sums.with_loss.completed + sums.with_loss.failed).toLocaleString(), "with packet loss"],
    [state.overview.peers.toLocaleString(), "peers"],
  ];
  by("numbers").replaceChildren(...tiles.map(([value, name, type]) => {
    const tile = element("div");
    tile.append(element("b", value, type), element("span", name));
    return tile;
  }));
  const causes = Object.entries(sums.failures).sort((a, b) => b[1] - a[1]);
  const text = (cause, count) => (count === "" ? ""
    : count.toLocaleString() + (REMEDY[cause] ? " – " + REMEDY[cause] : ""));
  const shown = causes.length ? causes : [["none", ""]];
  by("failures").replaceChildren(...shown.flatMap(([cause, count]) =>
    [element("dt", cause), element("dd", text(cause, count))]));
}

// The most recent failures, one line each.
function recentFailures() {
  const shown = state.failures.filter((failure) => failure.role === state.role).slice(0, FAILURES);
  by("recent").replaceChildren(...shown.map((one) => {
    const parts = [Math.round(one.seconds_ago) + " s ago", one.peer, one.cause];
    const alert = one.alert;
    if (alert) parts.push("alert " + (alert.name || alert.description) + " " + alert.direction);
    if (one.reason) parts.push(one.reason);
    if (one.offered) parts.push("offered a session (" + one.mechanism + ")");
    const sent = one.retransmits.reduce((all, phase) => all + phase.sent + phase.received, 0);
    if (sent) parts.push(sent + " retransmissions");
    return element("li", parts.join(", "));
  }));
}

// Handshakes per slot as bars, the resumed share as a line over six slots each.
function chart() {
  const drawn = state.overview.roles[state.role].history;
  const count = drawn.full.length;
  const slots = Math.max(count, 30);
  const width = 720 / slots;
  const all = drawn.full.map((full, i) =>
    full + drawn.resumed[i] + drawn.unknown[i] + drawn.failed[i]);
  const most = Math.max(1, ...all);
  const mark = (y) => shape("line", { class: "mark", x1: 0, x2: 720, y1: y, y2: y });
  const parts = [0.1, 0.4, 0.75].map((ratio) => mark(195 - ratio * 190));
  let path = "";
  let last = null;
  for (let i = 0; i < count; i++) {
    const x = (slots - count + i) * width;
    if (all[i]) {
      const height = (all[i] / most) * 90;
      const bad = (drawn.failed[i] / most) * 90;
      parts.push(shape("rect", { class: "bar", x, y: 200 - height, width, height }));
      if (bad) parts.push(shape("rect", { class: "failed", x, y: 200 - bad, width, height: bad }));
    }
    const from = Math.max(0, i - 5);
    const resumed = drawn.resumed.slice(from, i + 1).reduce((a, b) => a + b, 0);
    const full = drawn.full.slice(from, i + 1).reduce((a, b) => a + b, 0);
    const ratio = share(resumed, resumed + full);
    if (ratio !== null) {
      const [middle, height] = [x + width / 2, 195 - ratio * 190];
      path += (last === null ? "M" : "L") + middle.toFixed(1) + " " + height.toFixed(1);
      // Draws a single point, too.
      if (last === null) path += "h2";
    }
    last = ratio;
    if (ratio !== null) state.latest = ratio;
  }
  parts.push(shape("path", { class: "share", d: path || "M0 0" }));
  const chart = by("chart");
  chart.replaceChildren(...parts);
  const minutes = Math.round((count * state.overview.slot_seconds) / 60);
  chart.setAttribute("aria-label", count
    ? "over " + minutes + " minutes; resumed share now " + percent(last)
      + "; lines at 10, 40 and 75 %"
    : "no handshakes yet");
}

const KEYS = {
  peer: (peer) => peer.peer,
  ratio: (peer) => (peer.resume_ratio === null ? 2 : peer.resume_ratio),
  full: (peer) => peer.full,
  resumed: (peer) => peer.resumed,
  failed: (peer) => sum(peer.failures),
  gain: (peer) => peer.full + sum(peer.failures),
};

// The name of a peer; a button that shows explanations if it has missed sessions.
function nameOf(peer) {
  if (sum(peer.misses) === 0) return document.createTextNode(peer.peer);
  const button = element("button", peer.peer);
  button.type = "button";
  button.dataset.peer = peer.peer;
  button.title = "Why were sessions missed?";
  button.setAttribute("aria-expanded", state.open === peer.peer);
  button.addEventListener("click", async () => {
    state.open = state.open === peer.peer ? null : peer.peer;
    state.explained = null;
    draw();
    await explain();
    draw();
  });
  return button;
}

// Queries the explanations of the open peer.
async function explain() {
  const name = state.open;
  if (name === null) return;
  const explained = await query("peers/" + encodeURIComponent(name)).catch(() => null);
  if (state.open === name) state.explained = explained;
}

// The explanations of the open peer: rule and evidence of its newest miss for each reason.
function explanations() {
  const row = element("tr", undefined, "explained");
  const cell = element("td");
  cell.colSpan = 6;
  const roles = state.explained ? state.explained.roles : [];
  const reasons = roles.filter((one) => one.role === state.role).flatMap((one) => one.reasons);
  const list = element("ul");
  list.append(...reasons.map(({ reason, count, example }) => {
    const newest = example ? (example.time || Math.round(example.seconds_ago) + " s ago") + ", "
      + example.mechanism + ": " + example.text
      : "no example: only the peers with the newest misses have one";
    return element("li", count.toLocaleString() + " × " + reason + ". " + newest);
  }));
  cell.append(list);
  row.append(cell);
  return row;
}

function table() {
  const wanted = state.filter.toLowerCase();
  const rows = state.peers.filter((peer) => peer.role === state.role)
    .map((peer) => ({ peer, text: advice(peer) }))
    .filter(({ peer, text }) => (peer.peer + " " + text).toLowerCase().includes(wanted));
  const key = KEYS[state.sort];
  rows.sort((a, b) => {
    const [left, right] = [key(a.peer), key(b.peer)];
    const order = left < right ? -1 : left > right ? 1 : a.peer.peer < b.peer.peer ? -1 : 1;
    return state.down ? -order : order;
  });
  const focused = document.activeElement?.dataset.peer;
  by("rows").replaceChildren(...rows.flatMap(({ peer, text }) => {
    const row = element("tr");
    const cell = (name, value, type) => {
      const made = element("td", value, type);
      made.dataset.name = name;
      row.append(made);
    };
    cell("peer", undefined, "peer");
    row.firstChild.append(nameOf(peer));
    cell("recent", percent(peer.resume_ratio), "number " + grade(peer.resume_ratio));
    cell("full", peer.full.toLocaleString(), "number");
    cell("resumed", peer.resumed.toLocaleString(), "number");
    cell("failed", sum(peer.failures).toLocaleString(), "number");
    cell("remedy", text, "remedy");
    return peer.peer === state.open && state.explained ? [row, explanations()] : [row];
  }));
  for (const button of by("rows").querySelectorAll("button")) {
    if (button.dataset.peer === focused) button.focus();
  }
  by("shown").textContent = rows.length + " shown, of " + state.overview.peers + " in both roles";
  for (const head of document.querySelectorAll("th")) {
    const button = head.querySelector("button");
    if (!button) continue;
    const order = state.down ? "descending" : "ascending";
    head.setAttribute("aria-sort", button.dataset.sort === state.sort ? order : "none");
  }
}

function coverage(libraries, status) {
  const seen = libraries.libraries.filter((library) => library.observed);
  const sensors = Object.entries(status.sensors).map(([name, health]) =>
    name + (health.attached ? "" : " not attached (" + (health.reason || "starting") + ")")
      + (health.lost ? ", " + health.lost + " events lost" : ""));
  by("coverage").textContent = libraries.observed_processes + " processes observed, "
    + seen.length + " libraries; " + sensors.join("; ");
  by("uncovered").replaceChildren(...libraries.uncovered.map((one) =>
    element("li", one.processes + " processes not observed, " + one.reason + ": " + one.remedy)));
  by("libraries").replaceChildren(...seen.map((one) =>
    element("li", one.library + " " + one.version + " (" + one.entry + "), "
      + one.processes + " processes")));
  by("state").textContent = status.ready ? "observing, version " + status.version
    : "not ready: " + status.not_ready_reason;
  by("state").className = status.ready ? "" : "bad";
}

function draw() {
  if (!state.overview) return;
  numbers();
  chart();
  table();
  recentFailures();
}

async function query(path) {
  const answer = await fetch("api/v1/" + path, { signal: AbortSignal.timeout(10000) });
  if (!answer.ok) throw new Error(path + ": " + answer.status);
  return answer.json();
}

async function refresh() {
  try {
    if (!state.paused && !document.hidden) {
      const [overview, peers, failures, libraries, status] =
        await Promise.all(["overview", "peers?limit=" + PEERS, "failures", "libraries", "status"].map(query));
      Object.assign(state, { overview, peers, failures });
      await explain();
      coverage(libraries, status);
      draw();
      await refreshCaches();
    }
  } catch (error) {
    by("state").textContent = "no answer from the agent: " + error.message;
    by("state").className = "bad";
  }
  setTimeout(refresh, EVERY);
}

for (const radio of document.querySelectorAll("input[name=role]")) {
  radio.addEventListener("change", () => { state.role = radio.value; draw(); });
}
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const sort = button.dataset.sort;
    state.down = state.sort === sort ? !state.down : sort !== "peer" && sort !== "ratio";
    state.sort = sort;
    draw();
  });
}
by("filter").addEventListener("input", (event) => {
  state.filter = event.target.value;
  draw();
});
by("pause").addEventListener("click", (event) => {
  state.paused = !state.paused;
  event.target.setAttribute("aria-pressed", state.paused);
  event.target.textContent = state.paused ? "Resume" : "Pause";
});
refresh();
