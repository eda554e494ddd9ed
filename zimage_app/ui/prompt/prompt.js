// The tools below the prompt: the text that the model will read, the history of prompts, and the wildcards. The history
// stays in the browser's storage. Texts are inserted with textContent.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".prompt-tools");
const find = (name) => root.querySelector(name);
const panel = find(".panel");
const plain = (text) => text.normalize("NFKC").toLowerCase();
const words = (text) => plain(text).split(/\s+/).filter(Boolean);
const field = () => document.querySelector("#knob-prompt textarea");

function fireInput(box) {
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

function write(text) {
  const box = field();
  box.value = text;
  fireInput(box);
}

// Inserts at the cursor; the field keeps the position while another element has the focus.
function insert(text) {
  const box = field();
  box.setRangeText(text, box.selectionStart, box.selectionEnd, "end");
  fireInput(box);
}

// The history of prompts, newest first

const store = "zimage-studio-prompts";
const maxKept = 200;
let kept = []; // the list for this page, where the browser can't store it

function load() {
  try {
    const list = JSON.parse(localStorage.getItem(store) || "[]");
    return list.filter((entry) => entry && typeof entry.text === "string" && entry.text.trim()).slice(0, maxKept);
  } catch {
    return kept;
  }
}

function save(list) {
  kept = list;
  try {
    localStorage.setItem(store, JSON.stringify(list));
  } catch {
    // The storage is full or blocked: the list lasts as long as the page.
  }
}

function saveNewest(list) {
  while (list.length > maxKept) {
    const place = list.findLastIndex((each) => !each.pinned);
    list.splice(place < 0 ? maxKept : place, 1);
  }
  save(list);
}

function keep(text, nowSent) {
  if (!text.trim()) return;
  const list = load();
  const old = list.find((entry) => entry.text === text);
  const entry = { text, at: Date.now(), pinned: Boolean(old?.pinned), sent: nowSent || Boolean(old?.sent) };
  saveNewest([entry, ...list.filter((each) => each !== old)]);
  if (open === "history") drawPrompts();
}

let typed = ""; // the prompt as typed by hand and not yet submitted
let browsing = null; // {list, place, draft} while Alt+arrows step through the history

document.addEventListener("input", (event) => {
  if (event.target !== field() || !event.isTrusted) return;
  typed = field().value;
  browsing = null;
});

// A typed prompt that is replaced (by an example, a picture's settings) is added to the history.
document.addEventListener("studio:settings", () => {
  if (!typed || field().value === typed) return;
  if (!load().some((entry) => entry.text === typed)) keep(typed, false);
  typed = "";
});

function rememberSent() {
  keep(field().value, true);
  typed = "";
  browsing = null;
}

document.addEventListener("click", (event) => event.target.closest?.("#generate") && rememberSent(), true);
document.addEventListener(
  "keydown",
  (event) => {
    if (event.target !== field() || page.composing(event)) return;
    if (event.key === "Enter" && event.shiftKey) rememberSent();
    if (!event.altKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    event.preventDefault();
    step(event.key === "ArrowUp" ? 1 : -1);
  },
  true
);

function step(by) {
  browsing ??= { list: load().filter((entry) => entry.text !== field().value), place: -1, draft: field().value };
  const place = Math.min(browsing.place + by, browsing.list.length - 1);
  if (place < -1 || place === browsing.place) return;
  browsing.place = place;
  write(place < 0 ? browsing.draft : browsing.list[place].text);
}

// Panels

let open = "";
let removed = null; // the entries of the last deletion

function show(name) {
  open = name === open ? "" : name;
  for (const button of root.querySelectorAll(".open")) {
    button.setAttribute("aria-expanded", String(button.dataset.panel === open));
  }
  panel.hidden = !open;
  panel.replaceChildren();
  if (!open) return;
  panel.setAttribute("aria-label", say(`prompt_${open}`));
  if (open === "history") showHistory();
  else showWildcards();
}

function close() {
  const button = root.querySelector(`.open[data-panel="${open}"]`);
  show(open);
  button.focus();
}

function makeSearch(label, draw) {
  const search = make("input");
  Object.assign(search, { type: "search", placeholder: label, oninput: draw });
  search.setAttribute("aria-label", label);
  return search;
}

root.addEventListener("keydown", (event) => {
  if (!open || page.composing(event)) return;
  if (event.key === "Escape") {
    event.preventDefault();
    close();
    return;
  }
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const rows = [...panel.querySelectorAll(".put")];
  const here = rows.indexOf(event.target.closest("li")?.querySelector(".put"));
  if (!by || !rows.length || !panel.contains(event.target)) return;
  event.preventDefault();
  if (here + by < 0) panel.querySelector("input").focus();
  else rows[Math.min(here + by, rows.length - 1)].focus();
});

// History panel

function showHistory() {
  removed = null;
  const foot = make("div", "foot");
  const all = makeButton("all", say("prompt_history_clear"), "", () => {
    if (all.dataset.sure) remove(() => true);
    all.textContent = say(all.dataset.sure ? "prompt_history_clear" : "prompt_history_clear_sure");
    all.dataset.sure = all.dataset.sure ? "" : "yes";
  });
  all.onblur = () => {
    all.dataset.sure = "";
    all.textContent = say("prompt_history_clear");
  };
  const undo = makeButton("undo", say("prompt_history_undo"), "", () => {
    const now = load(); // with prompts used since
    const back = removed.filter((entry) => !now.some((each) => each.text === entry.text));
    saveNewest([...now, ...back].sort((one, other) => (other.at || 0) - (one.at || 0)));
    removed = null;
    drawPrompts();
    panel.querySelector("input").focus();
  });
  const message = make("span", "told");
  message.setAttribute("role", "status");
  foot.append(all, message, undo);
  panel.append(makeSearch(say("prompt_history_search"), drawPrompts), make("ul"), make("p", "none"), foot);
  drawPrompts();
  panel.querySelector("input").focus();
}

function remove(goes) {
  const list = load();
  removed = list.filter(goes);
  save(list.filter((entry) => !goes(entry)));
  drawPrompts();
}

function makePrompt(entry) {
  const row = make("li");
  const put = makeButton("put", "", "", () => {
    write(entry.text);
    typed = "";
    close();
    field().focus();
  });
  put.append(make("span", "text", entry.text));
  if (!entry.sent) put.append(make("span", "tag", say("prompt_history_unsent")));
  put.title = entry.text;
  const short = entry.text.slice(0, 40);
  const pin = makeButton("pin", entry.pinned ? "★" : "☆", say("prompt_history_pin", { text: short }), () => {
    save(load().map((each) => (each.text === entry.text ? { ...each, pinned: !entry.pinned } : each)));
    drawPrompts();
    focusRow(entry.text, ".pin");
  });
  pin.setAttribute("aria-pressed", String(Boolean(entry.pinned)));
  const away = makeButton("away", "✕", say("prompt_history_delete", { text: short }), () => {
    const place = [...panel.querySelectorAll("li")].indexOf(row);
    remove((each) => each.text === entry.text);
    const rows = panel.querySelectorAll("li .away");
    (rows[Math.min(place, rows.length - 1)] || panel.querySelector("input")).focus();
  });
  row.append(put, pin, away);
  row.text = entry.text;
  return row;
}

function focusRow(text, button) {
  [...panel.querySelectorAll("li")].find((row) => row.text === text)?.querySelector(button).focus();
}

function drawPrompts() {
  const list = load();
  const wanted = words(panel.querySelector("input").value);
  const found = list.filter((entry) => wanted.every((word) => plain(entry.text).includes(word)));
  const pinnedFirst = [...found.filter((entry) => entry.pinned), ...found.filter((entry) => !entry.pinned)];
  panel.querySelector("ul").replaceChildren(...pinnedFirst.map(makePrompt));
  const none = panel.querySelector(".none");
  none.hidden = pinnedFirst.length > 0;
  none.textContent = say(list.length ? "prompt_history_no_match" : "prompt_history_none");
  panel.querySelector(".all").hidden = !list.length;
  panel.querySelector(".undo").hidden = !removed;
  panel.querySelector(".told").textContent = removed ? say("prompt_history_cleared") : "";
}

// Wildcards panel

let lists = null;
let refused = ""; // why the lists aren't there

const ask = (order) => server.prompt({ language: page.language, ...order }); // undefined after a failure

async function showWildcards() {
  const head = make("div", "head");
  const refresh = makeButton("refresh", say("prompt_refresh"), "", fetchLists);
  head.append(makeSearch(say("prompt_wildcards_search"), drawLists), refresh);
  panel.append(make("p", "about", say("prompt_wildcards_about")), head, make("ul"), make("p", "none"));
  panel.append(make("p", "about", say("prompt_wildcards_own")));
  panel.querySelector("input").focus();
  if (lists) drawLists();
  else await fetchLists();
}

async function fetchLists() {
  const answer = await ask({ do: "wildcards" });
  if (open !== "wildcards") return;
  lists = answer?.lists || null;
  refused = answer?.error || say("prompt_unreachable");
  drawLists();
}

// Chinese lists come first on a Chinese page, last on an English one.
function ordered(found) {
  const chinese = (list) => /\p{Script=Han}/u.test(list.name) === (page.language !== "en");
  return [...found.filter(chinese), ...found.filter((list) => !chinese(list))];
}

function makeList(list) {
  const row = make("li");
  const name = `__${list.name}__`;
  const put = makeButton("put", "", say("prompt_wildcards_insert", { text: name }), () => insert(name));
  put.append(make("span", "text", name), make("span", "tag", String(list.count)));
  put.append(make("span", "meta", list.problem || [list.about, list.lines.slice(0, 4).join(" / ")].filter(Boolean).join(" · ")));
  put.disabled = Boolean(list.problem);
  const lines = make("div", "lines");
  lines.hidden = true;
  const look = makeButton("look", "▸", say("prompt_wildcards_look", { name: list.name }), () => {
    lines.hidden = !lines.hidden;
    look.textContent = lines.hidden ? "▸" : "▾";
    look.setAttribute("aria-expanded", String(!lines.hidden));
    if (lines.childElementCount) return;
    lines.append(...list.lines.map((line) => makeButton("line", line, say("prompt_wildcards_insert", { text: line }), () => insert(line))));
    if (list.count > list.lines.length) lines.append(make("span", "more", `… ${list.count}`));
  });
  look.setAttribute("aria-expanded", "false");
  look.hidden = !list.lines.length;
  row.append(put, look, lines);
  return row;
}

function drawLists() {
  const wanted = words(panel.querySelector("input").value);
  const haystack = (list) => plain([list.name, list.about, ...list.lines].join("\n"));
  const found = (lists || []).filter((list) => wanted.every((word) => haystack(list).includes(word)));
  panel.querySelector("ul").replaceChildren(...ordered(found).map(makeList));
  const none = panel.querySelector(".none");
  none.hidden = found.length > 0;
  none.textContent = lists ? say(lists.length ? "prompt_wildcards_no_match" : "prompt_wildcards_none") : refused;
}

// The text that the model will read

let settings = null;
let example = 0;
const begin = page.makeSequence();

async function read() {
  const isNewest = begin();
  const answer = (await ask({ do: "preview", settings, example })) || {};
  if (!isNewest()) return;
  const { text = "", same = true, loras = [], tokens, limit, combinations = "", drawn = "", problem = "" } = answer;
  const line = find(".reading");
  line.hidden = same;
  line.querySelector("b").textContent = say(answer.example ? "reads_example" : "reads");
  line.querySelector(".text").textContent = text;
  line.querySelector(".tags").textContent = loras.map((use) => `LoRA ${use}`).join(" · ");
  line.querySelector(".another").hidden = !answer.example;
  const counted = Number.isInteger(tokens) && text;
  const counts = [combinations ? say("prompt_combinations", { combinations, drawn }) : "", counted ? say("prompt_tokens", { tokens }) : ""];
  find(".count").textContent = counts.filter(Boolean).join(" · ");
  find(".count").title = counted && limit ? say("prompt_tokens_of", { tokens, limit }) : "";
  find(".count").classList.toggle("over", Boolean(limit && tokens > limit));
  find(".problem").textContent = problem;
  document.dispatchEvent(new CustomEvent("studio:prompt-preview", { detail: answer }));
}

const readSoon = page.debounce(read, 250);
document.addEventListener("studio:settings", (event) => {
  settings = event.detail;
  readSoon();
});

find(".another").textContent = say("reads_another");
find(".another").onclick = () => {
  example += 1;
  read();
};
for (const button of root.querySelectorAll(".open")) {
  button.textContent = say(`prompt_${button.dataset.panel}`);
  button.title = say(`prompt_${button.dataset.panel}_title`);
  button.onclick = () => show(button.dataset.panel);
}
