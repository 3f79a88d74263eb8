// The table of services: those with the most full and failed handshakes first.
"use strict";

const SERVICES = 100;

// A service with the names of its owner that exist.
function serviceName({ namespace, pod, container, workload, port }) {
  const names = [namespace, workload].filter((name) => name !== "");
  const parts = [names.join("/") + ", port " + (port === null ? "unknown" : port)];
  if (pod !== "") parts.push("pod " + pod);
  if (container !== "") parts.push("container " + container);
  return parts.join(", ");
}

// The commonest miss reason and failure cause, with the remedy of each.
function serviceProblem({ misses, failures }) {
  const problems = [commonest(misses), commonest(failures)].filter((problem) => problem);
  return problems.map(([name, count]) =>
    count.toLocaleString() + " × " + name + ": " + (REMEDY[name] || "")).join("; ");
}

function drawServices(services) {
  const counted = new Map();
  for (const service of services) {
    if (service.handshakes !== null) counted.set(serviceName(service), service.handshakes);
  }
  const rows = [...counted].sort(([, a], [, b]) =>
    b.full + sum(b.failures) - a.full - sum(a.failures));
  by("services").hidden = rows.length === 0;
  by("service-rows").replaceChildren(...rows.slice(0, SERVICES).map(([name, handshakes]) => {
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
    cell("remedy", serviceProblem(handshakes), "remedy");
    return row;
  }));
}
