// The page: controls, views, and the way from the address to what is shown.

import { get, onTiming, problemBox } from "./api.js";
import { combobox } from "./combobox.js";
import { showCompare } from "./compare.js";
import { $, count, h, settled } from "./dom.js";
import { showEvaluation } from "./evaluation.js";
import { showLatency } from "./latency.js";
import { addToHistory, useFacts } from "./lists.js";
import { repaint, showMap } from "./map.js";
import { showRecommend } from "./recommend.js";
import { showRules } from "./rules.js";
import { address, change, onChange, state, tell } from "./state.js";

const HEADINGS = {
  recommend: "Recommendations of a release", compare: "Two releases side by side", map: "Map of the items",
  evaluation: "Evaluation of a release",
};
const VIEWS = Object.keys(HEADINGS);
let releases = new Map();
let served = [];
let running = new AbortController();

const chosen = () => releases.get(state().release) ?? releases.values().next().value;

/** Learn what is served, then show what the address asks for. */
async function start() {
  try {
    served = (await get("/v1/releases")).releases;
    const all = await Promise.all(served.map((one) => get(`/v1/releases/${encodeURIComponent(one.name)}`)));
    releases = new Map(all.map((facts) => [facts.name, facts]));
  } catch (problem) {
    $("loading").hidden = true;
    $("notice").replaceChildren(problemBox(problem, start));
    return;
  }
  $("loading").hidden = true;
  $("notice").replaceChildren();
  useFacts(releases);
  $("release").replaceChildren(...[...releases.keys()].map((name) => h("option", { value: name }, name)));
  tell();
}

onChange((asked) => {
  if (!releases.size) return;
  const facts = chosen();
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const view = VIEWS.includes(asked.view) ? asked.view : "recommend";
  controls(asked, facts, view);
  if (view === "recommend") showRecommend(asked, facts, signal).catch((problem) => told(problem));
  if (view === "compare") showCompare(asked, facts, releases, signal);
  if (view === "map") showMap(asked, facts, searchItems, signal);
  if (view === "evaluation") showEvaluation(asked, facts, served.find((one) => one.name === facts.name), signal);
});

function told(problem) {
  if (problem.name !== "AbortError") $("notice").replaceChildren(problemBox(problem, () => { $("notice").replaceChildren(); tell(); }));
}

/** Bring controls, navigation and facts in step with the request. */
function controls(asked, facts, view) {
  VIEWS.forEach((name) => { $(`view-${name}`).hidden = name !== view; });
  document.querySelectorAll("nav a").forEach((link) => {
    link.href = address({ view: link.dataset.view });
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  $("asking").hidden = view === "evaluation";
  $("release").value = facts.name;
  $("release").disabled = releases.size < 2;
  $("seen").options[0].textContent = facts.exclude_seen ? "default: left out" : "default: kept";
  $("seen").value = asked.seen;
  if (document.activeElement !== $("k")) $("k").value = asked.k;
  $("k").max = Math.min(100, facts.items);
  $("index-field").hidden = facts.indexes.length < 2 || view === "compare";
  $("index").replaceChildren(h("option", { value: "" }, "default"),
    ...facts.indexes.map((name) => h("option", { value: name, selected: name === asked.index }, name)));
  title.input.disabled = !facts.takes_history;
  title.input.placeholder = facts.takes_history ? "Type a title" : "This release reads no history";
  if (document.activeElement !== user.input) user.input.value = asked.user;
  $("clear").hidden = !asked.user && asked.history === null;
  showRules(asked, facts);
  $("facts").textContent = `${facts.name} version ${facts.version}: ${facts.kind} ${facts.model}, `
    + `${count(facts.users, "user")}, ${count(facts.items, "item")}${facts.created_at ? `, exported ${facts.created_at}` : ""}.`;
  $("heading").textContent = HEADINGS[view];
  document.title = `${view[0].toUpperCase()}${view.slice(1)}${asked.user ? ` · user ${asked.user}` : ""} · tfrecall`;
}

const searchItems = async (query, signal) => {
  const found = await get("/v1/items", { query, k: 12, release: chosen().name }, signal);
  const options = found.items.map((item) => ({ value: item.item_id, label: item.title, detail: Object.values(item.columns).join(" · ") }));
  return { options, total: found.total };
};

const searchUsers = async (query, signal) => {
  const found = await get("/v1/users", { query, k: 12, release: chosen().name }, signal);
  const detail = (one) => [count(one.events, "event"), one.last_active ? `last active ${one.last_active}` : ""].filter(Boolean).join(" · ");
  return { options: found.users.map((one) => ({ value: one.user_id, label: one.user_id, detail: detail(one) })), total: found.total };
};

/** The items of the request's user, oldest first, for a history that goes on from the stored one. */
async function storedHistory() {
  const asked = state();
  if (!asked.user) return [];
  const known = await get(`/v1/users/${encodeURIComponent(asked.user)}`, { release: chosen().name, k: 100 });
  return known.history.map((item) => item.item_id).reverse();
}

const keepView = () => (["compare", "map"].includes(state().view) ? state().view : "recommend");
const user = combobox({
  label: "User", hint: "Search a user id", noun: "user", free: true, keeps: true, search: searchUsers,
  choose: (option) => change({ user: option.value, history: null, view: keepView() }),
});
const title = combobox({
  label: "Add to the history", hint: "Type a title", noun: "item", search: searchItems,
  choose: async (option) => addToHistory(option.value, state().history ?? (await storedHistory())),
});
$("user-field").append(user.element);
$("title-field").append(title.element);

$("release").addEventListener("change", (event) => change({ release: event.target.value, rules: "" }));
$("seen").addEventListener("change", (event) => change({ seen: event.target.value }, true));
$("index").addEventListener("change", (event) => change({ index: event.target.value }, true));
$("k").addEventListener("input", settled((event) => {
  const k = Number(event.target.value);
  if (event.target.checkValidity() && k >= 1) change({ k }, true);
}, 250));
$("clear").addEventListener("click", () => { change({ user: "", history: null }); user.input.focus(); });
$("skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
// A click beside a dialog closes it, as Escape does.
$("item").addEventListener("click", (event) => event.target === $("item") && $("item").close());
onTiming(showLatency);

/** Dark or light by the system, until the switch is used. */
function theme(isDark) {
  document.documentElement.dataset.theme = isDark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(isDark));
  repaint();
}
const system = window.matchMedia("(prefers-color-scheme: dark)");
const kept = localStorage.getItem("theme");
theme(kept ? kept === "dark" : system.matches);
system.addEventListener("change", () => localStorage.getItem("theme") ?? theme(system.matches));
$("theme").addEventListener("click", () => {
  const isDark = document.documentElement.dataset.theme !== "dark";
  localStorage.setItem("theme", isDark ? "dark" : "light");
  theme(isDark);
});

start();
