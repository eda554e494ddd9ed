// The model panel: all models, the one in memory, and the running download. This script only draws the server's data
// and texts (model_panel.py), and requests them again while a download runs.
const page = window.studio;
const { make, makeButton } = page;
const box = element.querySelector(".models");
const list = box.querySelector("ul");
const pollMs = 1000; // milliseconds between two requests while a download runs
const names = { huggingface: "Hugging Face", modelscope: "ModelScope 魔搭" };

let reported = ""; // the model in the settings as last reported
let settled = ""; // the model whose own settings need not be filled in

let shown = { models: [], sources: [], progress: null };
let chosen = JSON.stringify(props.known || []); // the models that the selector offers
let asking = null; // {name, source, text}: the download that the user is asked to confirm
let devices = []; // devices to choose from; loaded when the panel is first opened
let device = "";
let timer = 0;
const begin = page.makeSequence();

const button = (key, act, className = "") => makeButton(className, page.words[key], "", act);

async function order(action, values = {}) {
  clearTimeout(timer);
  const isNewest = begin();
  const answer = await server.models({ do: action, language: page.language, ...values }); // undefined after a failure
  if (answer?.error) page.toast(answer.error);
  if (answer?.devices) takeDevices(answer);
  if (!isNewest()) return;
  if (!answer || answer.error) {
    if (action === "offer") failOffer();
    return pollSoon();
  }
  show(answer);
  if (action === "view" && lacksDevices()) order("devices"); // the panel was opened before this first answer
}

function pollSoon() {
  if (shown.progress?.running) timer = setTimeout(() => order("view"), pollMs);
}

function takeDevices(answer) {
  ({ devices, device } = answer);
  box.dataset.devices = devices.length;
  draw();
}

const lacksDevices = () => box.open && shown.allowed && !devices.length;

function show(answer) {
  shown = answer;
  if (asking && answer.offer && answer.offer.source === asking.source) asking = answer.offer;
  if (answer.notice) failOffer();
  draw();
  const ready = JSON.stringify(answer.models.filter((model) => model.state === "ready").map((model) => model.name));
  if (ready !== chosen) trigger("arrived");
  chosen = ready;
  pollSoon();
}

function failOffer() {
  if (asking) asking = { ...asking, text: "" };
  draw();
}

function ask(name, source) {
  asking = { name, source, text: "…" };
  draw();
  order("offer", { name, source });
}

function agreement() {
  const form = make("div", "confirm");
  const source = make("select");
  source.setAttribute("aria-label", page.words.fetch_source);
  for (const value of shown.sources) source.append(new Option(names[value] || value, value));
  source.value = asking.source;
  source.onchange = () => ask(asking.name, source.value);
  const start = button(
    "fetch_start",
    () => {
      const wanted = { name: asking.name, source: asking.source };
      asking = null;
      order("fetch", wanted);
    },
    "primary",
  );
  start.disabled = asking.text === "…";
  const again = button("try_again", () => ask(asking.name, asking.source));
  const no = button("fetch_not_now", () => {
    asking = null;
    draw();
  });
  const actions = make("div", "row");
  actions.append(source, asking.text ? start : again, no);
  form.append(make("p", "", asking.text), actions);
  return form;
}

function meter(progress) {
  const wrap = make("div", "fetching");
  const bar = make("div", "meter");
  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", progress.title);
  bar.setAttribute("aria-valuenow", String(Math.round(100 * progress.fraction)));
  const filled = make("i");
  filled.style.width = `${100 * progress.fraction}%`;
  bar.append(filled);
  wrap.append(bar, make("p", "", progress.text));
  if (progress.running) wrap.append(button("fetch_stop", () => order("cancel")));
  return wrap;
}

function row(model) {
  const item = make("li");
  item.dataset.name = model.name;
  item.dataset.state = model.state;
  const head = make("div", "row");
  head.append(make("b", "", model.title), make("span", "state", model.text));
  const busy = shown.progress?.running;
  if (model.loaded && shown.allowed) head.append(button("unload", () => order("unload")));
  if (model.state === "fetch" && shown.allowed && !busy && asking?.name !== model.name)
    head.append(button("fetch", () => ask(model.name, shown.sources[0])));
  item.append(head, ...model.details.map((text) => make("p", "", text)));
  if (asking?.name === model.name && !busy) item.append(agreement());
  if (shown.progress?.name === model.name) item.append(meter(shown.progress));
  return item;
}

// The choice of the device; only shown where there are several.
function deviceRow() {
  const item = make("li");
  item.dataset.name = "";
  const choice = make("select");
  for (const each of devices) choice.append(new Option(each.title, each.name));
  choice.value = device;
  choice.onchange = () => order("device", { name: choice.value });
  choice.setAttribute("aria-label", page.words.device);
  const line = make("div", "row");
  line.append(make("b", "", page.words.device), choice);
  item.append(line);
  return item;
}

const draw = () => page.whenReleased(list, drawRows);

function drawRows() {
  box.querySelector(".headline").textContent = shown.headline || page.words.models;
  const rows = shown.models.map(row);
  if (devices.length > 2 && shown.allowed) rows.push(deviceRow());
  if (shown.notice) rows.unshift(make("li", "wrong", shown.notice));
  // Keep the keyboard focus on the same element.
  const focused = document.activeElement?.closest?.(".models li") && document.activeElement;
  const place = focused ? [focused.closest("li").dataset.name, focused.tagName, focused.textContent] : null;
  list.replaceChildren(...rows);
  if (!place) return;
  const same = (node) => node.closest("li").dataset.name === place[0] && node.textContent === place[2];
  [...list.querySelectorAll(place[1])].find(same)?.focus();
}

box.addEventListener("toggle", () => box.open && order(lacksDevices() ? "devices" : "view"));
// A run may have loaded a model.
document.addEventListener("studio:job", () => order("view"));
document.addEventListener("studio:settings", ({ detail }) => {
  if (detail.model !== reported) settled = reported = detail.model;
});
// A choice is reported here before it is among the settings. Gradio also reports an input when the selector is left; then
// nothing was chosen.
document.addEventListener("studio:model", ({ detail }) => {
  if (detail === settled) return;
  settled = detail;
  page.queueChange(() => trigger("choose", { model: detail }));
});
draw();
order("view");
