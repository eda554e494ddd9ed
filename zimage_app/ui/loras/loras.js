// The LoRA list: one row per LoRA in use, and a dialog to add one. props.value is the request's "loras" as plain data,
// which every change replaces; data on the files comes from loras.json. Texts are inserted with textContent.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".loras");
const { most, strongest, step } = props.limits;

let library = new Map(); // name -> the server's data
let lastResponse = ""; // the response that it was parsed from
const begin = page.makeSequence();
let model = "";
let every = []; // numbers, from 1, of all stages
let stages = []; // numbers of the enabled stages
let uses = [];
let open = ""; // name of the LoRA whose details are shown
let dialog = null;

const leaf = (name) => name.slice(name.lastIndexOf("/") + 1);
const number = (value) => String(Math.round(value * 1000) / 1000);

// Value

// Drops malformed entries: values from the browser's storage may be anything, and drawing must not fail. The server
// checks them later.
function validUses(value) {
  const list = Array.isArray(value) ? value : [];
  return list.filter((use) => use && typeof use.name === "string" && use.name).map((use) => ({ ...use }));
}

function change(next, { redraw = true } = {}) {
  uses = next;
  props.value = uses.map((use) => ({ ...use }));
  trigger("change");
  if (redraw) draw();
}

function update(index, changes, options) {
  const use = { ...uses[index], ...changes };
  for (const key of Object.keys(use)) if (use[key] === undefined) delete use[key];
  change(uses.with ? uses.with(index, use) : uses.map((each, place) => (place === index ? use : each)), options);
}

// Of trigger words in Chinese and English, those in the prompt's language; without a prompt, in the page's language.
function inPromptsLanguage(words) {
  const chinese = (text) => /\p{Script=Han}/u.test(text);
  const prompt = document.querySelector("#knob-prompt textarea").value;
  const wanted = prompt.trim() ? chinese(prompt) : page.language !== "en";
  const spoken = words.filter((word) => chinese(word) === wanted);
  return spoken.length ? spoken : [...words];
}

function add(entry) {
  if (uses.length >= most) return;
  const use = { name: entry.name, strength: entry.strength ?? 1 };
  const words = entry.mine.triggers ? [...entry.preset] : inPromptsLanguage(entry.preset);
  if (words.length) use.triggers = words;
  change([...uses, use]);
}

function remove(index) {
  change(uses.filter((_, place) => place !== index));
  const rows = root.querySelectorAll(".use .remove");
  (rows[Math.min(index, rows.length - 1)] || root.querySelector(".add")).focus();
}

function move(index, by) {
  const next = [...uses];
  next.splice(index + by, 0, next.splice(index, 1)[0]);
  change(next);
  const button = root.children[1].children[index + by]?.querySelector(by < 0 ? ".up" : ".down");
  (button?.disabled ? button.parentElement.querySelector("button:not(:disabled)") : button)?.focus();
}

// Rows

function makeThumb(entry, name) {
  const box = make("span", "picture", entry?.picture ? "" : leaf(name).trim().slice(0, 1).toUpperCase());
  box.setAttribute("aria-hidden", "true");
  if (entry?.picture) {
    const src = `lora.jpg?name=${encodeURIComponent(name)}&v=${entry.picture}`;
    const image = Object.assign(make("img"), { loading: "lazy", alt: "", src });
    image.onerror = () => (box.textContent = leaf(name).trim().slice(0, 1).toUpperCase());
    box.append(image);
  }
  return box;
}

function facts(entry) {
  const rank = entry.rank ? say("lora_rank", { rank: entry.rank }) : "";
  return [entry.title, [entry.kind, rank].filter(Boolean).join(" "), entry.base].filter(Boolean).join(" · ");
}

function remarks(use, entry) {
  if (!entry) return lastResponse ? [say("lora_gone")] : [];
  const another = use.sha256 && entry.sha256 && use.sha256 !== entry.sha256;
  return [entry.problem, ...entry.warnings, another ? say("lora_another") : ""].filter(Boolean);
}

