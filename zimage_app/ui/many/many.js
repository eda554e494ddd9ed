// The view of grids and batches: the form of a grid, the file of a batch, a plan of either before it is started, and
// the list of started ones with their sheets. The server checks everything (many_routes.py); props.form are a stage's
// settings, as for the stages' tabs (controls.py).
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".many");
const find = (selector) => root.querySelector(selector);
const debounceMs = 500; // milliseconds without typing before the server is asked
const pollMs = 1000; // milliseconds between two requests while groups are unfinished
const largest = 3 * 2 ** 20; // bytes of a file
const axes = ["x", "y", "z"];
const requestFields = ["prompt~", "prompt", "negative", "lora", "preset", "size", "seed", "variation_strength"];
const hints = { "prompt~": "replace", lora: "lora", size: "size" };

const FORM = "studio-grid"; // sessionStorage: {axis: [setting, values]}
const FILE = "studio-batch"; // sessionStorage: name and text of a batch file, unless it is too long
const keptLength = 2 ** 20; // characters; a browser keeps about 5 million for a site

let settings = null; // the values of the page's fields
let stages = 0; // number of stages in the lists
let shown = false; // whether this view is open
let file = null; // the batch file: name, text, and the seed that its plan drew

// An order with a file is sent as a line of JSON and the file: as a part of JSON it would have to be much smaller.
async function ask(order, text) {
  const headers = { "content-type": text === undefined ? "application/json" : "text/plain" };
  const body = [JSON.stringify(order), text].filter((each) => each !== undefined).join("\n");
  const path = text === undefined ? "many.json" : "many/batch";
  const answer = await fetch(path, order ? { method: "POST", headers, body } : { cache: "no-store" }).catch(() => null);
  return (await answer?.json().catch(() => null)) || { error: say("many_unreachable") };
}

function showAnswer(box, answer) {
  const message = box.querySelector(".told");
  message.dataset.kind = answer.error ? "error" : "";
  message.textContent = answer.error || [answer.told, ...(answer.notes || [])].filter(Boolean).join(" ");
}

// Grids: the lists of settings to vary

const titles = { "prompt~": "many_replace", lora: "many_lora", preset: "many_preset", size: "many_size" };

function knobs() {
  const all = Object.values(props.form.sections).flat();
  return all.flatMap((knob) => knob.group || [knob]);
}

function choices() {
  const list = (label, options) => {
    const group = make("optgroup");
    group.label = label;
    group.append(...options);
    return group;
  };
  const name = (each) => say(titles[each] || `GenerationRequest_${each}_title`);
  const groups = [list(say("many_whole"), requestFields.map((each) => new Option(name(each), each)))];
  for (let stage = 0; stage < stages; stage++) {
    const knob = (each) => say("many_knob", { stage: stage + 1, title: say(each.title) });
    const options = knobs().map((each) => new Option(knob(each), `stages.${stage}.${each.name}`));
    groups.push(list(say("many_stage", { stage: stage + 1 }), options));
  }
  return [new Option(say("many_unused"), ""), ...groups];
}

function hint(name) {
  if (hints[name]) return say(`many_hint_${hints[name]}`);
  const knob = name.startsWith("stages.") && knobs().find((each) => each.name === name.split(".").slice(2).join("."));
  if (knob?.kind === "number") return say("many_hint_number", knob);
  if (knob?.kind === "choice") return say("many_hint_choice", { choices: knob.choices.join(", ") });
  if (knob?.kind === "switch") return say("many_hint_choice", { choices: "true, false" });
  return say("many_hint_text");
}

function makeAxis(axis) {
  const row = make("div", "axis");
  row.dataset.axis = axis;
  const letter = axis.toUpperCase();
  const field = make("select");
  field.setAttribute("aria-label", say("many_field", { axis: letter }));
  const values = make("input");
  values.maxLength = 4000;
  values.autocomplete = "off";
  values.setAttribute("aria-label", say("many_values", { axis: letter }));
  const help = make("small");
  help.id = `many-hint-${axis}`;
  values.setAttribute("aria-describedby", help.id);
  const before = JSON.parse(sessionStorage.getItem(FORM) || "{}")[axis] || ["", ""];
  let wanted = before[0]; // until its stage is there
  values.value = before[1];
  const showField = () => {
    values.disabled = !field.value;
    help.textContent = field.value ? hint(field.value) : "";
    planLater();
  };
  field.onchange = () => {
    wanted = values.value = "";
    showField();
    keepForm();
    values.focus();
  };
  values.oninput = () => {
    keepForm();
    planLater();
  };
  row.append(make("b", "", letter), field, values, help);
  row.fill = () => {
    const name = field.value || wanted;
    field.replaceChildren(...choices());
    field.value = name;
    if (field.selectedIndex < 0) field.value = "";
    wanted = field.value ? "" : name;
    showField();
  };
  return row;
}

