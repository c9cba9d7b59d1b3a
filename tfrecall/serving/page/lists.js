// Lists of items: a row with title, tags, score, reasons; the dialog of one item with similar ones.

import { get, post, problemBox } from "./api.js";
import { $, count, fill, h, said, score, skeleton, whole } from "./dom.js";
import { address, change, state } from "./state.js";

/** Tags of an item below its title: genres, year. */
export function tags(columns) {
  const texts = Object.values(columns ?? {}).map(said).filter(Boolean);
  return texts.length ? h("p", { class: "tags" }, texts.join(" · ")) : null;
}

/**
 * One row of a list.
 *
 * item: `item_id`, `title`, `columns`, and of a recommendation `score` and `because`. parts: `rank`, `share` (length
 * of the bar from 0 to 1), `badge` (an element), `because` (whether to show reasons), `button` (an element).
 */
export function row(item, parts = {}) {
  const title = h("button", { type: "button", class: "title", click: () => openItem(item.item_id) }, item.title);
  const why = parts.because && item.because?.length ? h("p", { class: "why" }, "because of ", ...reasons(item.because)) : null;
  return h("li", { class: "row", "data-item": item.item_id },
    parts.rank ? h("span", { class: "rank" }, String(parts.rank)) : null,
    h("div", { class: "what" }, title, parts.badge, tags(item.columns), why),
    item.score === undefined ? null : scoreOf(item.score, parts.share),
    ...[parts.button].flat());
}

function scoreOf(value, share) {
  const bar = h("span", { class: "bar", "aria-hidden": "true" }, h("span", {}));
  bar.firstChild.style.width = `${Math.round(100 * share)}%`;
  return h("div", { class: "score" }, h("span", { title: "Score; higher is better" }, score(value)), bar);
}

/** Reasons as words, the strongest in bold; an item of the history opens. */
export function reasons(because) {
  return because.flatMap((one, i) => [
    i ? ", " : "",
    one.item_id
      ? h("button", { type: "button", class: "reason", title: `Adds ${score(one.contribution)}`, click: () => openItem(one.item_id) }, one.reason)
      : h("span", { class: "reason", title: `Adds ${score(one.contribution)}` }, one.reason),
  ]);
}

/** Reasons that all items of a list share, to be said once; null if they differ. */
export function sharedReasons(items) {
  const texts = items.map((item) => (item.because ?? []).map((one) => one.reason).join("\n"));
  return items.length > 1 && texts[0] && texts.every((text) => text === texts[0]) ? items[0].because : null;
}

/** Lengths of the bars: the largest score is 1, the smallest a tenth, 0 in between where scores change sign. */
export function shares(items) {
  const scores = items.map((item) => item.score);
  const low = Math.min(...scores, 0);
  const high = Math.max(...scores);
  return scores.map((value) => (high > low ? Math.max(0.04, (value - low) / (high - low)) : 1));
}

/** Items of an answer with the titles of the release. */
export function titled(items, facts) {
  return items.map((item) => {
    const { [facts.title_column]: title, ...rest } = item.columns ?? {};
    const shown = Object.fromEntries(Object.entries(rest).filter(([name]) => facts.tags.includes(name)));
    return { ...item, title: title ? said(title) : item.item_id, columns: shown };
  });
}

/** Columns to ask for with each item. */
export const columnsOf = (facts) => [...new Set([facts.title_column, ...facts.tags].filter(Boolean))];

let releases = new Map();

/** Facts of the served releases by name, for the dialog. */
export function useFacts(all) {
  releases = all;
}

/** Open the dialog of an item: its columns, and the items most similar to it. */
export async function openItem(itemId) {
  const dialog = $("item");
  const { release } = state();
  const facts = releases.get(release) ?? releases.values().next().value;
  const asked = { release: facts.name };
  fill(dialog, h("h2", { id: "item-title" }, "Item"), skeleton(6));
  if (!dialog.open) dialog.showModal();
  try {
    const [item, similar] = await Promise.all([
      get(`/v1/items/${encodeURIComponent(itemId)}`, asked),
      post("/v1/similar", { item_id: itemId, k: Math.min(8, facts.items - 1), columns: columnsOf(facts), ...asked })
        .catch((problem) => problem),
    ]);
    fill(dialog, ...content(item, similar, facts));
    dialog.querySelector(".close").focus();
  } catch (problem) {
    fill(dialog, h("h2", { id: "item-title" }, "Item"), problemBox(problem, () => openItem(itemId)), closing());
  }
}

const closing = () => h("button", { type: "button", class: "plain close", click: () => $("item").close() }, "Close");

function content(item, similar, facts) {
  const listed = similar.items ? titled(similar.items, facts) : [];
  const lengths = shares(listed);
  const adds = facts.takes_history && !(state().history ?? []).includes(item.item_id);
  return [
    h("header", {}, h("h2", { id: "item-title" }, item.title), closing()),
    h("dl", { class: "facts" }, ...fact("id", item.item_id), ...fact("users", whole(item.users)),
      ...item.facts.filter((one) => !/^https?:/.test(one.value)).flatMap((one) => fact(one.name, one.value))),
    h("p", { class: "buttons" },
      adds ? h("button", { type: "button", class: "main", click: () => { $("item").close(); addToHistory(item.item_id); } }, "Add to the history") : null,
      h("a", { class: "plain button", href: address({ view: "map", item: item.item_id }), click: () => $("item").close() }, "Show on the map")),
    h("h3", {}, "Similar items"),
    similar.items
      ? h("ol", { class: "list" }, listed.map((one, i) => row(one, { rank: i + 1, share: lengths[i] })))
      : h("p", { class: "soft" }, similar.message),
  ];
}

const fact = (name, value) => [h("dt", {}, name), h("dd", {}, value)];

/** Put an item at the end of the history of the request, a stored one included. */
export function addToHistory(itemId, stored = []) {
  const past = state().history ?? stored;
  change({ history: [...past.filter((one) => one !== itemId), itemId], view: state().view === "compare" ? "compare" : "recommend" });
}

export const listed = (number) => count(number, "item");
