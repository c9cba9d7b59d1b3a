// The view of one request: history on the left, recommendations with scores and reasons on the right.

import { get, post, problemBox } from "./api.js";
import { $, announce, count, empty, fill, h, milliseconds, skeleton } from "./dom.js";
import { addToHistory, columnsOf, reasons, row, sharedReasons, shares, titled } from "./lists.js";
import { address, change } from "./state.js";

const FALLBACKS = {
  unknown_user: "Popular items: the release does not know this user.",
  timeout: "Popular items: the model did not answer in time.",
  failed: "Popular items: the model failed. The log of the service has the reason.",
};

/** The body of a request for recommendations. */
export function bodyOf(asked, facts, changes = {}) {
  const body = { k: Math.min(asked.k, facts.items), columns: columnsOf(facts), release: facts.name, explain: facts.explains };
  if (asked.user) body.user_id = asked.user;
  if (asked.history && facts.takes_history) body.history = asked.history;
  if (asked.seen) body.exclude_seen = asked.seen === "true";
  if (asked.index && facts.indexes.includes(asked.index)) body.index = asked.index;
  if (facts.rules) body.stages = true;
  if (facts.rules && asked.rules) body.rules = JSON.parse(asked.rules);
  return { ...body, ...changes };
}

export const isAsked = (asked) => Boolean(asked.user) || asked.history !== null;

/** Show history and recommendations of a request. */
export async function showRecommend(asked, facts, signal) {
  if (!facts.recommends) return showRankerOnly();
  if (!isAsked(asked)) return showStart(facts, signal);
  const again = () => showRecommend(asked, facts, signal);
  fill($("history"), h("h2", {}, "History"), skeleton(8));
  fill($("answer"), h("h2", {}, "Recommendations"), skeleton(asked.k));
  $("answer").setAttribute("aria-busy", "true");
  await Promise.all([
    showHistory(asked, facts, signal).catch((problem) => failed("history", "History", problem, again)),
    showAnswer(asked, facts, signal).catch((problem) => failed("answer", "Recommendations", problem, again)),
  ]);
  // A later request is on its way where this one was given up.
  if (!signal.aborted) $("answer").removeAttribute("aria-busy");
}

function failed(place, heading, problem, again) {
  if (problem.name === "AbortError") return;
  fill($(place), h("h2", {}, heading), problemBox(problem, again));
}

/** What to do first: users and titles to begin with. */
async function showStart(facts, signal) {
  const [users, items] = await Promise.all([
    get("/v1/users", { release: facts.name, k: 6 }, signal),
    facts.takes_history ? get("/v1/items", { release: facts.name, k: 6 }, signal) : { items: [] },
  ]);
  const chip = (text, changes) => h("a", { class: "chip", href: address(changes) }, text);
  fill($("history"), h("h2", {}, "History"), empty("Nobody is chosen yet.",
    h("p", {}, "Search a user by id above", facts.takes_history ? ", or build a history by typing titles." : ".")));
  fill($("answer"), h("h2", {}, "Recommendations"),
    empty("They appear here.", users.users.length ? h("p", {}, "Some users to begin with:") : null,
      h("p", { class: "chips" }, users.users.map((one) => chip(one.user_id, { user: one.user_id, history: null }))),
      items.items.length ? h("p", {}, "Or somebody new, who had one of the most popular items:") : null,
      h("p", { class: "chips" }, items.items.map((one) => chip(one.title, { user: "", history: [one.item_id] })))));
}

function showRankerOnly() {
  fill($("history"), h("h2", {}, "History"), empty("A ranker's release has no lists of its own."));
  fill($("answer"), h("h2", {}, "Recommendations"), empty("This release scores items that it is given.",
    h("p", {}, "Choose another release above, or ask ", h("code", {}, "POST /v1/rank"), ".")));
}

async function showHistory(asked, facts, signal) {
  const user = asked.user ? await get(`/v1/users/${encodeURIComponent(asked.user)}`, { release: facts.name, k: 100 }, signal) : null;
  const isBuilt = asked.history !== null && facts.takes_history;
  const items = isBuilt ? await built(asked.history, facts, signal) : user?.history ?? [];
  const stored = isBuilt ? [] : items.map((item) => item.item_id).reverse();
  const remove = (item) => h("button", {
    type: "button", class: "quiet", "aria-label": `Remove ${item.title} from the history`,
    click: () => change({ history: (asked.history ?? stored).filter((one) => one !== item.item_id) }),
  }, "×");
  const heading = user ? `History of user ${user.user_id}` : "History of somebody new";
  const button = (item) => [item.when ? h("span", { class: "when" }, item.new ? "new, " : "", item.when) : null, facts.takes_history ? remove(item) : null];
  fill($("history"), 
    h("h2", {}, heading, " ", h("small", {}, isBuilt ? "built here" : count(user?.events ?? 0, "event"))),
    user ? h("p", { class: "facts-line" }, about(user)) : null,
    isBuilt && user ? h("p", {}, h("button", { type: "button", class: "plain", click: () => change({ history: null }) }, "Back to the stored history")) : null,
    asked.history !== null && !facts.takes_history
      ? h("p", { class: "soft" }, "This release reads no history of a request: its lists come from the user. Choose a user, or another release.") : null,
    items.length
      ? shortened(items.map((item) => row(item, { button: button(item) })))
      : empty(user && !user.known ? "This user is not in the release." : "No items yet.",
        facts.takes_history ? h("p", {}, "Type a title above to add one.") : null),
    !isBuilt && user && user.events > items.length ? h("p", { class: "soft" }, `The newest ${items.length} of ${count(user.events, "event")}.`) : null);
}

