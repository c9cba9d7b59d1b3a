// Elements, numbers and words of the page.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element: attributes, listeners as functions (`click`), then children. Texts are never HTML. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Make an SVG element in the same way. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...present(children));
  return element;
}

/** Put children in the place of those of an element; null and false are left out. */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

const present = (children) => children.flat().filter((child) => child !== null && child !== undefined && child !== false);

export const $ = (id) => document.getElementById(id);

export const whole = (number) => Number(number).toLocaleString("en");

export const score = (number) =>
  Math.abs(number) >= 1000 ? whole(Math.round(number)) : number.toFixed(Math.abs(number) < 10 ? 3 : 1);

export const count = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;

export function milliseconds(value) {
  if (value < 1) return `${value.toFixed(2)} ms`;
  return value < 1000 ? `${value.toFixed(value < 10 ? 1 : 0)} ms` : `${(value / 1000).toFixed(1)} s`;
}

/** A value of the item table as people read it: lists with commas, dates as `3 Feb 2001`. */
export function said(value) {
  if (value === null || value === undefined) return "";
  if (Array.isArray(value)) return value.map(said).join(", ");
  const text = String(value);
  if (!/^\d{4}-\d\d-\d\d(T|$)/.test(text)) return text;
  const day = new Date(`${text.slice(0, 10)}T00:00:00Z`);
  return day.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
}

/** Tell screen readers, who do not see what changed. */
export function announce(text) {
  $("said").textContent = text;
}

/** Call `run` only after `wait` milliseconds without another call. */
export function settled(run, wait = 130) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), wait);
  };
}

/** Grey lines in the place of a list that is on its way. */
export function skeleton(lines) {
  return h("div", { class: "skeleton", "aria-hidden": "true" },
    Array.from({ length: Math.min(lines, 12) }, () => h("div", {})));
}

export function empty(title, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "strong" }, title), ...more);
}
