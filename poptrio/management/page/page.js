// The page: asks every two seconds while somebody looks, less often while the server is away, and says so.

import { ask, events, keepToken, Refused } from "./api.js";
import { Calls } from "./calls.js";
import { Chart } from "./charts.js";
import { nothing, showEvent, showFailures, showPlugins, showPools, showServer } from "./panels.js";
import { $, count, rate, say } from "./view.js";

const INTERVAL = 2_000; // milliseconds between two questions
const LONGEST_INTERVAL = 30_000; // while the server is away
const SELDOM = 10_000; // for what changes slowly
const SAID_FOR = 8_000;

const rates = new Chart($("chart-rates"), "Traffic", [["in", "one"], ["out", "two"]], (bits) => rate(bits / 8), 1000);
const callsOverTime = new Chart($("chart-calls"), "Calls", [["up", "one"], ["coming up", "two"]], count, 5);
const calls = new Calls(() => wake(), tell);

let failed = 0; // questions in a row without an answer
let seldomAt = -Infinity;
let wake = () => {};
let listening = false;
let resume = listenForEver; // to events: begins with the first answer, and again after trouble
let hushed;
let paths; // what the server can be asked

async function look() {
  const [stats, page] = await Promise.all([ask("/v1/stats"), ask("/v1/sessions", { query: calls.query() })]);
  showServer(stats);
  const { up, ending, ...coming } = stats.calls;
  rates.add([8 * stats.rate_in, 8 * stats.rate_out]);
  callsOverTime.add([up, Object.values(coming).reduce((sum, each) => sum + each, 0)]);
  calls.show(page);
  await calls.showDetails();
  if (performance.now() - seldomAt < SELDOM) return;
  seldomAt = performance.now();
  showFailures((await ask("/v1/failures", { query: { limit: 100 } })).failures);
  await Promise.all([optional("/v1/pools", "pools", showPools), optional("/v1/plugins", "plugins", showPlugins)]);
}

// What an older server does not have, or cannot say just now.
async function optional(path, id, show) {
  paths ??= (await ask("/openapi.json")).paths;
  if (!(path in paths)) return nothing(id, "This server does not tell.");
  try {
    show(await ask(path));
  } catch (error) {
    if (!(error instanceof Refused) || error.status === 401) throw error;
    nothing(id, error.message);
  }
}

async function lookForEver() {
  for (;;) {
    await visible();
    let pause = INTERVAL;
    try {
      await look();
      if (failed || !listening) resume();
      failed = 0;
      $("away").hidden = true;
    } catch (error) {
      if (error instanceof Refused && error.status === 401) {
        failed ||= 1;
        await askForToken(error.sentence);
        continue;
      }
      failed += 1;
      pause = Math.min(INTERVAL * 2 ** failed, LONGEST_INTERVAL);
      const why = error instanceof Refused ? `The server refuses: ${error.message}` : "The server does not answer";
      say($("away-text"), `${why}. What is shown is old. Next try in ${pause / 1000} s.`);
      $("away").hidden = false;
    }
    await Promise.race([new Promise((done) => setTimeout(done, pause)), new Promise((done) => (wake = done))]);
  }
}

async function listenForEver() {
  listening = true;
  for (;;) {
    await visible();
    const leaving = new AbortController();
    const leave = () => document.hidden && leaving.abort();
    document.addEventListener("visibilitychange", leave);
    try {
      for await (const [kind, data] of events(leaving.signal)) {
        showEvent(kind, data);
        if (kind !== "call-starting") soon();
      }
    } catch {
      // the other loop says what is wrong
    } finally {
      document.removeEventListener("visibilitychange", leave);
    }
    const pause = failed ? LONGEST_INTERVAL : INTERVAL;
    await Promise.race([new Promise((done) => setTimeout(done, pause)), new Promise((done) => (resume = done))]);
  }
}

// Something has happened: look at once, but not more than twice in a second.
function soon() {
  seldomAt = -Infinity;
  hushed ??= setTimeout(() => {
    hushed = undefined;
    if (!failed) wake();
  }, INTERVAL / 4);
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((done) => document.addEventListener("visibilitychange", () => done(), { once: true }));
}

function askForToken(why) {
  say($("token-error"), why === "a token is needed" ? "" : why);
  $("token-text").value = "";
  $("token").showModal();
  return new Promise((done) => {
    const cancelled = (event) => event.preventDefault(); // nothing can be seen without
    $("token").addEventListener("cancel", cancelled);
    $("token-form").addEventListener(
      "submit",
      (event) => {
        event.preventDefault();
        keepToken($("token-text").value.trim());
        $("token-text").value = "";
        $("token").removeEventListener("cancel", cancelled);
        $("token").close();
        done();
      },
      { once: true },
    );
  });
}

let quiet;
function tell(text) {
  say($("said"), text);
  $("said").hidden = false;
  clearTimeout(quiet);
  quiet = setTimeout(() => ($("said").hidden = true), SAID_FOR);
}

$("again").addEventListener("click", () => wake());
lookForEver();
