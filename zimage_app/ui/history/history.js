// The history view: pages of pictures by day, with search, filters, stars, selection, deletion and undo. The data comes
// from the server (history.py); texts are inserted with textContent.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".history");
const find = (selector) => root.querySelector(selector);
const maxCompared = 6;
const cards = () => [...root.querySelectorAll(".card")];

const WANTED = "studio-history"; // sessionStorage: search, filters and page, to restore them after a reload
const wanted = { q: "", day: "", model: "", starred: false, trash: false, page: 1, ...JSON.parse(sessionStorage.getItem(WANTED)) };
let items = [];
let pages = 1;
const begin = page.makeSequence();
let current = ""; // id of the picture with the keyboard focus
let lastPicked = "";
let failed = false; // the last request
let reading = false; // the server is still reading the folder
const readingMs = 700; // milliseconds between two requests while it does
const selected = new Map();
let refiltered = false; // the filters have changed since the last answer
const isOpen = () => document.querySelector("#right")?.dataset.view === "history";

// Requests to the server

function query() {
  const values = new URLSearchParams({ page: wanted.page });
  for (const name of ["q", "day", "model"]) if (wanted[name]) values.set(name, wanted[name]);
  for (const name of ["starred", "trash"]) if (wanted[name]) values.set(name, "1");
  return values;
}

async function load() {
  const isNewest = begin();
  const data = await page.fetchJson(`history?${query()}`);
  if (!isNewest()) return;
  root.dataset.ready = "true";
  if (!data || data.error) {
    showMessage(data?.error || say("history_unreachable"));
    failed = true;
    if (reading) setTimeout(load, readingMs);
    return;
  }
  if (failed) showMessage("");
  failed = false;
  reading = data.reading;
  items = data.items;
  pages = data.pages;
  if (refiltered) keepSelected(items);
  refiltered = false;
  wanted.page = data.page;
  sessionStorage.setItem(WANTED, JSON.stringify(wanted));
  draw(data);
  if (reading) setTimeout(load, readingMs);
}

function showMessage(text, ...offers) {
  find(".said").textContent = text;
  find(".offers").replaceChildren(...offers);
}

// Actions on pictures

async function remove(ids) {
  const index = items.findIndex((item) => item.id === current);
  const next = items.slice(Math.max(index, 0)).find((item) => !ids.includes(item.id))?.id;
  const gone = await page.remove(ids);
  if (gone) current = next || "";
}

// Pictures were changed, here or in another view.
document.addEventListener("studio:pictures", async (event) => {
  const { what, ids } = event.detail;
  if (what === "delete" || what === "undo") for (const id of ids) selected.delete(id);
  if (what === "star" || what === "unstar") for (const id of ids) if (selected.has(id)) selected.get(id).starred = what === "star";
  if (what === "undo") current = ids[0] || current;
  showMessage("");
  if (!isOpen()) return;
  await load();
  if (root.contains(document.activeElement) || document.activeElement === document.body) focusCard();
});

const star = (ids, on) => page.order(on ? "star" : "unstar", ids);

function askToEmpty() {
  const sure = makeButton("sure", say("history_empty_sure", { count: Number(root.dataset.total) }), "", async () => {
    const gone = await page.order("empty", []);
    if (gone) page.toast(say("history_emptied", { count: gone.length }));
  });
  showMessage("", sure, dismiss());
  sure.focus();
}

function dismiss() {
  return makeButton("dismiss", "×", say("history_dismiss"), () => showMessage(""));
}

// A form, so that the browser writes the answer to disk as it comes; into a frame, so that a failure leaves the page.
async function downloadZip(ids) {
  const there = await page.existing(ids);
  if (!there?.length) return;
  const form = make("form");
  form.method = "post";
  form.target = "history-zip";
  form.action = "history/zip";
  form.hidden = true;
  const field = make("input");
  field.name = "ids";
  field.value = there.join(",");
  form.append(field);
  document.body.append(form);
  form.submit();
  form.remove();
}

function compare(ids) {
  if (ids.length > maxCompared) {
    showMessage(say("compare_at_most", { count: maxCompared }), dismiss());
    return;
  }
  document.dispatchEvent(new CustomEvent("studio:compare", { detail: { ids } }));
}

