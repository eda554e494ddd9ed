// The preset bar: choose, show differences, apply, save, rename, delete. Data and texts come from preset_bar.py.
const page = window.studio;
const { make, say } = page;
const root = element.querySelector(".presets");
const find = (name) => root.querySelector(name);
const remembered = "studio_preset";

let presets = [];
let allowed = false;
let chosen = localStorage.getItem(remembered) || "";
let settings = {};
const begin = page.makeSequence();

const ask = (order) => server.presets({ language: page.language, ...order }); // undefined after a failure
const current = () => presets.find((preset) => preset.name === chosen);

function choose(name) {
  chosen = name;
  localStorage.setItem(remembered, name);
  draw();
  compare();
}

// Differences

async function compare() {
  const isNewest = begin();
  const answer = current() && Object.keys(settings).length ? await ask({ do: "state", name: chosen, settings }) : null;
  if (!isNewest()) return;
  if (answer?.error) list(answer);
  drawDifferences(answer);
}

function drawDifferences(answer) {
  const differences = answer?.differences;
  const box = find(".differences");
  box.hidden = !differences;
  find(".apply").disabled = !current();
  if (!differences) return;
  const count = differences.length;
  box.classList.toggle("same", !count);
  if (!count) box.open = false;
  find("summary").textContent = count ? say("presets_differ", { count }) : say("presets_same");
  find("thead").replaceChildren(page.makeTableRow("th", [say("presets_setting"), say("presets_preset"), say("presets_now")]));
  find("tbody").replaceChildren(...differences.map((each) => page.makeTableRow("td", [each.title, each.preset, each.given])));
}

// The list

// Every answer but that about differences has the list; so has an error, which another tab's change may be the cause of.
function list(answer) {
  if (answer.presets) ({ presets, allowed } = answer);
  draw();
}

function option(preset) {
  const node = new Option(preset.title, preset.name);
  node.disabled = Boolean(preset.problem);
  return node;
}

function group(title, members) {
  const node = make("optgroup");
  node.label = title;
  node.append(...members.map(option));
  return members.length ? [node] : [];
}

function draw() {
  const select = find("select");
  select.replaceChildren(
    new Option(say("presets_choose"), ""),
    ...["model", "shipped", "mine"].flatMap((name) => group(say(`presets_${name}`), presets.filter((preset) => preset.group === name)))
  );
  if (!current() || current().problem) chosen = "";
  select.value = chosen;
  const preset = current();
  find(".about").hidden = !preset?.about;
  find(".about").textContent = preset?.about || "";
  find(".problems").replaceChildren(...presets.filter((each) => each.problem).map((each) => make("li", "", each.problem)));
  for (const name of [".replace", ".rename", ".delete"]) find(name).hidden = preset?.group !== "mine";
  find(".keep .row").hidden = find(".keep label").hidden = !allowed;
  find(".delete").textContent = say("presets_delete");
  find(".apply").disabled = !preset;
}

async function change(order, said) {
  const answer = await ask(order);
  find(".answer").dataset.kind = answer && !answer.error ? "" : "error";
  find(".answer").textContent = answer ? answer.error || said(answer) : say("presets_unreachable");
  if (answer?.error) list(answer);
  if (!answer || answer.error) return;
  ({ presets, allowed } = answer);
  find(".name").value = "";
  choose(order.do === "list" ? chosen : answer.chosen);
}

const save = (replace) => {
  const name = replace ? chosen : find(".name").value;
  const order = { do: "save", name, settings, whole: find(".whole").checked, replace };
  change(order, (answer) => say("presets_saved", { name: answer.chosen }));
};

// Setting up

find("h2").textContent = say("presets");
find(".more").textContent = say("presets_more");
find(".whole + span").textContent = say("presets_whole");
for (const name of ["apply", "save", "replace", "rename", "delete", "reset"]) find(`.${name}`).textContent = say(`presets_${name}`);
find("select").setAttribute("aria-label", say("presets"));
find(".name").placeholder = say("presets_name");
find(".name").setAttribute("aria-label", say("presets_name"));

find("select").onchange = () => {
  find(".answer").textContent = "";
  choose(find("select").value);
};
find(".apply").onclick = () => {
  const name = chosen;
  const same = find(".differences").matches(".same:not([hidden])");
  find(".answer").dataset.kind = "";
  find(".answer").textContent = same ? say("presets_same") : ""; // where nothing changes, no notice comes
  page.queueChange(() => trigger("apply", { name }));
};
find(".reset").onclick = () => page.queueChange(() => trigger("reset"));
find(".more").onclick = () => {
  const keep = find(".keep");
  keep.hidden = !keep.hidden;
  find(".more").setAttribute("aria-expanded", String(!keep.hidden));
};
find(".keep").onsubmit = (event) => {
  event.preventDefault();
  save(false);
};
find(".replace").onclick = () => save(true);
find(".rename").onclick = () =>
  change({ do: "rename", name: chosen, new: find(".name").value }, (answer) => say("presets_renamed", { name: answer.chosen }));
find(".delete").onclick = () => {
  if (find(".delete").textContent !== say("presets_delete_sure")) {
    find(".delete").textContent = say("presets_delete_sure");
    return;
  }
  const name = chosen;
  change({ do: "delete", name }, () => say("presets_deleted", { name }));
};
find(".delete").onblur = () => (find(".delete").textContent = say("presets_delete"));

const compareSoon = page.debounce(compare, 250);
document.addEventListener("studio:settings", (event) => {
  settings = event.detail;
  compareSoon();
});
document.addEventListener("studio:refused", compareSoon);
change({ do: "list" }, () => "");
