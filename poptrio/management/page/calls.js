// The table of calls, one call in detail, and ending one.

import { ask, Refused } from "./api.js";
import { $, count, duration, facts, make, octets, rate, reconcile, say, who } from "./view.js";

const MOST_ROWS = 200;

// Head, order to sort by, text.
const COLUMNS = [
  ["User", "user", who],
  ["State", null, (one) => one.state],
  ["Peer", "peer", (one) => one.peer],
  ["Address", "address", (one) => one.address ?? ""],
  ["Duration", "seconds", (one) => duration(one.seconds)],
  ["Rate in", "rate_in", (one) => rate(one.rate_in)],
  ["Rate out", "rate_out", (one) => rate(one.rate_out)],
  ["In", "bytes_in", (one) => octets(one.bytes_in)],
  ["Out", "bytes_out", (one) => octets(one.bytes_out)],
];
const NUMBERS = new Set(["seconds", "rate_in", "rate_out", "bytes_in", "bytes_out"]);

export class Calls {
  // `refresh` asks for new figures soon; `tell` says something to the operator.
  constructor(refresh, tell) {
    this.refresh = refresh;
    this.tell = tell;
    this.shown = null; // the call whose details are open
    this.leaving = null; // the call that may be kicked
    this.makeHead();
    for (const [id, event] of [["search", "input"], ["state", "change"], ["order", "change"], ["descending", "change"]]) {
      $(id).addEventListener(event, () => this.sorted());
    }
    $("calls-form").addEventListener("submit", (event) => event.preventDefault());
    $("details-close").addEventListener("click", () => $("details").close());
    $("details").addEventListener("close", () => (this.shown = null));
    $("details-kick").addEventListener("click", () => this.confirm(this.shown));
    $("kick-no").addEventListener("click", () => $("kick").close());
    $("kick-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.kick();
    });
  }

  query() {
    return {
      search: $("search").value.trim(),
      state: $("state").value,
      order: $("order").value,
      descending: $("descending").checked,
      limit: MOST_ROWS,
    };
  }

  makeHead() {
    const cells = COLUMNS.map(([head, order]) => {
      const numeric = NUMBERS.has(order) ? "number" : null;
      if (order === null) return make("th", { role: "columnheader", scope: "col" }, head);
      const button = make("button", { type: "button", on: { click: () => this.sortBy(order) } }, head);
      return make("th", { role: "columnheader", scope: "col", "data-order": order, class: numeric }, button);
    });
    const actions = make("th", { role: "columnheader", scope: "col" }, make("span", { class: "hidden" }, "Act"));
    $("calls-head").append(...cells, actions);
    this.markOrder();
  }

  sortBy(order) {
    $("descending").checked = $("order").value === order ? !$("descending").checked : NUMBERS.has(order);
    $("order").value = order;
    this.sorted();
  }

  sorted() {
    this.markOrder();
    this.refresh();
  }

  markOrder() {
    for (const cell of $("calls-head").children) {
      if (cell.dataset.order !== $("order").value) cell.removeAttribute("aria-sort");
      else cell.setAttribute("aria-sort", $("descending").checked ? "descending" : "ascending");
    }
  }

  show({ total, sessions }) {
    say($("calls-count"), count(total));
    reconcile($("calls-body"), sessions, (one) => one.session_id, (one) => this.makeRow(one), updateRow);
    const narrowed = $("search").value.trim() || $("state").value;
    let note = "";
    if (total > sessions.length) note = `The first ${count(sessions.length)} of ${count(total)} calls; search for others.`;
    else if (total === 0) note = narrowed ? "No call fits." : "Nobody is on.";
    say($("calls-note"), note);
  }

  makeRow(one) {
    const row = make("tr", { role: "row" });
    for (const [head, order] of COLUMNS) {
      const cell = make("td", { role: "cell", "data-label": head, class: NUMBERS.has(order) ? "number" : null });
      if (order === "user") {
        cell.append(make("button", { type: "button", class: "link", on: { click: () => this.open(row.call) } }));
      } else if (order === null) cell.append(make("span", {}));
      row.append(cell);
    }
    const kick = make("button", { type: "button", class: "danger", on: { click: () => this.confirm(row.call) } }, "Kick");
    row.append(make("td", { role: "cell", class: "act" }, kick));
    row.call = one;
    return row;
  }

  async open(call) {
    this.shown = call;
    say($("details-title"), who(call));
    for (const id of ["details-steps", "details-facts", "details-drops"]) $(id).replaceChildren();
    say($("details-note"), "");
    $("details").showModal();
    $("details-title").focus(); // not the button that ends the call
    await this.showDetails();
  }

  // Brings the open details up to date.
  async showDetails() {
    const call = this.shown;
    if (call === null || call.over) return;
    let one;
    try {
      one = await ask(`/v1/sessions/${call.call}`);
      if (one.session_id !== call.session_id) throw new Refused(404, "another call has its number", "");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (this.shown === call) {
        call.over = error.status === 404;
        say($("details-note"), call.over ? "This call has ended." : error.message);
        $("details-kick").disabled = true;
      }
      return;
    }
    if (this.shown !== call) return;
    $("details-kick").disabled = one.state === "ending";
    say($("details-title"), who(one));
    showSteps(one.steps_ms);
    facts($("details-facts"), factsOf(one));
    const drops = Object.entries(one.drops).map(([name, value]) => [name.replaceAll("_", " "), count(value)]);
    facts($("details-drops"), drops.length ? drops : [["none", "0"]]);
  }

  confirm(call) {
    this.leaving = call;
    say($("kick-who"), `${who(call)}, from ${call.peer}${call.address ? `, ${call.address} inside` : ""}`);
    say($("kick-error"), "");
    $("kick-reason").value = "";
    $("kick").showModal();
    $("kick-reason").focus();
  }

  async kick() {
    const call = this.leaving;
    $("kick-yes").disabled = true;
    try {
      // Not by its Call ID, which another call may have by now.
      const { ended } = await ask("/v1/kick", { body: { session_id: call.session_id, reason: $("kick-reason").value } });
      this.tell(ended ? `The call of ${who(call)} is being ended.` : `The call of ${who(call)} was over already.`);
      $("kick").close();
      this.refresh();
    } catch (error) {
      say($("kick-error"), error instanceof Refused ? error.message : "The server does not answer; nothing was done, as far as known.");
    } finally {
      $("kick-yes").disabled = false;
    }
  }
}

