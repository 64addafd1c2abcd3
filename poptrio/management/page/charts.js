// Lines over the last ten minutes, as SVG. Words stand outside of it, so that it may be stretched.

import { draw, make, say } from "./view.js";

const SPAN = 600_000; // milliseconds
const GAP = 15_000; // after so many without a value, the line is broken
const WIDTH = 600;
const HEIGHT = 120;

export class Chart {
  // `series` are [label, class] pairs; `format` makes words of a value; `least` is the smallest top of the scale.
  constructor(figure, title, series, format, least) {
    this.points = [];
    this.series = series;
    this.format = format;
    this.least = least;
    this.lines = series.map(([, kind]) => draw("path", { class: `line ${kind}` }));
    this.now = series.map(() => make("output", {}));
    this.top = make("span", {});
    this.svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    for (const height of [0.25, 0.5, 0.75]) {
      this.svg.append(draw("path", { class: "grid", d: `M0 ${HEIGHT * height}H${WIDTH}` }));
    }
    this.svg.append(...this.lines);
    const legend = series.map(([label, kind], which) => {
      const swatch = draw("path", { class: `line ${kind}`, d: "M0 5H24" });
      const sample = draw("svg", { class: "swatch", viewBox: "0 0 24 10", "aria-hidden": "true" }, swatch);
      return make("span", { class: "series" }, sample, `${label} `, this.now[which]);
    });
    figure.append(
      make("figcaption", {}, make("strong", {}, title), legend),
      make("div", { class: "plot" }, this.top, this.svg),
      make("div", { class: "axis", "aria-hidden": "true" }, make("span", {}, "10 min ago"), make("span", {}, "now")),
    );
    this.title = title;
  }

  // One value for each series, now.
  add(values) {
    const now = Date.now();
    this.points.push([now, values]);
    while (this.points[0][0] < now - SPAN) this.points.shift();
    const largest = Math.max(this.least, ...this.points.flatMap(([, each]) => each));
    const top = nice(largest);
    say(this.top, this.format(top));
    this.lines.forEach((line, which) => line.setAttribute("d", this.path(which, now, top)));
    this.now.forEach((output, which) => say(output, this.format(values[which])));
    const words = this.series.map(([label], which) => `${label} ${this.format(values[which])}`);
    this.svg.setAttribute("aria-label", `${this.title}, last ten minutes; now ${words.join(", ")}`);
  }

  path(which, now, top) {
    let before = -Infinity;
    return this.points
      .map(([time, values]) => {
        const x = WIDTH * (1 - (now - time) / SPAN);
        const y = HEIGHT - 2 - (HEIGHT - 4) * (values[which] / top);
        const verb = time - before > GAP ? "M" : "L";
        before = time;
        return `${verb}${x.toFixed(1)} ${y.toFixed(1)}`;
      })
      .join("");
  }
}

// The next of 1, 2, 5, 10, 20, 50 and so on.
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}
