// The view of the run behind a release: its facts, figures beside baselines, and the index.

import { get, problemBox } from "./api.js";
import { $, count, empty, fill, h, s, skeleton, whole } from "./dom.js";
import { change } from "./state.js";

const RULES = { seen_removed: "Seen items removed", seen_kept: "Seen items kept", test: "Test rows" };

/** Show facts and evaluation of a release. */
export async function showEvaluation(asked, facts, served, signal) {
  const view = $("view-evaluation");
  fill(view, h("div", { class: "card" }, h("h2", {}, "Evaluation"), skeleton(6)));
  try {
    const told = await get("/v1/evaluation", { release: facts.name }, signal);
    fill(view, versionCard(facts, served), figuresCard(asked, told), indexCard(told.index));
  } catch (problem) {
    if (problem.name === "AbortError") return;
    fill(view, h("div", { class: "card" }, h("h2", {}, "Evaluation"),
      problemBox(problem, () => showEvaluation(asked, facts, served, signal))));
  }
}

function versionCard(facts, served) {
  const told = {
    version: facts.version, kind: facts.kind, model: facts.model, exported: facts.created_at, users: whole(facts.users),
    items: whole(facts.items), data: facts.data.name, "training rows": facts.data.train_rows && whole(facts.data.train_rows),
    "versions kept": served?.versions?.join(", "), state: served?.state, pinned: served?.pinned ? "yes" : null, checksum: facts.checksum?.slice(0, 12),
  };
  const shown = Object.entries(told).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const rejected = served?.rejected ?? [];
  return h("div", { class: "card" }, h("h2", {}, `Release ${facts.name}`),
    rejected.length ? h("p", { class: "note" }, rejected.map((one) => `Version ${one.version} was refused: ${one.error}`).join(" ")) : null,
    h("dl", { class: "tiles" }, shown.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value))))));
}

function figuresCard(asked, told) {
  if (!told.rows.length) {
    return h("div", { class: "card" }, h("h2", {}, "Evaluation"), empty("This release carries no figures.",
      h("p", {}, "It was exported without a run. ", h("code", {}, "tfrecall run"), " evaluates on a test part and keeps the figures with the release.")));
  }
  const rule = told.rules.includes(asked.rule) ? asked.rule : told.leading ?? told.rules[0];
  const rows = told.rows.filter((one) => one.figures[rule]);
  const metrics = told.metrics.filter((name) => rows.some((one) => name in one.figures[rule]));
  const tested = told.data.test_rows ? `${count(told.data.test_rows, "test row")} of ${told.data.name}. ` : "";
  return h("div", { class: "card" }, h("h2", {}, "Evaluation beside baselines"),
    told.rules.length > 1 ? ruleChoice(told.rules, rule) : null,
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures of the model and its baselines" },
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "model"), metrics.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows.map((one) => h("tr", { class: one.is_model ? "own" : "" }, h("th", { scope: "row" }, one.name),
          metrics.map((name) => cell(one, name, rule, rows, told))))))),
    h("p", { class: "soft" }, `${tested}Every item of the catalogue is ranked; `, h("b", {}, "★"), " marks the best of a column. ",
      Object.keys(told.intervals).length ? "Below a figure its 95 % interval over users." : ""));
}

function ruleChoice(rules, rule) {
  return h("fieldset", { class: "segments" }, h("legend", { class: "hidden" }, "Rule of the figures"),
    rules.map((name) => h("label", {}, h("input", {
      type: "radio", name: "rule", value: name, checked: name === rule, change: () => change({ rule: name }, true),
    }), h("span", {}, RULES[name] ?? name))));
}