function updateRow(row, one) {
  row.call = one;
  COLUMNS.forEach(([, order, text], which) => {
    const cell = row.children[which];
    const target = cell.firstElementChild ?? cell;
    say(target, text(one));
    if (order === null) target.className = `badge ${one.state}`;
  });
  const kick = row.lastElementChild.firstElementChild;
  kick.setAttribute("aria-label", `Kick ${who(one)}`);
  kick.disabled = one.state === "ending";
}

// Each step as a bar from where the one before it ended.
function showSteps(steps) {
  const all = Object.entries(steps).sort(([, one], [, other]) => one - other);
  const total = Math.max(1, ...all.map(([, end]) => end));
  let begin = 0;
  const bars = all.map(([name, end]) => {
    const shape = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    shape.setAttribute("viewBox", "0 0 100 10");
    shape.setAttribute("preserveAspectRatio", "none");
    shape.setAttribute("aria-hidden", "true");
    const bar = document.createElementNS(shape.namespaceURI, "rect");
    bar.setAttribute("x", (100 * begin) / total);
    bar.setAttribute("width", Math.max(0.5, (100 * (end - begin)) / total));
    bar.setAttribute("height", 10);
    shape.append(bar);
    const took = `${(end - begin).toFixed(1)} ms`;
    begin = end;
    return make("li", {}, make("span", {}, name), shape, make("span", { class: "number" }, took));
  });
  $("details-steps").replaceChildren(...(bars.length ? bars : [make("li", {}, "none yet")]));
}

function factsOf(one) {
  return [
    ["State", one.cause ? `${one.state}: ${one.cause}` : one.state],
    ["Why", one.why],
    ["Peer", one.peer],
    ["Address", one.address],
    ["Server", one.server],
    ["Since", new Date(one.started).toLocaleString()],
    ["Duration", duration(one.seconds)],
    ["In", `${octets(one.bytes_in)}, ${count(one.packets_in)} packets, ${rate(one.rate_in)}`],
    ["Out", `${octets(one.bytes_out)}, ${count(one.packets_out)} packets, ${rate(one.rate_out)}`],
    ["Authentication", one.authentication],
    ["Accepted by", one.plugin],
    ["Encryption", one.encryption],
    ["Host name", one.host_name],
    ["Vendor", one.vendor],
    ["Phone number", one.phone_number],
    ["Session limit", one.session_timeout === null ? "" : duration(one.session_timeout)],
    ["Idle limit", one.idle_timeout === null ? "" : duration(one.idle_timeout)],
    ["Filters", one.filter_ids.join(", ")],
    ["Routes", one.routes.join(", ")],
    ["Call ID", `${one.call}, the client's ${one.peer_call}`],
    ["Session", one.session_id],
  ];
}
