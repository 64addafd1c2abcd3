// Asks the server. The token, where one is needed, lives in this tab's session storage and nowhere else.

const TOKEN = "poptrio.token";
const TIMEOUT = 10_000; // milliseconds for an answer

// The server has answered that it cannot be done, and why.
export class Refused extends Error {
  constructor(status, sentence, remedy) {
    super(remedy ? `${sentence}: ${remedy}` : sentence);
    this.status = status;
    this.sentence = sentence;
  }
}

export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

// The JSON answer to GET, or to POST where there is a body. Throws Refused, or TypeError when the server is away.
export async function ask(path, { query = {}, body } = {}) {
  const response = await send(path, query, body, AbortSignal.timeout(TIMEOUT));
  return response.json();
}

// Server-sent events as [kind, data]. EventSource cannot send a token, so the stream is read by hand.
export async function* events(signal) {
  const response = await send("/v1/events", {}, undefined, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const fields = new Map(message.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.has("data")) yield [fields.get("event"), JSON.parse(fields.get("data"))];
    }
  }
}

async function send(path, query, body, signal) {
  const given = Object.entries(query).filter(([, value]) => value !== "");
  const url = given.length ? `${path}?${new URLSearchParams(given)}` : path;
  const headers = { Accept: "application/json" };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(url, {
    method: body === undefined ? "GET" : "POST",
    body: body === undefined ? undefined : JSON.stringify(body),
    headers,
    signal,
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
  });
  if (response.ok) return response;
  let said = {};
  try {
    said = await response.json();
  } catch {
    // not from poptrio
  }
  throw new Refused(response.status, said.error ?? `the server answers with status ${response.status}`, said.remedy ?? "");
}
