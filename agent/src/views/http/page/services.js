// The table of services: those with the most full and failed handshakes first.
"use strict";

const SERVICES = 100;
// What the clients of a service show, and the remedy.
const SURGE = {
  storm: "known clients return at once; a larger session cache and random delays in clients help",
  attack: "clients that complete no handshake, or use no session that they were given; "
    + "/api/v1/networks lists their networks",
};

// A service with the names of its owner that exist.
function serviceName({ namespace, pod, container, workload, port }) {
  const names = [namespace, workload].filter((name) => name !== "");
  const parts = [names.join("/") + ", port " + (port === null ? "unknown" : port)];
  if (pod !== "") parts.push("pod " + pod);
  if (container !== "") parts.push("container " + container);
  return parts.join(", ");
}

// The commonest miss reason and failure cause, with the remedy of each.
function serviceProblem({ misses, failures }, clients) {
  const surge = clients === null ? undefined : SURGE[clients.surge];
  if (surge !== undefined) return clients.surge + ": " + surge;
  const problems = [commonest(misses), commonest(failures)].filter((problem) => problem);
  return problems.map(([name, count]) =>
    count.toLocaleString() + " × " + name + ": " + (REMEDY[name] || "")).join("; ");
}

function drawServices(services) {
  const counted = new Map();
  for (const service of services) {
    if (service.handshakes !== null) counted.set(serviceName(service), service);
  }
  const notResumed = ({ handshakes }) => handshakes.full + sum(handshakes.failures);
  const rows = [...counted].sort(([, a], [, b]) => notResumed(b) - notResumed(a));
  by("services").hidden = rows.length === 0;
  by("service-rows").replaceChildren(...rows.slice(0, SERVICES).map(([name, { handshakes, clients }]) => {
    const row = element("tr");
    const cell = (title, value, type) => {
      const made = element("td", value, type);
      made.dataset.name = title;
      row.append(made);
    };
    const offers = Object.values(handshakes.offers);
    const accepted = offers.reduce((all, one) => all + one.accepted, 0);
    const offered = offers.reduce((all, one) => all + one.accepted + one.missed + one.failed, 0);
    const ratio = share(accepted, offered);
    cell("service", name, "peer");
    cell("accepted", percent(ratio), "number " + grade(ratio));
    cell("full", handshakes.full.toLocaleString(), "number");
    cell("resumed", handshakes.resumed.toLocaleString(), "number");
    cell("failed", sum(handshakes.failures).toLocaleString(), "number");
    cell("remedy", serviceProblem(handshakes, clients), "remedy");
    return row;
  }));
}
