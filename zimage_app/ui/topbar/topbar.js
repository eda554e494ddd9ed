// The top bar: language and theme, both remembered by the browser; figures of queue and machine; and the help text of
// the control under the pointer or in focus.
const page = window.studio;
const bar = element.querySelector(".bar");
const theme = bar.querySelector(".theme");

page.showTitle();
bar.querySelector(".subtitle").textContent = page.words.subtitle;
page.setLabel(theme, page.words.switch_theme);

const keys = bar.querySelector(".keys");
page.setLabel(keys, page.words.keys);
keys.onclick = () => page.showKeys();

function choose(language) {
  // In the frame of a Space the page is a third party; browsers keep its cookies only when they are partitioned.
  const frame = location.protocol === "https:" ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax";
  document.cookie = `${page.cookie}=${language}; Path=/; Max-Age=31536000; ${frame}`;
  location.reload();
}

bar.querySelector(".languages").setAttribute("aria-label", page.words.language);
for (const button of bar.querySelectorAll("[data-language]")) {
  const { language } = button.dataset;
  button.setAttribute("aria-pressed", String(language === page.language));
  button.onclick = () => language !== page.language && choose(language);
}

function show(name) {
  for (const node of [document.documentElement, document.body]) node.classList.toggle("dark", name === "dark");
  theme.setAttribute("aria-pressed", String(name === "dark"));
}

const dark = document.body.classList.contains("dark") ? "dark" : "light";
show(localStorage.getItem("studio_theme") || dark);
theme.onclick = () => {
  const next = document.body.classList.contains("dark") ? "light" : "dark";
  localStorage.setItem("studio_theme", next);
  show(next);
};

const help = window.studio.make("div");
help.className = "studio-help";
help.hidden = true;
document.body.append(help);

function showHelp(event) {
  const block = event.target.closest?.(":is(#actions, #settings) :is(.block, .knob)[id^=knob-]");
  const text = block?.querySelector("[class*=info-text]")?.textContent;
  help.hidden = !text || block.id === "knob-model";
  if (help.hidden) return;
  help.textContent = text;
  const place = block.getBoundingClientRect();
  help.style.left = `${Math.max(8, Math.min(place.left + 12, innerWidth - help.offsetWidth - 8))}px`;
  const below = place.bottom + 4;
  help.style.top = `${below + help.offsetHeight < innerHeight ? below : place.top - help.offsetHeight - 4}px`;
}

for (const kind of ["pointerover", "focusin"]) addEventListener(kind, showHelp);
addEventListener("scroll", () => (help.hidden = true), true);
addEventListener("keydown", (event) => event.key === "Escape" && (help.hidden = true));

// The machine's figures: one small request every few seconds, none while the tab is hidden
const { make, makeButton, say } = page;
const pollMs = 5000; // milliseconds between two requests
const gauges = bar.querySelector(".gauges");
const pill = bar.querySelector(".jobs");
pill.textContent = say("queue_heading");
pill.onclick = () => page.showQueue();
const lost = bar.querySelector(".lost");
lost.title = say("connection_lost_hint");
let failures = 0; // requests in a row without an answer
let timer = 0;
const begin = page.makeSequence();

function makeChip(chip) {
  const node = make("span", chip.warn ? "gauge warn" : "gauge", chip.warn ? `⚠ ${chip.text}` : chip.text);
  node.dataset.name = chip.name;
  node.title = chip.title;
  return node;
}

async function poll() {
  clearTimeout(timer);
  if (document.hidden) return;
  const isNewest = begin();
  const data = await page.fetchJson("monitor.json");
  if (!isNewest()) return;
  failures = data ? 0 : failures + 1;
  const said = failures > 1 ? `⚠ ${say("connection_lost")}` : ""; // a single failure may be a hiccup
  if (lost.textContent !== said) lost.textContent = said;
  const jobs = data?.chips?.find((chip) => chip.name === "jobs");
  pill.classList.toggle("none", !jobs);
  pill.textContent = jobs?.text || say("queue_heading");
  pill.title = jobs?.title || say("queue_empty");
  const chips = (data?.chips || []).filter((chip) => chip !== jobs);
  page.whenReleased(gauges, () => gauges.replaceChildren(...chips.map(makeChip)));
  gauges.disabled = !data?.details;
  gauges.title = data?.details ? say("monitor_open") : "";
  timer = setTimeout(poll, pollMs);
}

document.addEventListener("visibilitychange", poll);
// Update at once after a change of a job or the queue.
document.addEventListener("studio:job", poll);
document.addEventListener("studio:queue", poll);
poll();

// The panel of details, for bug reports

const dialog = page.makeDialog("machine", say("monitor_heading"), say("monitor_close"), "");
const body = make("div", "body");
const copy = makeButton("copy", say("monitor_copy"), "", () => page.copy(report, copy));
let report = "";

function section(part) {
  const list = make("dl");
  for (const [name, value] of part.rows) list.append(make("dt", "", name), make("dd", "", value));
  return [make("h3", "", part.title), list];
}

async function showDetails() {
  report = "";
  copy.disabled = true;
  body.replaceChildren(make("p", "", say("monitor_asking")));
  dialog.showModal();
  const data = await page.fetchJson("monitor/details.json");
  if (!data || data.error) {
    body.replaceChildren(make("p", "", data?.error || say("monitor_unreachable")));
    return;
  }
  report = data.text;
  copy.disabled = false;
  body.replaceChildren(...data.sections.flatMap(section));
}

body.tabIndex = 0; // so that it can be scrolled with the keyboard
body.setAttribute("role", "group");
body.setAttribute("aria-labelledby", "machine-heading");
const foot = make("footer");
foot.append(make("p", "", say("monitor_note")), copy);
dialog.append(body, foot);
document.body.append(dialog);
gauges.onclick = showDetails;