function makeStrength(use, index) {
  const box = make("div", "strength");
  const label = say("lora_strength", { name: use.name });
  const [slider, exact] = ["range", "number"].map((type) => {
    const input = make("input");
    Object.assign(input, { type, min: -strongest, max: strongest, step, value: number(use.strength ?? 1) });
    input.setAttribute("aria-label", label);
    return input;
  });
  function paint() {
    const part = (100 * (Number(slider.value) + strongest)) / (2 * strongest);
    slider.style.setProperty("--from", `${Math.min(part, 50)}%`);
    slider.style.setProperty("--to", `${Math.max(part, 50)}%`);
    const off = Number(slider.value) === 0;
    box.closest(".use")?.classList.toggle("off", off);
    slider.setAttribute("aria-valuetext", off ? say("lora_off") : slider.value);
  }
  slider.oninput = () => {
    exact.value = slider.value;
    paint();
    update(index, { strength: Number(slider.value) }, { redraw: false });
  };
  exact.oninput = () => {
    const value = Number(exact.value);
    if (exact.value === "" || !Number.isFinite(value)) return;
    slider.value = value;
    paint();
    update(index, { strength: Math.min(strongest, Math.max(-strongest, value)) }, { redraw: false });
  };
  exact.onchange = () => (exact.value = number(uses[index].strength ?? 1)); // 1 is left out
  box.append(slider, exact);
  box.paint = paint;
  return box;
}

function makeStages(use, index) {
  const box = make("div", "where");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", say("lora_stages"));
  box.append(make("span", "", say("lora_stages")));
  const all = use.stages || every;
  // Also show stages that no longer exist, so that they can be removed.
  const gone = all.filter((stage) => !every.includes(stage));
  for (const stage of [...stages, ...gone]) {
    const on = all.includes(stage);
    const button = makeButton("", String(stage), say("lora_stage", { name: use.name, stage }), () => {
      const next = on ? all.filter((each) => each !== stage) : [...all, stage].sort();
      if (gone.includes(stage) || next.some((each) => stages.includes(each))) refocus(index, box.className, button, () => update(index, { stages: compactStages(next) }));
    });
    button.setAttribute("aria-pressed", String(on));
    box.append(button);
  }
  box.hidden = stages.length < 2 && !use.stages;
  return box;
}

// A selection of all stages is stored as undefined, like no selection.
function compactStages(numbers) {
  return !numbers.length || every.every((stage) => numbers.includes(stage)) ? undefined : numbers;
}

// The redraw replaces the pressed button, so the focus moves to the new one in its place.
function refocus(index, group, button, act) {
  const place = [...button.parentElement.children].indexOf(button);
  act();
  root.querySelectorAll(".use")[index]?.querySelector(`.${group}`)?.children[place]?.focus();
}

function makeWords(use, index, entry) {
  const box = make("div", "words");
  const on = Array.isArray(use.triggers) ? use.triggers : [];
  const words = [...new Set([...on, ...(entry?.triggers || [])])].sort(
    (one, other) => order(entry, one) - order(entry, other)
  );
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", say("lora_words", { name: use.name }));
  for (const word of words) {
    const pressed = on.includes(word);
    const button = makeButton("", word, "", () => {
      const next = words.filter((each) => (each === word ? !pressed : on.includes(each)));
      refocus(index, "words", button, () => update(index, { triggers: next.length ? next : undefined }));
    });
    button.title = word;
    button.setAttribute("aria-pressed", String(pressed));
    box.append(button);
  }
  box.hidden = !words.length;
  return box;
}

function order(entry, word) {
  const place = entry ? entry.triggers.indexOf(word) : -1;
  return place < 0 ? 99 : place;
}

