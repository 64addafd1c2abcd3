// What stands beside the calls: the server as a whole, failures, pools, plugins, and what happens.

import { $, clock, coded, count, duration, make, rate, reason, reconcile, say, who } from "./view.js";

const MOST_EVENTS = 100;

const WORDS = {
  "call-starting": "is calling",
  "call-up": "is up",
  "call-down": "is down",
  "call-failed": "failed",
  refused: "was refused",
};

export function showServer(stats) {
  const workers = stats.workers > 1 ? `, ${stats.workers} workers` : "";
  say($("server"), `version ${stats.version}, up for ${duration(stats.seconds)}${workers}`);
  const condition = stats.stopping ? "stopping" : stats.draining ? "draining" : "";
  $("condition").hidden = !condition;
  say($("condition"), condition);
  const { up, ending, ...coming } = stats.calls;
  const ended = Object.values(stats.ended_total).reduce((sum, each) => sum + each, 0);
  const tiles = [
    ["Up", count(up)],
    ["Coming up", count(Object.values(coming).reduce((sum, each) => sum + each, 0))],
    ["Ending", count(ending)],
    ["In", rate(stats.rate_in)],
    ["Out", rate(stats.rate_out)],
    ["Ended so far", count(ended)],
    ["Refused so far", count(stats.refused_total)],
    ["Internal errors", count(stats.internal_errors_total)],
  ];
  const create = ([name]) => make("div", {}, make("dt", {}, name), make("dd", {}));
  reconcile($("tiles"), tiles, ([name]) => name, create, (tile, [name, value]) => {
    say(tile.lastElementChild, value);
    tile.classList.toggle("bad", name === "Internal errors" && value !== "0");
  });
}

// Failures that follow each other and are the same but for their time are one card.
export function showFailures(failures) {
  const cards = [];
  for (const one of failures) {
    const kind = [one.event, one.cause, one.why, one.peer, one.user, one.seen_as].join("\n");
    const last = cards.at(-1);
    if (last?.kind === kind) Object.assign(last, { times: last.times + 1, first: one });
    else cards.push({ kind, one, first: one, times: 1 });
  }
  say($("failures-count"), failures.length ? count(failures.length) : "");
  const key = (card) => `${card.first.time} ${card.first.session_id} ${card.first.peer}`;
  reconcile($("failures"), cards, key, makeFailure, (item, { one, times }) => {
    say(item.querySelector("time"), clock(one.time));
    say(item.querySelector(".times"), times > 1 ? `${times} times` : "");
  });
  if (!cards.length) nothing("failures", "None that the server remembers.");
}

function makeFailure({ one }) {
  const numbers = one.windows_errors.join(", ").replace(/, (\d+)$/, " or $1");
  const name = nameOf(one);
  return make(
    "li",
    {},
    make(
      "p",
      { class: "head" },
      make("time", { datetime: one.time }),
      make("strong", {}, name),
      make("span", { class: "times" }),
      one.cause ? make("code", {}, one.cause) : null,
    ),
    make("p", { class: "why" }, reason(one)),
    one.remedy ? make("p", { class: "remedy" }, make("strong", {}, "What to do: "), coded(one.remedy)) : null,
    numbers ? make("p", { class: "note" }, `Windows may show error ${numbers}.`) : null,
  );
}

function nameOf(event) {
  return event.user || event.seen_as ? `${who(event)} from ${event.peer}` : event.peer;
}

export function showPools({ pools }) {
  const create = () => make("li", {}, make("span", { class: "name" }), make("meter", { min: 0 }), make("span", { class: "number" }));
  reconcile($("pools"), pools, (pool) => `${pool.plugin} ${pool.pool}`, create, (item, pool) => {
    const [name, meter, words] = item.children;
    say(name, pool.pool);
    meter.max = Math.max(1, pool.size);
    meter.high = pool.size * 0.9;
    meter.low = pool.size * 0.8;
    meter.optimum = 0;
    meter.value = pool.held;
    meter.setAttribute("aria-label", `${pool.pool}, ${pool.held} of ${pool.size} addresses held`);
    say(words, `${count(pool.held)} of ${count(pool.size)}`);
  });
  if (!pools.length) nothing("pools", "No plugin tells of pools.");
}

export function showPlugins({ plugins }) {
  const create = () =>
    make("li", {}, make("span", { class: "name" }), make("span", { class: "badge" }), make("span", { class: "note" }));
  reconcile($("plugins"), plugins, (plugin) => plugin.name, create, (item, { name, version, health, last_error }) => {
    const [title, badge, words] = item.children;
    say(title, version ? `${name} ${version}` : name);
    say(badge, health.ok ? "well" : "ill");
    badge.className = health.ok ? "badge up" : "badge bad";
    const remedy = health.remedy ? ` What to do: ${health.remedy}.` : "";
    say(words, health.ok ? health.sentence : `${health.sentence || last_error}.${remedy}`);
  });
  if (!plugins.length) nothing("plugins", "None.");
}

export function nothing(id, words) {
  if ($(id).textContent !== words) $(id).replaceChildren(make("li", { class: "note" }, words));
}

export function showEvent(kind, data) {
  let line;
  if (kind === "missed") line = make("li", { class: "note" }, `${count(data.missed)} events were missed`);
  else {
    const name = nameOf(data);
    const why = data.why && kind !== "call-starting" && kind !== "call-up" ? `: ${reason(data)}` : "";
    line = make("li", { class: kind }, make("time", { datetime: data.time }, clock(data.time)), ` ${name} `,
      make("strong", {}, WORDS[kind] ?? kind), why);
  }
  $("events").prepend(line);
  while ($("events").childElementCount > MOST_EVENTS) $("events").lastElementChild.remove();
}