/** A list of some rows, and a button for the rest: on a phone recommendations stand below. */
function shortened(rows) {
  const first = window.matchMedia("(max-width: 860px)").matches ? 2 : 12;
  const list = h("ol", { class: "list" }, rows.slice(0, first));
  const more = h("button", {
    type: "button", class: "plain", click: () => { list.append(...rows.slice(first)); more.remove(); rows[first].querySelector("button").focus(); },
  }, `Show ${rows.length - first} more`);
  return [list, rows.length > first ? more : null];
}

/** Items of a history built on the page, newest first, as the stored one. */
function built(ids, facts, signal) {
  const line = (id) => get(`/v1/items/${encodeURIComponent(id)}`, { release: facts.name }, signal).catch((problem) => {
    if (problem.name === "AbortError") throw problem;
    return { item_id: id, title: `${id} (not in this release)`, columns: {} };
  });
  return Promise.all([...ids].reverse().map(line));
}

/** Facts of a user in words: "last active 12 Mar 1998 · age 34". */
function about(user) {
  const active = user.last_active ? [`last active ${user.last_active}`] : [];
  const told = [...active, ...user.features.map((one) => `${one.name} ${one.value}`)];
  if (!user.known && user.events) return "Not in the training log: the list comes from what was done since.";
  if (!user.known) return "Not in the training log: the list comes from what is known of anybody.";
  return told.join(" · ");
}

async function showAnswer(asked, facts, signal) {
  const started = performance.now();
  const answer = await post("/v1/recommend", bodyOf(asked, facts), signal);
  const took = performance.now() - started;
  const items = titled(answer.items, facts);
  const shared = sharedReasons(items);
  const lengths = shares(items);
  const places = new Map((answer.stages?.candidates ?? []).map((id, i) => [id, i + 1]));
  const add = (item) => (facts.takes_history ? h("button", {
    type: "button", class: "quiet", "aria-label": `Add ${item.title} to the history`, title: "Add to the history",
    click: async () => addToHistory(item.item_id, asked.history ?? (await storedOf(asked, facts))),
  }, "+") : null);
  const rows = items.map((item, i) => row(item, {
    rank: i + 1, share: lengths[i], because: !shared, button: add(item),
    badge: places.has(item.item_id) ? h("span", { class: "badge", title: "Place among the candidates of the retrieval" }, `candidate ${places.get(item.item_id)}`) : null,
  }));
  fill($("answer"), 
    h("h2", {}, "Recommendations ", h("small", {}, `${answer.release} version ${answer.version} · ${milliseconds(took)}`)),
    answer.fallback ? h("p", { class: "note" }, FALLBACKS[answer.fallback] ?? "Popular items.") : null,
    answer.not_in_catalogue?.length ? h("p", { class: "note" }, `Not in this release, and ignored: ${answer.not_in_catalogue.join(", ")}.`) : null,
    shared ? h("p", { class: "why" }, "All because of ", ...reasons(shared)) : null,
    stages(answer.stages),
    rows.length ? h("ol", { class: "list" }, rows) : empty("Nothing is left to recommend.",
      h("p", {}, "The user had everything that is allowed. Keep seen items, or loosen the rules.")));
  announce(`${count(items.length, "recommendation")}. First: ${items[0]?.title ?? "none"}`);
}

/** Ids of the stored history, oldest first. */
async function storedOf(asked, facts) {
  if (!asked.user) return [];
  const user = await get(`/v1/users/${encodeURIComponent(asked.user)}`, { release: facts.name, k: 100 });
  return user.history.map((item) => item.item_id).reverse();
}

function stages(told) {
  if (!told) return null;
  const times = Object.entries(told.milliseconds).map(([name, time]) => `${name} ${milliseconds(time)}`);
  return h("p", { class: "soft" }, `${count(told.candidates.length, "candidate")} · ${times.join(" · ")}`);
}
