const found = JSON.parse(document.getElementById("directory").textContent);
const search = document.getElementById("search");
const list = document.getElementById("people");
const card = document.getElementById("person");
const MOST = 200;
const LETTERS = 80;  // of a title; the whole of a longer one is in its tooltip

function element(name, text, parent, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  parent.append(made);
  return made;
}

function items(parent, name, title, places, hits) {
  element("b", title, parent);
  const made = element(name, "", parent);
  if (!places.length) element("li", "nothing", made);
  places.forEach((place, i) => {
    const hit = hits.includes(i);
    const line = element("li", "", made, hit ? "hit" : "");
    if (found.images[place]) {
      const image = document.createElement("img");
      image.src = found.images[place];
      image.alt = "";
      line.append(image, " ");
    }
    const title = found.titles[place];
    if (title.length > LETTERS) line.title = title;
    line.append((title.length > LETTERS ? title.slice(0, LETTERS - 1) + "…" : title) + (hit ? " ✓" : ""));
  });
}

function show() {
  const user = found.users[Number(list.value)];
  card.replaceChildren();
  if (!list.value || !user) return;
  const [id, length, chosen, had, shown, hits] = user;
  element("h3", "User " + id, card);
  element("p", `${length} rows before the test, ${chosen} items in it`, card, "soft");
  items(card, "ul", "Had, latest first", had, []);
  items(card, "ol", "Is shown", shown, hits);
}

function narrow() {
  const part = search.value.trim().toLowerCase();
  const fitting = found.users.map((user, i) => [user[0], i]).filter(([id]) => id.toLowerCase().includes(part));
  list.replaceChildren();
  fitting.slice(0, MOST).forEach(([id, i]) => (element("option", id, list).value = i));
  const more = fitting.length - MOST;
  document.getElementById("many").textContent = more > 0 ? `${more} more: type more of the id` : "";
  if (fitting.length) list.value = fitting[0][1];
  show();
}

search.addEventListener("input", narrow);
list.addEventListener("change", show);
document.getElementById("pick").hidden = false;
narrow();