function keepForm() {
  const rows = [...find(".axes").children];
  const kept = rows.map((row) => [row.dataset.axis, [row.querySelector("select").value, row.querySelector("input").value]]);
  sessionStorage.setItem(FORM, JSON.stringify(Object.fromEntries(kept)));
}

// NAME=VALUES for the server. For "replace a word", the first of the values is the word to replace.
function axisText(row) {
  const name = row.querySelector("select").value;
  const values = row.querySelector("input").value.trim();
  if (!name || !values) return "";
  if (name !== "prompt~") return `${name}=${values}`;
  let word = values.split(/[,，、;；]/)[0].trim();
  try {
    word = String(JSON.parse(values)[0]);
  } catch {
    // not a JSON list
  }
  return `prompt~${word}=${values}`;
}

const gridOrder = (what) => ({
  do: what,
  settings,
  seed: grid.seed,
  ...Object.fromEntries([...find(".axes").children].map((row) => [row.dataset.axis, axisText(row)])),
});

const grid = { seed: "" };
const [beginGrid, beginBatch] = [page.makeSequence(), page.makeSequence()];
let planning = 0;

// A drawn seed is that of one plan: after a change or a start it is drawn anew.
function planLater() {
  clearTimeout(planning);
  grid.seed = "";
  if (file) file.seed = "";
  find(".grid .begin").disabled = find(".batch .begin").disabled = true;
  if (shown) planning = setTimeout(plan, debounceMs);
}

function plan() {
  planGrid();
  if (file && settings) planBatch();
}

async function planGrid() {
  const isNewest = beginGrid();
  const order = settings && gridOrder("plan_grid");
  if (!order || !axes.some((axis) => order[axis])) {
    showAnswer(find(".grid"), {});
    return;
  }
  const answer = await ask(order);
  if (!isNewest()) return;
  showAnswer(find(".grid"), answer);
  grid.seed = answer.seed || "";
  find(".grid .begin").disabled = Boolean(answer.error);
}

async function begin(box, order, button, text) {
  button.disabled = true;
  const answer = await ask(order, text);
  button.disabled = false;
  if (answer.error) return showAnswer(box, answer);
  document.dispatchEvent(new CustomEvent("studio:queue"));
  document.dispatchEvent(new CustomEvent("studio:group"));
  draw(answer);
  planLater();
  find(".groups").scrollIntoView({ block: "nearest" });
}

// Batches

async function take(given) {
  if (!given) return;
  file = null;
  sessionStorage.removeItem(FILE);
  drawRows([]);
  if (given.size > largest) return showAnswer(find(".batch"), { error: say("many_too_big", given) });
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await given.arrayBuffer());
    file = { name: given.name, text, seed: "" };
  } catch {
    return showAnswer(find(".batch"), { error: say("many_no_text", given) });
  }
  if (file.text.length <= keptLength) sessionStorage.setItem(FILE, JSON.stringify({ name: file.name, text: file.text }));
  find(".choose").textContent = given.name;
  if (settings) planBatch();
}

// After a reload. Its plan is made when the page's settings are there.
function restoreFile() {
  const kept = JSON.parse(sessionStorage.getItem(FILE));
  if (!kept) return;
  file = { ...kept, seed: "" };
  find(".choose").textContent = kept.name;
}

const batchOrder = (what) => ({ do: what, settings, name: file.name, seed: file.seed });

async function planBatch() {
  const [mine, isNewest] = [file, beginBatch()];
  const answer = await ask(batchOrder("plan_batch"), file.text);
  if (mine !== file || !isNewest()) return;
  file.seed = answer.seed || "";
  showAnswer(find(".batch"), answer);
  drawRows(answer.rows || []);
  find(".batch .begin").disabled = Boolean(answer.error);
}

function drawRows(rows) {
  find(".rows").hidden = find(".batch .begin").hidden = !rows.length;
  const columns = ["index", "name", "size", "seed", "prompt"].map((each) => say(`many_column_${each}`));
  find("thead").replaceChildren(page.makeTableRow("th", columns));
  find("tbody").replaceChildren(...rows.map((row) => page.makeTableRow("td", row)));
  find(".batch .begin").textContent = say("many_start_batch", { count: rows.length });
}