function makeRow(use, index) {
  const entry = library.get(use.name);
  const row = make("li", "use");
  row.dataset.name = use.name;
  const head = make("div", "head");
  const what = make("div", "what");
  const name = make("b", "", leaf(use.name));
  name.title = use.name;
  what.append(name, make("span", "meta", entry ? facts(entry) : ""));
  const tools = make("div", "tools");
  const tool = (kind, sign, act) => makeButton(kind, sign, say(`lora_${kind}`, { name: use.name }), act);
  const [up, down] = [tool("up", "↑", () => move(index, -1)), tool("down", "↓", () => move(index, 1))];
  up.disabled = index === 0;
  down.disabled = index === uses.length - 1;
  const details = tool("details", "⋯", () => {
    open = open === use.name ? "" : use.name;
    draw();
    root.querySelectorAll(".use")[index].querySelector(".details").focus();
  });
  details.setAttribute("aria-expanded", String(open === use.name));
  details.disabled = !entry;
  tools.append(up, down, details, tool("remove", "✕", () => remove(index)));
  head.append(makeThumb(entry, use.name), what, tools);
  const strength = makeStrength(use, index);
  const switches = make("div", "switches");
  switches.append(makeStages(use, index), makeWords(use, index, entry));
  row.append(head, strength, switches);
  row.append(...remarks(use, entry).map((text) => make("p", "remark", text)));
  if (entry && open === use.name) row.append(makeDetails(entry));
  strength.paint();
  return row;
}

function draw() {
  root.querySelector(".stack").replaceChildren(...uses.map(makeRow));
  root.querySelector(".none").hidden = uses.length > 0;
  if (dialog) drawPressed();
}

// Details and notes

function field(label, input) {
  const box = make("label", "field");
  box.append(make("span", "", label), input);
  return box;
}

function textInput(value, placeholder) {
  const input = make("input");
  Object.assign(input, { type: "text", value, placeholder });
  return input;
}

function makeDetails(entry) {
  const box = make("form", "about");
  const list = make("dl");
  const size = entry.size >= 2 ** 20 ? `${(entry.size / 2 ** 20).toFixed(1)} MB` : `${Math.round(entry.size / 1024)} KB`;
  const rows = [
    [say("lora_file"), `${entry.name}.safetensors`],
    [say("lora_kind"), [entry.kind, entry.rank && say("lora_rank", { rank: entry.rank }), entry.spelling].filter(Boolean).join(" · ")],
    [say("lora_size"), size],
    [say("lora_base"), entry.base],
    ["SHA-256", (entry.sha256 || "…").slice(0, 10)],
  ];
  list.append(...rows.filter((row) => row[1]).flatMap(([title, text]) => [make("dt", "", title), make("dd", "", text)]));
  if (!entry.sha256) askDigest(entry, list.lastChild);
  const { mine } = entry;
  const words = textInput((mine.triggers || []).join(", "), entry.triggers.join(", "));
  const strength = textInput(mine.strength === null ? "" : number(mine.strength), number(entry.strength ?? 1));
  const note = textInput(mine.note, entry.note);
  const answer = make("span", "answer");
  answer.setAttribute("role", "status");
  const save = make("button", "save", say("lora_save"));
  box.append(list, field(say("lora_note_triggers"), words), field(say("lora_note_strength"), strength), field(say("lora_note"), note));
  const foot = make("div", "foot");
  foot.append(save, answer);
  box.append(foot);
  box.onsubmit = (event) => {
    event.preventDefault();
    saveNotes(entry, notes(words.value, strength.value, note.value), answer);
  };
  return box;
}

// The server reads the whole file for its hash, so it is only requested when the details are open.
async function askDigest(entry, place) {
  const answer = await fetch(`lora.sha256?name=${encodeURIComponent(entry.name)}`).catch(() => null);
  if (!answer || !answer.ok) return;
  entry.sha256 = await answer.text();
  place.textContent = entry.sha256.slice(0, 10);
}

