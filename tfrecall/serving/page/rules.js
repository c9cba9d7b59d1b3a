// Rules of a pipeline in the request: diversity, a cap by a column, a boost by a value.

import { $, fill, h, settled } from "./dom.js";
import { change } from "./state.js";

/** Show the fields of the rules, filled from the request or from the pipeline's own rules. */
export function showRules(asked, facts) {
  const box = $("rules");
  box.hidden = !facts.rules;
  if (!facts.rules) return;
  const key = `${facts.name} ${facts.version}`;
  // Fields that are typed in stay as they are.
  if (box.dataset.of === key && box.contains(document.activeElement)) return;
  box.dataset.of = key;
  const rules = asked.rules ? JSON.parse(asked.rules) : facts.rules;
  const [cap] = Object.entries(rules.caps ?? {});
  const boost = (rules.boosts ?? []).find((one) => one.column) ?? {};
  const columns = (name, chosen) => h("select", { name }, h("option", { value: "" }, "none"),
    facts.columns.map((column) => h("option", { selected: column === chosen }, column)));
  const form = h("form", { class: "controls", input: settled(() => take(form, rules), 300), submit: (event) => event.preventDefault() },
    h("label", { class: "field" }, "Diversity", h("input", { type: "range", name: "diversity", min: 0, max: 1, step: 0.05, value: rules.diversity ?? 0 })),
    h("label", { class: "field" }, "Cap by", columns("capped", cap?.[0])),
    h("label", { class: "field small" }, "at most", h("input", { type: "number", name: "cap", min: 1, max: 100, value: cap?.[1] ?? 2 })),
    h("label", { class: "field" }, "Boost where", columns("boosted", boost.column)),
    h("label", { class: "field" }, "is", h("input", { name: "value", value: boost.values?.[0] ?? "", placeholder: "a value" })),
    h("label", { class: "field small" }, "by", h("input", { type: "number", name: "by", step: 0.1, value: boost.by ?? 0.5 })),
    h("button", { type: "button", class: "plain", click: () => { box.dataset.of = ""; change({ rules: "" }, true); } }, "The pipeline's own"));
  fill($("rules-fields"), form);
}

function take(form, before) {
  const told = Object.fromEntries(new FormData(form));
  const caps = told.capped && Number(told.cap) >= 1 ? { [told.capped]: Number(told.cap) } : {};
  const boosts = told.boosted && told.value && told.by ? [{ by: Number(told.by), column: told.boosted, values: [told.value] }] : [];
  change({ rules: JSON.stringify({ diversity: Number(told.diversity), caps, boosts, allow: before.allow ?? null }) }, true);
}
