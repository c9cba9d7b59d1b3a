// The view of two releases (or two indexes of one) for the same request, with what differs.

import { post, problemBox } from "./api.js";
import { $, count, empty, fill, h, skeleton } from "./dom.js";
import { row, shares, titled } from "./lists.js";
import { bodyOf, isAsked } from "./recommend.js";
import { change } from "./state.js";

/** All that can be compared: each release, with each of its indexes where it has two. */
function choices(releases) {
  return [...releases.values()].filter((facts) => facts.recommends).flatMap((facts) =>
    facts.indexes.length > 1
      ? facts.indexes.map((index) => ({ value: `${facts.name}|${index}`, label: `${facts.name}, ${index} search`, facts, index }))
      : [{ value: `${facts.name}|`, label: facts.name, facts, index: "" }]);
}

/** Show both lists of a request. */
export async function showCompare(asked, facts, releases, signal) {
  const all = choices(releases);
  const find = (value, other) => all.find((one) => one.value === value) ?? other;
  const a = find(asked.a, all.find((one) => one.facts.name === facts.name) ?? all[0]);
  // Another release rather than another index of the same one.
  const b = find(asked.b, all.find((one) => one.facts !== a?.facts) ?? all.find((one) => one !== a));
  if (!b) return showAlone();
  const sides = [["side-a", "a", a], ["side-b", "b", b]];
  const head = ([place, name, chosen]) => heading(place, name, chosen, all);
  if (!isAsked(asked)) {
    $("compare-summary").textContent = "";
    sides.forEach((side) => fill($(side[0]), head(side), empty("Nobody is chosen yet.", h("p", {}, "Search a user above, or add titles to a history."))));
    return;
  }
  sides.forEach((side) => fill($(side[0]), head(side), skeleton(asked.k)));
  const ask = (chosen) => post("/v1/recommend", bodyOf(asked, chosen.facts, { explain: false, ...(chosen.index ? { index: chosen.index } : {}) }), signal);
  const answers = await Promise.allSettled(sides.map(([, , chosen]) => ask(chosen)));
  if (signal.aborted) return;
  const lists = answers.map((answer, i) => (answer.status === "fulfilled" ? titled(answer.value.items, sides[i][2].facts) : null));
  const again = () => showCompare(asked, facts, releases, signal);
  sides.forEach((side, i) => fill($(side[0]), head(side),
    lists[i] ? list(lists[i], lists[1 - i], i === 0 ? "B" : "A") : problemBox(answers[i].reason, again)));
  $("compare-summary").textContent = lists[0] && lists[1] ? summary(...lists) : "";
}

function showAlone() {
  $("compare-summary").textContent = "";
  fill($("side-a"), h("h2", {}, "Compare"), empty("One release alone is served.", h("p", {}, "Serve two, to see what differs for a user:"),
    h("pre", {}, "tfrecall serve old=saved_models/old new=saved_models/new")));
  fill($("side-b"), empty("The other list appears here."));
}

function heading(place, name, chosen, all) {
  const select = h("select", { id: `${place}-choice`, change: (event) => change({ [name]: event.target.value }) },
    all.map((one) => h("option", { value: one.value, selected: one === chosen }, one.label)));
  return h("h2", { class: "choice" }, h("label", { for: `${place}-choice` }, name.toUpperCase()), " ", select);
}

function list(items, others, letter) {
  if (!items.length) return empty("Nothing is left to recommend.");
  const ranks = new Map((others ?? []).map((item, i) => [item.item_id, i + 1]));
  const lengths = shares(items);
  return h("ol", { class: "list" }, items.map((item, i) => row(item, {
    rank: i + 1, share: lengths[i], badge: others ? moved(i + 1, ranks.get(item.item_id), letter) : null,
  })));
}

/** How the rank of an item differs from its rank in the other list. */
function moved(rank, other, letter) {
  if (other === undefined) return h("span", { class: "badge only" }, `only in ${letter === "A" ? "B" : "A"}`);
  const places = other - rank;
  if (places === 0) return h("span", { class: "badge" }, "same rank");
  return h("span", { class: `badge ${places > 0 ? "up" : "down"}` }, `${places > 0 ? "▲" : "▼"} ${Math.abs(places)}`,
    h("span", { class: "hidden" }, ` places ${places > 0 ? "above" : "below"} its rank in ${letter}`));
}

/** One sentence on two lists. */
export function summary(a, b) {
  const ranks = new Map(b.map((item, i) => [item.item_id, i]));
  const moves = a.map((item, i) => (ranks.has(item.item_id) ? Math.abs(ranks.get(item.item_id) - i) : null)).filter((move) => move !== null);
  if (!moves.length) return `No item in common: ${count(a.length, "item")} only in A, ${b.length} only in B.`;
  if (moves.length === a.length && a.length === b.length && moves.every((move) => move === 0)) return `Both lists are the same, in the same order.`;
  const mean = moves.reduce((sum, move) => sum + move, 0) / moves.length;
  return `${moves.length} of ${a.length} in common, ${mean.toFixed(1)} places apart on average; `
    + `${a.length - moves.length} only in A, ${b.length - moves.length} only in B.`;
}
