// How things are shown. Whatever a client may have chosen becomes a text node or an attribute, never markup.

export const $ = (id) => document.getElementById(id);

// An element with attributes and children; strings become text nodes. Attributes that are null or false are left out.
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

const SVG = "http://www.w3.org/2000/svg";

export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== ""));
  return element;
}

// Changes a text only where it is another, so that selections and screen readers are left alone.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Makes `parent` have one child for each of `items`, in their order; the same key keeps the same element, and its focus.
export function reconcile(parent, items, key, create, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    if (child === undefined) {
      child = create(item);
      child.dataset.key = name;
    }
    known.delete(name);
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of known.values()) child.remove();
  if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

export function facts(list, pairs) {
  const shown = pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  list.replaceChildren(...shown.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
}

const number = new Intl.NumberFormat("en");
const two = (value) => String(value).padStart(2, "0");

export const count = (value) => number.format(value);

function scaled(value, base, units) {
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  return `${unit && value < 99.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export const octets = (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);

// Octets per second as what lines are sold in.
export const rate = (value) => scaled(value * 8, 1000, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]);

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const days = Math.floor(whole / 86400);
  const clock = `${Math.floor((whole % 86400) / 3600)}:${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return days ? `${days} d ${clock}` : clock;
}

export function clock(time) {
  const at = new Date(time);
  const hours = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return at.toDateString() === new Date().toDateString() ? hours : `${two(at.getDate())}.${two(at.getMonth() + 1)}. ${hours}`;
}

// The user as far as known: as the plugins know it, and as the client wrote it where that is another.
export function who(one) {
  if (!one.user) return one.seen_as || "nobody yet";
  const written = one.seen_as.replace(` (looked up as ${one.user})`, "");
  return written && written !== one.user ? `${one.user} (${written})` : one.user;
}

// The sentence of the log, without what it says of Windows.
export function reason(event) {
  return event.why.replace(/ \(Windows shows error [^)]*\)$/, "");
}

// Text with `code` in it as nodes.
export function coded(text) {
  return text.split("`").map((part, which) => (which % 2 ? make("code", {}, part) : part));
}