function open(id) {
  const show = { items, index: items.findIndex((item) => item.id === id), turn: pictureBeside, onMove: moveTo };
  document.dispatchEvent(new CustomEvent("studio:open", { detail: show }));
}

// Goes to the previous or next page; null where there is none.
async function changePage(pagesOn) {
  if (wanted.page + pagesOn < 1 || wanted.page + pagesOn > pages) return null;
  wanted.page += pagesOn;
  await load();
  return items;
}

// For the viewer, whose list may be outdated: the pictures, with the index of the one before or after a picture; null
// if there is none. Deletions may have moved pictures from the next page to this one.
async function pictureBeside(id, pagesOn) {
  await load();
  const at = items.findIndex((item) => item.id === id);
  if (at >= 0 && items[at + pagesOn]) return { items, index: at + pagesOn };
  return (await changePage(pagesOn)) && { items, index: pagesOn > 0 ? 0 : items.length - 1 };
}

function moveTo(id) {
  current = id;
  updateTabStops();
}

function neighbourOf(id) {
  const index = items.findIndex((item) => item.id === id);
  return (items[index + 1] || items[index - 1])?.id;
}

// Drawing

function makeCard(item) {
  const card = make("li", "card");
  card.dataset.picture = item.id;
  const button = makeButton("open", "", "", () => (wanted.trash ? toggle(item.id) : open(item.id)));
  const src = wanted.trash ? `history/trash/${item.id}.jpg` : `pictures/${item.id}.jpg`;
  const image = Object.assign(make("img"), { loading: "lazy", alt: "", src });
  const about = make("span", "about");
  about.append(make("span", "prompt", item.label), make("span", "seed", `#${item.seed}`));
  button.append(image, about);
  button.onfocus = () => moveTo(item.id);
  const mark = make("span", "mark", "★");
  mark.setAttribute("aria-hidden", "true");
  const pick = make("input", "pick");
  pick.type = "checkbox";
  pick.onclick = (event) => toggle(item.id, event.shiftKey);
  card.append(button, mark, pick);
  if (!wanted.trash) card.append(page.makeMore(card, item, () => ({ neighbour: neighbourOf(item.id) })));
  return card;
}

function fillCard(card, item) {
  const label = say("history_card", { prompt: item.label, time: item.time, seed: item.seed });
  const spoken = item.starred ? say("history_card_starred", { label }) : label;
  const button = card.querySelector(".open");
  button.title = item.label;
  button.setAttribute("aria-label", spoken);
  card.classList.toggle("is-starred", item.starred);
  card.querySelector(".pick").setAttribute("aria-label", `${say("history_select")}: ${label}`);
}

function drawPictures() {
  const focused = find(".days").contains(document.activeElement) ? document.activeElement : null;
  const known = new Map(cards().map((card) => [card.dataset.picture, card]));
  const days = new Map();
  for (const item of items) {
    const card = known.get(item.id) || makeCard(item);
    fillCard(card, item);
    days.set(item.day, [...(days.get(item.day) || []), card]);
  }
  const sections = [...days].map(([day, list]) => {
    const section = make("section");
    const heading = make("h3", "", day);
    const box = make("ul");
    box.setAttribute("aria-label", `${say("history_pictures")} ${day}`);
    box.append(...list);
    section.append(heading, box);
    return section;
  });
  find(".days").replaceChildren(...sections);
  updateTabStops();
  // Inserting the elements again removes the focus.
  if (focused) (find(".days").contains(focused) ? focused : cards()[0]?.querySelector(".open"))?.focus({ preventScroll: true });
}

function fillFilter(select, list, all, value) {
  const fit = list.some((each) => each.name === value) || !value ? list : [{ name: value, count: 0 }, ...list];
  const nodes = fit.map((each) => new Option(say("history_counted", each), each.name));
  select.replaceChildren(new Option(all, ""), ...nodes);
  select.value = value;
}

