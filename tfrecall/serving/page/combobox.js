// A text field with suggestions, by the combobox pattern of ARIA 1.2.

import { announce, count, h, settled } from "./dom.js";

let number = 0;

/**
 * Make a combobox.
 *
 * label: text above the field. hint: placeholder. search: async function from a text and a signal to
 * `{options, total}`; an option has `label`, `detail` and `value`. choose: called with an option, or with the
 * text where Enter is pressed before any option is reached and `free` is set. keeps: whether the field shows what
 * was chosen, or is emptied for the next choice.
 */
export function combobox({ label, hint, search, choose, free = false, keeps = false, noun = "entry" }) {
  const id = `combobox-${(number += 1)}`;
  const input = h("input", {
    id, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder: hint,
    "aria-expanded": "false", "aria-controls": `${id}-list`, "aria-autocomplete": "list",
  });
  const list = h("ul", { id: `${id}-list`, role: "listbox", "aria-label": label, hidden: true });
  let options = [];
  let active = -1;
  let running = null;

  const close = () => {
    running?.abort();
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const take = (option) => {
    close();
    input.value = keeps ? option.value : "";
    choose(option);
  };
  const reach = (place) => {
    active = place;
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === place)));
    if (place < 0) return;
    input.setAttribute("aria-activedescendant", `${id}-${place}`);
    list.children[place].scrollIntoView({ block: "nearest" });
  };
  const show = (found) => {
    options = found.options;
    active = -1;
    input.removeAttribute("aria-activedescendant");
    list.replaceChildren(...options.map((option, i) => h("li", {
      id: `${id}-${i}`, role: "option", "aria-selected": "false",
      // Pointer down, not click: the field would lose the focus and close the list before.
      mousedown: (event) => { event.preventDefault(); take(option); },
      mousemove: () => reach(i),
    }, h("span", {}, option.label), option.detail ? h("small", {}, option.detail) : null)));
    list.hidden = options.length === 0;
    input.setAttribute("aria-expanded", String(options.length > 0));
    announce(options.length ? `${count(found.total, noun, noun === "entry" ? "entries" : undefined)} found` : "Nothing found");
  };
  const look = async () => {
    running?.abort();
    running = new AbortController();
    try {
      show(await search(input.value, running.signal));
    } catch (error) {
      if (error.name !== "AbortError") close();
    }
  };
  const soon = settled(() => document.activeElement === input && look());

  input.addEventListener("input", soon);
  input.addEventListener("focus", () => { input.select(); soon(); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const last = options.length - 1;
    const open = !list.hidden;
    if (event.key === "Escape" && (open || input.value)) {
      if (!open) input.value = "";
      close();
    } else if (event.key === "Enter" && open && active >= 0) take(options[active]);
    else if (event.key === "Enter" && input.value.trim()) {
      if (free) take({ value: input.value.trim(), label: input.value.trim() });
      else if (open) take(options[0]);
      else look();
    } else if (event.key === "ArrowDown") open ? reach(active >= last ? 0 : active + 1) : look();
    else if (event.key === "ArrowUp" && open) reach(active <= 0 ? last : active - 1);
    else return;
    event.preventDefault();
  });
  return { element: h("div", { class: "combobox" }, h("label", { for: id }, label), input, list), input };
}
