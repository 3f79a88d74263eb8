// Session caches: hit ratio against size for one service, a line per lifetime, and the present
// cache. It writes text only, no markup.
"use strict";

const WIDTH = 720;
const HEIGHT = 240;
// Left, right, top and bottom of the plot.
const PLOT = [48, 690, 10, 215];

const OBSTACLE = {
  no_cache: "the service stores no sessions",
  lifetime_unknown: "the lifetime of its sessions is not known",
  observed_too_briefly: "it was observed for less than the lifetime of a session",
  too_few_offers: "fewer than 400 offers were observed",
  unknown_sessions: "many clients offer sessions that were not stored during the observation",
  other_causes:
    "many offers are missed for reasons other than size and lifetime: remove these first",
  nothing_resumed: "no session was resumed: make sure that the cache is in use and shared",
  prediction_fails: "the present cache does not work as predicted: each process may have its own",
};

// Number of the selected service, and the advice for it.
const caches = { open: null, advice: null };

const sessions = (size) => size.toLocaleString() + " sessions";

function today({ measured }) {
  if (measured.hit_ratio === null) return "today: no offer of a session";
  const size = measured.size === null ? "a cache of unknown size"
    : (measured.size_is_lower_bound ? "at least " : "about ") + sessions(measured.size);
  const seconds = measured.lifetime_seconds;
  const lifetime = seconds === null ? "" : " for " + seconds + " s";
  return "today: " + percent(measured.hit_ratio) + " with " + size + lifetime;
}

function verdict({ verdict, obstacle, recommended, times_present_size: times }) {
  if (verdict === "sufficient") return "the present cache is sufficient";
  if (verdict !== "change") return "advice unknown: " + (OBSTACLE[obstacle] || obstacle);
  return "configure " + sessions(recommended.size)
    + (times === null ? "" : " (" + times.toFixed(1) + " times the present cache)")
    + " for " + recommended.lifetime_seconds + " s: "
    + percent(recommended.hit_ratio) + " expected";
}

// Positions of sizes, on a logarithmic scale, and of hit ratios.
function scales(advice) {
  const present = advice.measured.size ? [advice.measured.size] : [];
  const sizes = advice.curve.map((point) => point.size).concat(present);
  const low = Math.log2(Math.min(128, ...sizes));
  const high = Math.max(low + 3, Math.log2(Math.max(...sizes)));
  const [left, right, top, bottom] = PLOT;
  return {
    low, high,
    x: (size) => left + ((Math.log2(size) - low) / (high - low)) * (right - left),
    y: (ratio) => bottom - ratio * (bottom - top),
  };
}

function label(text, x, y, anchor) {
  const made = shape("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function axes({ low, high, x, y }) {
  const [left, right, top, bottom] = PLOT;
  const rows = [0, 0.25, 0.5, 0.75, 1].flatMap((ratio) => [
    shape("line", { class: "mark", x1: left, x2: right, y1: y(ratio), y2: y(ratio) }),
    label(percent(ratio), left - 4, y(ratio) + 4, "end"),
  ]);
  const step = Math.ceil((high - low) / 7);
  const columns = [];
  for (let power = Math.ceil(low); power <= high; power += step) {
    const size = 2 ** power;
    columns.push(
      shape("line", { class: "mark", x1: x(size), x2: x(size), y1: top, y2: bottom }),
      label(size.toLocaleString(), x(size), HEIGHT - 8, "middle"));
  }
  return rows.concat(columns);
}

// The points of each lifetime, ascending.
function lines(advice) {
  const all = new Map();
  for (const point of advice.curve) {
    if (!all.has(point.lifetime_seconds)) all.set(point.lifetime_seconds, []);
    all.get(point.lifetime_seconds).push(point);
  }
  return [...all.values()];
}

// Without sufficient evidence only what is measured is shown.
function drawMeasured(advice) {
  by("curve").replaceChildren();
  by("curve").setAttribute("aria-label", "no curve; " + today(advice));
  by("lifetimes").replaceChildren(element("li", today(advice), "today"));
}

function drawCurve(advice) {
  const { low, high, x, y } = scales(advice);
  const parts = axes({ low, high, x, y });
  const drawn = lines(advice);
  drawn.forEach((points, number) => {
    const path = points.map((point, i) =>
      (i ? "L" : "M") + x(point.size).toFixed(1) + " " + y(point.hit_ratio).toFixed(1));
    // A line ends at the size from which on it is flat.
    path.push("H" + PLOT[1]);
    parts.push(shape("path", { class: "line line" + number, d: path.join("") }));
  });
  const { size, hit_ratio: ratio } = advice.measured;
  if (size && ratio !== null) {
    parts.push(shape("circle", { class: "today", cx: x(size), cy: y(ratio), r: 6 }));
  }
  if (advice.recommended) {
    const [at, up] = [x(advice.recommended.size), y(advice.recommended.hit_ratio)];
    parts.push(shape("rect", { class: "advised", x: at - 5, y: up - 5, width: 10, height: 10 }));
  }
  by("curve").replaceChildren(...parts);
  by("curve").setAttribute("aria-label", "hit ratio against cache size; " + today(advice));
  by("lifetimes").replaceChildren(
    element("li", today(advice), "today"),
    ...(advice.recommended ? [element("li", "recommended", "advised")] : []),
    ...drawn.map((points, number) => {
      const best = points[points.length - 1];
      return element("li", "lifetime " + best.lifetime_seconds + " s: up to "
        + percent(best.hit_ratio) + " with " + sessions(best.size), "line" + number);
    }));
}

function drawCaches(services) {
  const known = services.filter((service) => service.cache !== null && service.id !== null);
  by("caches").hidden = known.length === 0;
  if (known.length === 0) return;
  if (!known.some((service) => service.id === caches.open)) caches.open = known[0].id;
  const select = by("service");
  if (document.activeElement !== select) {
    select.replaceChildren(...known.map((service) => {
      const option = element("option", serviceName(service));
      option.value = service.id;
      option.selected = service.id === caches.open;
      return option;
    }));
  }
  const { advice } = caches;
  if (advice === null || advice.id !== caches.open) return;
  by("advised").textContent = verdict(advice);
  if (advice.curve.length === 0) drawMeasured(advice);
  else drawCurve(advice);
}

async function refreshCaches() {
  const { services } = await query("services");
  drawServices(services);
  drawCaches(services);
  const { open } = caches;
  if (open === null) return;
  // The service may have left the table since.
  const advice = await query("services/" + open + "/advice").catch(() => null);
  if (caches.open === open) caches.advice = advice;
  drawCaches(services);
}

by("service").addEventListener("change", async (event) => {
  caches.open = Number(event.target.value);
  caches.advice = null;
  await refreshCaches().catch(() => {});
});