function cell(one, name, rule, rows, told) {
  const value = one.figures[rule][name];
  if (value === undefined) return h("td", {}, "–");
  const values = rows.map((other) => other.figures[rule][name]).filter((other) => other !== undefined);
  const best = value === (told.lower.includes(name) ? Math.min(...values) : Math.max(...values)) && values.length > 1;
  const ends = told.intervals[one.name]?.[rule]?.[name];
  return h("td", { class: best ? "best" : "" }, value.toFixed(4), best ? h("span", { "aria-hidden": "true" }, " ★") : null,
    best ? h("span", { class: "hidden" }, " best") : null,
    ends ? h("small", {}, `${ends[0].toFixed(3)}–${ends[1].toFixed(3)}`) : null);
}

function indexCard(tuning) {
  if (!tuning.rows?.length) {
    return h("div", { class: "card" }, h("h2", {}, "Index"), empty("Exact search only.",
      h("p", {}, "Every item is scored for each request, so recall is 1. An approximate index is worth its loss from some 100,000 items.")));
  }
  const chosen = tuning.rows[tuning.rows.length - 1];
  return h("div", { class: "card" }, h("h2", {}, "Index: recall and latency"), h("div", { class: "beside" }, curve(tuning),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Measured efforts of the index" }, h("table", {},
      h("thead", {}, h("tr", {}, ["search", `recall@${tuning.k}`, "p50", "p95"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, h("tr", {}, h("th", { scope: "row" }, "exact"), h("td", {}, "1.0000"), h("td", {}, micro(tuning.exact_p50_us)), h("td", {}, "–")),
        tuning.rows.map((one) => h("tr", { class: one === chosen ? "own" : "" },
          h("th", { scope: "row" }, `search_k ${whole(one.search_k)}${one === chosen ? " (chosen)" : ""}`),
          h("td", {}, one.recall.toFixed(4)), h("td", {}, micro(one.p50_us)), h("td", {}, micro(one.p95_us)))))))),
    h("p", { class: "soft" }, `Measured at export on ${count(tuning.n_queries, "query", "queries")}, one at a time; the aim was a recall of ${tuning.target_recall}.`));
}

const micro = (value) => (value < 1000 ? `${value < 10 ? +value.toFixed(1) : Math.round(value)} µs` : `${(value / 1000).toFixed(1)} ms`);

/** Recall over the median latency of each effort; exact search is the point at recall 1. */
function curve(tuning) {
  const [width, height, left, bottom, right, top] = [560, 220, 46, 36, 24, 14];
  const points = tuning.rows.map((one) => [one.p50_us, one.recall]);
  const exact = [tuning.exact_p50_us, 1];
  const most = 1.1 * Math.max(...points.map((point) => point[0]), exact[0]);
  const least = Math.max(0, Math.floor(10 * Math.min(...points.map((point) => point[1]), 0.9)) / 10);
  const x = (value) => left + (value / most) * (width - left - right);
  const y = (value) => height - bottom - ((value - least) / (1 - least || 1)) * (height - bottom - top);
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => least + share * (1 - least));
  const dot = ([time, recall], kind, name) => s("circle", { cx: x(time), cy: y(recall), r: 5, class: kind }, s("title", {}, `${name}: recall ${recall.toFixed(4)} in ${micro(time)}`));
  return s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Recall of the index over its median latency; the table below has the numbers` },
    ticks.flatMap((tick) => [
      s("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "grid" }),
      s("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, tick.toFixed(2))]),
    [0, 0.5, 1].map((share) => s("text", { x: x((share * most) / 1.1), y: height - bottom + 18, "text-anchor": "middle" }, micro((share * most) / 1.1))),
    s("text", { x: width - right, y: height - 2, "text-anchor": "end" }, "median latency of one query"),
    s("polyline", { points: points.map(([time, recall]) => `${x(time)},${y(recall)}`).join(" "), class: "line" }),
    points.map((point, i) => dot(point, i === points.length - 1 ? "dot chosen" : "dot", `search_k ${tuning.rows[i].search_k}`)),
    dot(exact, "dot exact", "exact"), s("text", { x: x(exact[0]) + 9, y: y(1) + 14 }, "exact"));
}
