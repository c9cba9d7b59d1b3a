// What is asked, kept in the address: a link shows the same to everybody.

const DEFAULTS = {
  view: "recommend", release: "", user: "", k: "10", seen: "", index: "", a: "", b: "", item: "", rule: "", rules: "",
};
const listeners = new Set();

/** The request of the address: texts, and `history`, a list of item ids or null for the stored one. */
export function state() {
  const given = new URLSearchParams(location.hash.slice(1));
  const found = Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
  const k = Math.round(Number(found.k));
  const history = given.getAll("h");
  return { ...found, k: k >= 1 ? Math.min(k, 100) : 10, history: given.has("h") ? history.filter(Boolean) : null };
}

/** The address of the same request with some changes. */
export function address(changes) {
  const { history, ...texts } = { ...state(), ...changes };
  const given = Object.entries(texts).filter(([name, value]) => value !== null && String(value) !== DEFAULTS[name]);
  // An empty history is one, too: a single empty `h` stands for it.
  const items = history === null ? [] : history.length ? history : [""];
  const all = [...given, ...items.map((item) => ["h", item])];
  return `#${new URLSearchParams(all)}`;
}

/** Change the request; `quietly` without a step that the back button returns to. */
export function change(changes, quietly = false) {
  const next = address(changes);
  if (next === (location.hash || "#")) return;
  history[quietly ? "replaceState" : "pushState"](null, "", next);
  tell();
}

export function onChange(listener) {
  listeners.add(listener);
}

export function tell() {
  listeners.forEach((listener) => listener(state()));
}

window.addEventListener("popstate", tell);