function draw(data) {
  root.dataset.total = data.total;
  root.dataset.trash = String(wanted.trash);
  find(".total").textContent = data.reading
    ? `${say("history_total", data)} · ${say("history_reading")}`
    : say("history_total", data);
  fillFilter(find(".day"), data.days, say("history_all_days"), wanted.day);
  fillFilter(find(".model"), data.models, say("history_all_models"), wanted.model);
  find(".model").hidden = data.models.length < 2 && !wanted.model;
  for (const name of ["starred", "trash"]) find(`.${name}`).setAttribute("aria-pressed", String(wanted[name]));
  drawPictures();
  const filtered = wanted.q || wanted.day || wanted.model || wanted.starred;
  const none = wanted.trash && !filtered ? "history_trash_empty" : filtered ? "history_none_fit" : "history_none";
  find(".none").hidden = items.length > 0 || data.reading;
  find(".none").textContent = say(none);
  find(".keys").hidden = !items.length || wanted.trash;
  drawSelection();
  drawPager();
}

function drawSelection() {
  for (const card of cards()) {
    const on = selected.has(card.dataset.picture);
    card.classList.toggle("is-selected", on);
    card.querySelector(".pick").checked = on;
  }
  const ids = [...selected.keys()];
  const bar = find(".selection");
  bar.hidden = !ids.length && !(wanted.trash && items.length);
  const button = (name, key, act) => makeButton(name, say(key), "", act);
  const starred = ids.length > 0 && [...selected.values()].every((item) => item.starred);
  const some = [
    make("b", "", say("history_selected", { count: ids.length })),
    button("page", "history_select_page", selectPage),
    button("clear", "history_clear", clear),
  ];
  const acts = [
    button("compare", "history_compare", () => compare(ids)),
    button("zip", "history_zip", () => downloadZip(ids)),
    button("star", starred ? "history_unstar" : "history_star", () => star(ids, !starred)),
    button("delete", "history_delete", () => remove(ids)),
  ];
  acts[0].disabled = ids.length < 2;
  const back = [button("restore", "history_restore", () => page.putBack(ids)), button("discard", "history_empty", askToEmpty)];
  back[0].disabled = !ids.length;
  const focused = bar.contains(document.activeElement) ? document.activeElement.className : "";
  bar.replaceChildren(...some, ...(wanted.trash ? back : acts));
  if (focused) bar.querySelector(`.${focused}`)?.focus();
}

function drawPager() {
  const pager = find(".pager");
  pager.hidden = pages < 2;
  const go = (name, text, label, target) => {
    const button = makeButton(name, text, say(label), () => goTo(target));
    button.disabled = target < 1 || target > pages || target === wanted.page;
    return button;
  };
  const number = make("input", "number");
  number.inputMode = "numeric";
  number.value = wanted.page;
  number.setAttribute("aria-label", say("history_page", { page: wanted.page, pages }));
  number.onchange = () => goTo(Math.min(Math.max(parseInt(number.value, 10) || 1, 1), pages));
  pager.replaceChildren(
    go("first", "«", "history_first", 1),
    go("previous", "‹", "history_previous", wanted.page - 1),
    number,
    make("span", "", `/ ${pages}`),
    go("next", "›", "history_next", wanted.page + 1),
    go("last", "»", "history_last", pages),
  );
}

async function goTo(target) {
  wanted.page = target;
  current = "";
  await load();
  root.scrollIntoView({ block: "start" });
}

// Selecting

function toggle(id, range = false) {
  const from = items.findIndex((item) => item.id === lastPicked);
  const to = items.findIndex((item) => item.id === id);
  const on = !selected.has(id);
  const touched = range && from >= 0 ? items.slice(Math.min(from, to), Math.max(from, to) + 1) : [items[to]];
  for (const item of touched) {
    if (on) selected.set(item.id, item);
    else selected.delete(item.id);
  }
  lastPicked = id;
  drawSelection();
}

// Drops from the selection what a changed filter no longer shows.
function keepSelected(list) {
  const ids = new Set(list.map((item) => item.id));
  for (const id of selected.keys()) if (!ids.has(id)) selected.delete(id);
}

function selectPage() {
  for (const item of items) selected.set(item.id, item);
  drawSelection();
}

function clear() {
  selected.clear();
  drawSelection();
  focusCard();
}

// The keyboard. One picture at a time is in the tab order; the arrows move it.

