// Milliseconds of the page's own requests: median, 95th percentile, and a line of the latest ones.

import { $, h, milliseconds, s } from "./dom.js";

const WIDTH = 84;
const HEIGHT = 24;

/** The quantile `q` of some numbers, by the nearest rank. */
export function quantile(numbers, q) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
}

export function showLatency(timings) {
  const median = quantile(timings, 0.5);
  const slow = quantile(timings, 0.95);
  const top = Math.max(...timings);
  const step = WIDTH / Math.max(1, timings.length - 1);
  const points = timings.map((time, i) => `${(i * step).toFixed(1)},${(HEIGHT - 2 - (time / top) * (HEIGHT - 4)).toFixed(1)}`);
  const line = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" },
    s("polyline", { points: points.join(" ") }));
  $("latency").setAttribute("aria-label",
    `Latest ${timings.length} requests of this page: median ${milliseconds(median)}, 95th percentile ${milliseconds(slow)}`);
  $("latency").title = `Latest ${timings.length} requests of this page, network included`;
  $("latency").replaceChildren(line, h("span", {}, `p50 ${milliseconds(median)}`, h("br"), `p95 ${milliseconds(slow)}`));
}
