// The view of the item vectors: a map, its legend, and the neighbours of the selected item.

import { get, post, problemBox } from "./api.js";
import { Plane } from "./canvas.js";
import { combobox } from "./combobox.js";
import { $, announce, count, empty, fill, h, skeleton, whole } from "./dom.js";
import { columnsOf, openItem, row, shares, titled } from "./lists.js";
import { bodyOf, isAsked } from "./recommend.js";
import { change } from "./state.js";

let shown = { key: null, plane: null };

/** Draw the map of a release where another one was drawn, then mark what is asked. */
export async function showMap(asked, facts, search, signal) {
  const key = `${facts.name} ${facts.version}`;
  try {
    if (shown.key !== key) await drawMap(key, facts, search, signal);
    await Promise.all([markRequest(asked, facts, signal), markItem(asked, facts, signal)]);
  } catch (problem) {
    if (problem.name === "AbortError") return;
    fill($("map-side"), h("h2", {}, "Neighbours"), problemBox(problem, () => showMap(asked, facts, search, signal)));
  }
}

async function drawMap(key, facts, search, signal) {
  shown = { key: null, plane: null };
  fill($("map-card"), h("h2", {}, "Map of the items"), skeleton(10));
  const told = await get("/v1/map", { release: facts.name, k: 2000 }, signal);
  const points = told.points.map(([x, y, group, id, title]) => ({ x, y, group, id, title }));
  const canvas = h("canvas", {
    id: "map", tabindex: "0", role: "application", "aria-label": "Map of the items",
    "aria-describedby": "map-help", "aria-roledescription": "map",
  });
  const tip = h("div", { class: "tip", hidden: true });
  const hover = (point, x, y) => {
    tip.hidden = !point;
    canvas.classList.toggle("on-point", Boolean(point));
    if (!point) return;
    tip.textContent = point.title;
    tip.style.transform = `translate(${Math.max(0, Math.min(x + 12, canvas.clientWidth - 180))}px, ${y + 14}px)`;
  };
  const jump = combobox({ label: "Jump to an item", hint: "Part of a title", noun: "item", search, choose: (option) => change({ item: option.value }) });
  // Built whole before the canvas takes its size from the page.
  fill($("map-card"), 
    h("h2", {}, "Map of the items ", h("small", {}, points.length < told.items ? `the ${whole(points.length)} most popular of ${whole(told.items)}` : count(points.length, "item"))),
    h("div", { class: "map-tools" }, jump.element, zoomButtons()),
    h("div", { class: "map-frame" }, canvas, tip),
    legend(told),
    h("p", { class: "soft", id: "map-help" }, about(told), " Click an item for its neighbours, drag to move; with the focus on the map arrows go from item to item, plus and minus or the wheel zoom, Enter opens."));
  const plane = new Plane(canvas, points, {
    hover,
    select: (point) => { announce(point.title); change({ item: point.id }, true); },
    open: openItem,
  });
  shown = { key, plane };
}

const about = (told) => (told.by_users
  ? "Items lie together that the same users had."
  : `Items lie together that the model finds alike; the plane keeps ${Math.round(100 * told.explained)} % of the variance of their vectors.`);

function zoomButtons() {
  const button = (text, label, act) => h("button", { type: "button", class: "plain", "aria-label": label, click: () => act(shown.plane) }, text);
  return h("div", { class: "buttons" }, button("+", "Zoom in", (plane) => plane.scale(1.5)),
    button("−", "Zoom out", (plane) => plane.scale(1 / 1.5)), button("Whole map", "Show the whole map", (plane) => plane.reset()));
}

/** Colours by a column; a press shows one value alone. */
function legend(told) {
  if (!told.groups.length) return null;
  const press = (event, group) => {
    const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.parentElement.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", "false"));
    event.currentTarget.setAttribute("aria-pressed", String(on));
    shown.plane.mark({ group: on ? group : null });
  };
  return h("div", { class: "legend", role: "group", "aria-label": `Colours: ${told.colour}` },
    told.groups.map((name, i) => h("button", { type: "button", "aria-pressed": "false", click: (event) => press(event, i) },
      h("i", { class: `swatch g${i % 8}` }), name)));
}

/** Ring the history and the recommendations of the request, where somebody is chosen. */
async function markRequest(asked, facts, signal) {
  if (!isAsked(asked) || !facts.recommends) return shown.plane.mark({ history: new Set(), answer: new Set() });
  const stored = asked.history === null || !facts.takes_history;
  const [user, answer] = await Promise.all([
    stored ? get(`/v1/users/${encodeURIComponent(asked.user)}`, { release: facts.name, k: 100 }, signal) : null,
    post("/v1/recommend", bodyOf(asked, facts, { explain: false, columns: [] }), signal),
  ]);
  const history = stored ? user.history.map((item) => item.item_id) : asked.history;
  return shown.plane.mark({ history: new Set(history), answer: new Set(answer.items.map((item) => item.item_id)) });
}

/** Show the neighbours of the selected item, and bring it into sight. */
async function markItem(asked, facts, signal) {
  const side = $("map-side");
  const rings = isAsked(asked) ? h("p", { class: "soft" }, "Rings mark the request: thin the history, bold the recommendations.") : null;
  if (!asked.item) {
    shown.plane.mark({ selected: null, neighbours: [] });
    fill(side, h("h2", {}, "Neighbours"), empty("No item is selected.", h("p", {}, "Click a point of the map, or search a title.")), rings);
    return;
  }
  if (asked.item !== shown.plane.marks.selected) fill(side, h("h2", {}, "Neighbours"), skeleton(8));
  const [item, similar] = await Promise.all([
    get(`/v1/items/${encodeURIComponent(asked.item)}`, { release: facts.name }, signal),
    post("/v1/similar", { item_id: asked.item, k: Math.min(10, facts.items - 1), columns: columnsOf(facts), release: facts.name }, signal),
  ]);
  const near = titled(similar.items, facts);
  const lengths = shares(near);
  shown.plane.mark({ selected: asked.item, neighbours: near.map((one) => one.item_id) });
  const { byId } = shown.plane;
  if (!isVisible(byId.get(asked.item))) shown.plane.jump(asked.item);
  const jump = (one) => (byId.has(one.item_id)
    ? h("button", { type: "button", class: "quiet", "aria-label": `Go to ${one.title} on the map`, title: "Go there", click: () => { shown.plane.jump(one.item_id); change({ item: one.item_id }, true); } }, "→")
    : h("span", { class: "soft", title: "Not among the items drawn" }, "–"));
  fill(side, 
    h("h2", {}, item.title, " ", h("small", {}, count(item.users, "user"))),
    byId.has(asked.item) ? null : h("p", { class: "note" }, "Not drawn: less popular than the items of the map."),
    h("p", { class: "buttons" }, h("button", { type: "button", class: "plain", click: () => openItem(item.item_id) }, "Details"),
      h("button", { type: "button", class: "plain", click: () => shown.plane.jump(item.item_id) }, "Zoom to it")),
    h("h3", {}, "Most similar"),
    h("ol", { class: "list" }, near.map((one, i) => row(one, { rank: i + 1, share: lengths[i], button: jump(one) }))), rings);
}

function isVisible(point) {
  if (!point) return true;
  const [x, y] = shown.plane.place(point);
  return x >= 0 && y >= 0 && x <= shown.plane.width && y <= shown.plane.height;
}

/** The map that is drawn: of which version, and its plane. */
export const drawn = () => shown;

/** Paint again, in the colours of the other theme. */
export const repaint = () => shown.plane?.draw();