// Empty fields are left out; the file's own values then apply.
function notes(words, strength, note) {
  const said = {};
  const triggers = words.split(/[,，、]/).map((word) => word.trim()).filter(Boolean);
  if (triggers.length) said.triggers = triggers;
  if (strength.trim()) said.strength = Number.isNaN(Number(strength)) ? strength : Number(strength);
  if (note.trim()) said.note = note.trim();
  return said;
}

async function saveNotes(entry, said, answer) {
  const call = { name: entry.name, notes: said, model, language: page.language };
  const reply = (await server.save_note(call)) || { error: say("history_unreachable") }; // undefined after a failure
  answer.textContent = reply.error || say("lora_saved");
  answer.dataset.kind = reply.error ? "error" : "";
  if (reply.entry) showNewWords(reply.entry);
  lastResponse = ""; // draw the next response in any case
}

// Shows the new trigger words in the rows at once, without redrawing the form that was typed into.
function showNewWords(entry) {
  library.set(entry.name, entry);
  root.querySelectorAll(".use").forEach((row, index) => {
    if (uses[index].name === entry.name) row.querySelector(".words").replaceWith(makeWords(uses[index], index, entry));
  });
}

// Library

// Returns why the list couldn't be fetched, or an empty text.
async function fetchLibrary(refresh) {
  const isNewest = begin();
  const query = new URLSearchParams(model ? { model } : {});
  if (refresh) query.set("refresh", "");
  const answer = await fetch(`loras.json?${query}`).catch(() => null);
  const text = answer?.ok && (await answer.text());
  if (!isNewest()) return ""; // a newer request, as for another model, counts
  if (!text) return page.reason(answer);
  if (text === lastResponse) return ""; // a redraw would take the focus from a field
  lastResponse = text;
  library = new Map(JSON.parse(text).map((entry) => [entry.name, entry]));
  draw();
  if (dialog) drawCards();
  return "";
}

// Picker

const chunk = 60; // cards drawn at once; more when the reader scrolls to the end
const plain = (text) => text.normalize("NFKC").toLowerCase();

function matches(entry, words) {
  entry.haystack ??= plain([entry.name, entry.title, entry.base, entry.kind, entry.note, ...entry.triggers].join("\n"));
  return words.every((word) => entry.haystack.includes(word));
}

function makeCard(entry) {
  const card = makeButton("card", "", "", () => {
    const index = uses.findIndex((use) => use.name === entry.name);
    if (index < 0) add(entry);
    else change(uses.filter((use) => use.name !== entry.name));
    drawPressed();
  });
  card.dataset.name = entry.name;
  card.disabled = Boolean(entry.problem);
  card.title = [entry.name, entry.problem, ...entry.warnings, entry.note].filter(Boolean).join("\n");
  const words = entry.triggers.slice(0, 3).join(", ");
  const remark = entry.problem || entry.warnings[0] || "";
  card.append(makeThumb(entry, entry.name), make("b", "", leaf(entry.name)), make("span", "meta", facts(entry)));
  card.append(remark ? make("span", "remark", remark) : make("span", "words", words));
  return card;
}

function drawCards() {
  const words = plain(dialog.querySelector("input").value).split(/\s+/).filter(Boolean);
  const found = [...library.values()].filter((entry) => matches(entry, words));
  const grid = dialog.querySelector(".cards");
  grid.replaceChildren();
  grid.rest = found;
  dialog.querySelector(".count").textContent = say("lora_count", { shown: found.length, all: library.size });
  const empty = dialog.querySelector(".empty");
  empty.hidden = found.length > 0;
  empty.textContent = !lastResponse ? "" : library.size ? say("lora_no_match") : say("lora_empty");
  drawMore();
}

function drawMore() {
  const grid = dialog.querySelector(".cards");
  grid.append(...grid.rest.splice(0, chunk).map(makeCard));
  drawPressed();
}