// The list of started groups

let pollTimer = 0;

function makeGroup(group) {
  const row = make("li");
  row.dataset.group = group.id;
  const bar = make("progress");
  bar.max = group.total;
  bar.value = group.done + group.failed + group.cancelled;
  const numbers = [say("many_progress", group)];
  for (const name of ["failed", "cancelled"]) if (group[name]) numbers.push(say(`many_${name}`, { count: group[name] }));
  bar.setAttribute("aria-label", numbers[0]);
  const head = make("div", "head");
  head.append(make("b", "", group.title || say(`many_${group.kind}`)), make("span", "time", group.time));
  const state = make("span", "state", numbers.join(" · "));
  const acts = make("div", "acts");
  const sheets = group.files.filter((name) => name.startsWith("sheet-"));
  for (const name of group.files) acts.append(makeLink(group, name, sheets));
  if (group.finished) {
    acts.append(makeButton("remove", say("many_remove"), say("many_remove_about"), () => change("remove", group.id)));
  } else {
    acts.append(makeButton("cancel", say("many_cancel"), "", () => change("cancel", group.id)));
  }
  row.append(head, bar, state, acts);
  if (group.finished && sheets.length) row.append(...sheets.map((name) => makeSheet(group, name)));
  return row;
}

const address = (group, name) => `many/${group.id}/${name}`;

function makeLink(group, name, sheets) {
  const number = sheets.indexOf(name) + 1;
  const words = number ? say("many_sheet", { number }) : say(name === "index.html" ? "many_page" : "many_manifest");
  const link = make("a", "download", words);
  link.href = address(group, name) + (name === "index.html" ? "" : "?download");
  if (name === "index.html") link.target = "_blank";
  return link;
}

function makeSheet(group, name) {
  const link = make("a", "sheet");
  link.href = address(group, name);
  link.target = "_blank";
  link.append(Object.assign(make("img"), { loading: "lazy", alt: `${say("many_grid")}: ${group.title}`, src: link.href }));
  return link;
}

function draw(data) {
  showAnswer(find(".groups"), data);
  if (data.error) return;
  page.whenReleased(find(".groups ul"), () => drawGroups(data));
  pollSoon(data.groups.some((group) => !group.finished));
}

function drawGroups(data) {
  const list = find(".groups ul");
  const response = JSON.stringify(data);
  if (list.dataset.response !== response) {
    const focus = list.contains(document.activeElement) && document.activeElement;
    const row = focus && focus.closest("li").dataset.group;
    list.replaceChildren(...data.groups.map(makeGroup));
    if (row) list.querySelector(`[data-group="${row}"] .${focus.className}`)?.focus();
    list.dataset.response = response;
  }
  find(".none").hidden = data.groups.length > 0;
}

function pollSoon(wanted) {
  clearTimeout(pollTimer);
  if (shown && wanted) pollTimer = setTimeout(poll, pollMs);
}

async function poll() {
  const data = await ask();
  draw(data);
  if (data.error) pollSoon(true);
}

async function change(what, id) {
  draw(await ask({ do: what, id }));
  document.dispatchEvent(new CustomEvent("studio:queue"));
}

// Setting up

for (const name of ["grid", "batch", "groups"]) find(`.${name} h2`).textContent = say(`many_${name}`);
for (const name of ["grid", "batch"]) find(`.${name} .about`).textContent = say(`many_${name}_about`);
find(".none").textContent = say("many_none");
find(".grid .begin").textContent = say("many_start_grid");
find(".axes").append(...axes.map(makeAxis));
find(".grid .begin").onclick = () => begin(find(".grid"), gridOrder("start_grid"), find(".grid .begin"));
find(".batch .begin").onclick = () => begin(find(".batch"), batchOrder("start_batch"), find(".batch .begin"), file.text);

const chooser = find("input[type=file]");
find(".choose").textContent = say("many_choose");
find(".choose").onclick = () => chooser.click();
chooser.setAttribute("aria-label", say("many_choose"));
restoreFile();
chooser.onchange = () => {
  take(chooser.files[0]);
  chooser.value = "";
};
document.addEventListener("studio:batch", (event) => take(event.detail));

document.addEventListener("studio:settings", (event) => {
  settings = event.detail;
  if (settings.stages?.length !== stages) {
    stages = settings.stages?.length || 0;
    for (const row of find(".axes").children) row.fill();
  }
  planLater();
});

document.addEventListener("studio:view", (event) => {
  shown = event.detail === "many";
  if (!shown) return;
  planLater();
  poll();
});