function updateTabStops() {
  const all = cards();
  const here = all.find((card) => card.dataset.picture === current) || all[0];
  for (const card of all) for (const node of card.querySelectorAll("button, input")) node.tabIndex = card === here ? 0 : -1;
}

function focusCard() {
  const card = cards().find((each) => each.dataset.picture === current) || cards()[0];
  card?.querySelector(".open").focus();
}

// The card above or below: the horizontally closest one in the next row.
function vertical(card, direction) {
  const here = card.getBoundingClientRect();
  const that = cards().map((each) => ({ each, box: each.getBoundingClientRect() }));
  const beyond = that.filter(({ box }) => (box.top - here.top) * direction > 4);
  const row = direction > 0 ? Math.min(...beyond.map(({ box }) => box.top)) : Math.max(...beyond.map(({ box }) => box.top));
  const level = beyond.filter(({ box }) => Math.abs(box.top - row) < 4);
  return level.sort((a, b) => Math.abs(a.box.left - here.left) - Math.abs(b.box.left - here.left))[0]?.each;
}

function step(key, card) {
  const all = cards();
  const index = all.indexOf(card);
  switch (key) {
    case "ArrowLeft":
      return all[index - 1];
    case "ArrowRight":
      return all[index + 1];
    case "ArrowUp":
      return vertical(card, -1);
    case "ArrowDown":
      return vertical(card, 1);
    case "Home":
      return all[0];
    case "End":
      return all.at(-1);
    default:
      return undefined;
  }
}

// The selected pictures of this page of the list; without any, the focused one.
function seenOr(id) {
  const seen = items.map((item) => item.id).filter((each) => selected.has(each));
  return seen.length ? seen : [id];
}

const keys = {
  Delete: (id) => !wanted.trash && remove(seenOr(id)),
  " ": (id) => toggle(id),
  s: (id) => !wanted.trash && star([id], !items.find((item) => item.id === id).starred),
  PageUp: async () => (await changePage(-1)) && focusCard(),
  PageDown: async () => (await changePage(1)) && focusCard(),
};

find(".days").onkeydown = (event) => {
  const card = event.target.closest(".card");
  if (!card || event.target.closest(".more") || event.ctrlKey || event.metaKey || event.altKey) return;
  const next = step(event.key, card);
  if (next) {
    event.preventDefault();
    next.querySelector(".open").focus();
    return;
  }
  const act = keys[event.key] || keys[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act(card.dataset.picture);
};

root.onkeydown = (event) => {
  if (event.key === "Escape" && selected.size) {
    event.stopPropagation();
    clear();
  }
  const typed = event.target.closest("input:not([type=checkbox])");
  if (event.key === "z" && (event.ctrlKey || event.metaKey) && !typed && page.undo()) event.preventDefault();
};

// Filters

function filter(changes) {
  Object.assign(wanted, changes, { page: 1 });
  refiltered = true;
  load();
}

find(".find").onsubmit = (event) => event.preventDefault();
find(".query").oninput = page.debounce(() => filter({ q: find(".query").value.trim() }), 200);
find(".day").onchange = () => filter({ day: find(".day").value });
find(".model").onchange = () => filter({ model: find(".model").value });
find(".starred").onclick = () => filter({ starred: !wanted.starred });
find(".trash").onclick = () => {
  selected.clear();
  showMessage("");
  find(".days").replaceChildren();
  filter({ trash: !wanted.trash });
};

find(".query").value = wanted.q;
find(".query").placeholder = say("history_search");
find(".query").title = say("history_search_hint");
find(".query").setAttribute("aria-label", `${say("history_search")}. ${say("history_search_hint")}`);
find(".day").setAttribute("aria-label", say("history_day"));
find(".model").setAttribute("aria-label", say("model"));
find(".starred").textContent = `★ ${say("history_starred")}`;
find(".trash").textContent = say("history_trash");
find(".keys").textContent = say("history_keys");

// The list is loaded when the view opens, and again when a new picture is done while it is open.
document.addEventListener("studio:view", (event) => event.detail === "history" && load());
document.addEventListener("studio:job", (event) => {
  if (event.detail === "done" && isOpen()) load();
});
document.addEventListener("visibilitychange", () => !document.hidden && isOpen() && load());