function drawPressed() {
  const chosen = new Set(uses.map((use) => use.name));
  for (const card of dialog.querySelectorAll(".card")) {
    card.setAttribute("aria-pressed", String(chosen.has(card.dataset.name)));
  }
  dialog.querySelector(".full").textContent = uses.length >= most ? say("lora_too_many", { most }) : "";
}

// Arrow keys move the focus between the cards.
function moveFocus(event) {
  const cards = [...dialog.querySelectorAll(".card:not(:disabled)")];
  const here = cards.indexOf(document.activeElement);
  const across = Math.max(1, cards.filter((card) => card.offsetTop === cards[0].offsetTop).length);
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: here < 0 ? 1 : across, ArrowUp: -across }[event.key];
  if (!by || (here < 0 && event.key !== "ArrowDown")) return;
  event.preventDefault();
  if (here >= 0 && here + by < 0) dialog.querySelector("input").focus();
  else cards[Math.min(here + by, cards.length - 1)]?.focus();
}

function openPicker() {
  dialog = make("dialog", "studio-loras");
  dialog.setAttribute("aria-label", say("lora_pick"));
  const head = make("header");
  const search = make("input");
  Object.assign(search, { type: "search", placeholder: say("lora_search") });
  search.setAttribute("aria-label", say("lora_search"));
  search.oninput = drawCards;
  search.onkeydown = (event) => {
    const first = dialog.querySelector(".card:not(:disabled)");
    if (event.key === "Enter" && !page.composing(event) && search.value.trim() && first) first.click();
  };
  // The list is drawn as it was, and again once the folders have been read: files come while the app runs.
  const refreshLibrary = async () => {
    refresh.disabled = true;
    const problem = await fetchLibrary(true);
    if (problem && dialog) dialog.querySelector(".full").textContent = problem;
    refresh.disabled = false;
  };
  const refresh = makeButton("refresh", say("lora_refresh"), "", refreshLibrary);
  head.append(make("h2", "", say("lora_pick")), search, refresh, makeButton("done", say("lora_done"), "", () => dialog.close()));
  const body = make("div", "body");
  body.onscroll = () => body.scrollTop + body.clientHeight > body.scrollHeight - 400 && drawMore();
  body.append(make("div", "cards"), make("p", "empty"));
  const foot = make("footer");
  foot.append(make("span", "count"), make("span", "full"));
  dialog.append(head, body, foot);
  dialog.onkeydown = moveFocus;
  dialog.onclick = (event) => event.target === dialog && dialog.close();
  dialog.onclose = () => {
    dialog.remove();
    dialog = null;
    root.querySelector(".add").focus();
  };
  element.append(dialog);
  dialog.showModal();
  drawCards();
  refreshLibrary();
}

// Setting up

root.querySelector("h2").textContent = say("loras");
root.querySelector(".none").textContent = say("lora_none");
root.querySelector(".add").textContent = `+ ${say("lora_add")}`;
root.querySelector(".add").onclick = openPicker;

document.addEventListener("studio:settings", (event) => {
  const settings = event.detail;
  const numbers = settings.stages.map((_, place) => place + 1);
  const on = numbers.filter((stage) => settings.stages[stage - 1].enabled !== false);
  const other = settings.model !== model;
  model = settings.model;
  if (other) fetchLibrary(false);
  if (String(on) === String(stages) && String(numbers) === String(every)) return;
  every = numbers;
  stages = on;
  draw();
});

// The trigger words' chips (triggers.js) remove and move words.
document.addEventListener("studio:lora-triggers", (event) => {
  const { place, triggers } = event.detail;
  if (uses[place]) update(place, { triggers: triggers.length ? triggers : undefined });
});

function take() {
  const value = validUses(props.value);
  if (JSON.stringify(value) === JSON.stringify(uses)) return;
  uses = value;
  draw();
}

watch("value", take);
take();
draw();
fetchLibrary(false);
