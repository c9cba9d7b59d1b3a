// Requests to the service: durations, deadlines, and errors in sentences that say what to do.

import { $, fill, h } from "./dom.js";

const TIMEOUT_MS = 15000;
const timings = [];
const listeners = new Set();

/** An answer that is no list: `status` 0 where nothing answered at all. */
export class Problem extends Error {
  constructor(status, code, message, retryAfter = null) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

/** Call `listener` with the milliseconds of the latest requests after each one. */
export function onTiming(listener) {
  listeners.add(listener);
}

export const get = (path, query = {}, signal = undefined) => {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given).toString();
  return ask(text ? `${path}?${text}` : path, {}, signal);
};

export const post = (path, body, signal = undefined) =>
  ask(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }, signal);

async function ask(path, options, signal) {
  const headers = { ...options.headers, "X-Request-Timeout-Ms": String(TIMEOUT_MS) };
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  const started = performance.now();
  let answer;
  try {
    // Relative, so that the page works behind a proxy that adds a prefix.
    answer = await fetch(path.replace(/^\//, ""), { ...options, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "The service does not answer.");
  }
  const content = await answer.json().catch(() => null);
  if (answer.status === 401 && (await askToken(Boolean(token)))) return ask(path, options, signal);
  if (!answer.ok) throw problem(answer, content);
  timed(performance.now() - started);
  return content;
}

function timed(duration) {
  timings.push(duration);
  if (timings.length > 60) timings.shift();
  listeners.forEach((listener) => listener(timings));
}

function problem(answer, content) {
  const told = content?.error ?? {};
  const seconds = Number(answer.headers.get("Retry-After")) || null;
  return new Problem(answer.status, told.code ?? "error", told.message ?? `Status ${answer.status}.`, seconds);
}

const ADVICE = {
  0: "Look whether the command `tfrecall serve` still runs, then try again.",
  404: "Choose another one, or reload the page if the service was started anew.",
  413: "Give fewer items.",
  429: "More requests wait than the service takes. It answers again as soon as some are done.",
  500: "The log of the service has the reason.",
  503: "The service loads its releases or stops. It usually takes some seconds.",
  504: "The answer took longer than the page waits. Try again, with a shorter list perhaps.",
};

/** A problem as an element: the sentence of the service, advice, and a button that tries again. */
export function problemBox(problem, again) {
  const wait = problem.retryAfter ?? (problem.status === 503 ? 3 : null);
  const button = h("button", { type: "button", class: "plain", click: again }, "Try again");
  const box = h("div", { class: "problem", role: "alert" },
    h("p", { class: "strong" }, problem.message),
    ADVICE[problem.status] ? h("p", {}, ADVICE[problem.status]) : null,
    h("p", {}, button));
  if (wait) countdown(button, wait, again);
  return box;
}

/** Try again by itself after the seconds that the service asked for, as long as the button is shown. */
function countdown(button, seconds, again) {
  if (seconds <= 0) {
    if (button.isConnected) again();
    return;
  }
  button.textContent = `Try again (by itself in ${seconds} s)`;
  setTimeout(() => countdown(button, seconds - 1, again), 1000);
}

/** Ask for the token of the service; false if there is none to try. */
function askToken(wasWrong) {
  const dialog = $("token");
  if (dialog.open) return new Promise((done) => dialog.addEventListener("close", () => done(kept()), { once: true }));
  const field = h("input", { type: "password", id: "token-value", autocomplete: "off", required: true });
  const form = h("form", { method: "dialog" },
    h("h2", { id: "token-title" }, "Token of the service"),
    h("p", {}, wasWrong ? "The token is not the right one." : "This service answers only with its token."),
    h("label", { class: "field", for: "token-value" }, "Token"), field,
    h("p", { class: "buttons" },
      h("button", { value: "ok", class: "main" }, "Use it"),
      h("button", { value: "", class: "plain", type: "button", click: () => dialog.close("") }, "Cancel")));
  fill(dialog, form);
  dialog.returnValue = "";
  dialog.showModal();
  const kept = () => dialog.returnValue === "ok";
  return new Promise((done) => {
    dialog.addEventListener("close", () => {
      // Of this tab only: it is gone when the tab is closed.
      if (kept()) sessionStorage.setItem("token", field.value);
      done(kept());
    }, { once: true });
  });
}
