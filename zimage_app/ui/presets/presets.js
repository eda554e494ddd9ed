// The preset bar: choose, show differences, apply, save, rename, delete. Data and texts come from preset_bar.py.
const page = window.studio;
const { make, say } = page;
const root = element.querySelector(".presets");
const part = (name) => root.querySelector(name);
const debounceMs = 250; // milliseconds without a change, before the server is asked
const remembered = "studio_preset";

let presets = [];
let allowed = false;
let chosen = localStorage.getItem(remembered) || "";
let settings = {};
let timer = 0;
let newest = 0;

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
  newest += 1;
  const turn = newest;
  const answer = current() && Object.keys(settings).length ? await ask({ do: "state", name: chosen, settings }) : null;
  // Answers may arrive out of order.
  if (turn === newest) drawDifferences(answer);
}

function drawDifferences(answer) {
  const differences = answer?.differences;
  const box = part(".differences");
  box.hidden = !differences;
  part(".apply").disabled = !current();
  if (!differences) return;
  const count = differences.length;
  box.classList.toggle("same", !count);
  if (!count) box.open = false;
  part("summary").textContent = count ? say("presets_differ", { count }) : say("presets_same");
  const cells = (tag, texts) => texts.map((text) => make(tag, "", text));
  const head = make("tr");
  head.append(...cells("th", [say("presets_setting"), say("presets_preset"), say("presets_now")]));
  part("thead").replaceChildren(head);
  const rows = differences.map((each) => {
    const row = make("tr");
    row.append(...cells("td", [each.title, each.preset, each.given]));
    return row;
  });
  part("tbody").replaceChildren(...rows);
}

// The list

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
  const select = part("select");
  select.replaceChildren(
    new Option(say("presets_choose"), ""),
    ...["model", "shipped", "mine"].flatMap((name) => group(say(`presets_${name}`), presets.filter((preset) => preset.group === name)))
  );
  if (!current() || current().problem) chosen = "";
  select.value = chosen;
  const preset = current();
  part(".about").hidden = !preset?.about;
  part(".about").textContent = preset?.about || "";
  part(".problems").replaceChildren(...presets.filter((each) => each.problem).map((each) => make("li", "", each.problem)));
  for (const name of [".replace", ".rename", ".delete"]) part(name).hidden = preset?.group !== "mine";
  part(".keep .row").hidden = part(".keep label").hidden = !allowed;
  part(".delete").textContent = say("presets_delete");
  part(".apply").disabled = !preset;
}

async function change(order, said) {
  const answer = await ask(order);
  part(".answer").dataset.kind = answer && !answer.error ? "" : "error";
  part(".answer").textContent = answer ? answer.error || said(answer) : say("presets_unreachable");
  if (!answer || answer.error) return;
  presets = answer.presets;
  allowed = answer.allowed;
  part(".name").value = "";
  choose(order.do === "list" ? chosen : answer.chosen);
}

const save = (replace) => {
  const name = replace ? chosen : part(".name").value;
  const order = { do: "save", name, settings, whole: part(".whole").checked, replace };
  change(order, (answer) => say("presets_saved", { name: answer.chosen }));
};

// Setting up

part("h2").textContent = say("presets");
part(".more").textContent = say("presets_more");
part(".whole + span").textContent = say("presets_whole");
for (const name of ["apply", "save", "replace", "rename", "delete", "reset"]) part(`.${name}`).textContent = say(`presets_${name}`);
part("select").setAttribute("aria-label", say("presets"));
part(".name").placeholder = say("presets_name");
part(".name").setAttribute("aria-label", say("presets_name"));

part("select").onchange = () => {
  part(".answer").textContent = "";
  choose(part("select").value);
};
part(".apply").onclick = () => {
  const name = chosen;
  page.inTurn(() => trigger("apply", { name }));
};
part(".reset").onclick = () => page.inTurn(() => trigger("reset"));
part(".more").onclick = () => {
  const keep = part(".keep");
  keep.hidden = !keep.hidden;
  part(".more").setAttribute("aria-expanded", String(!keep.hidden));
};
part(".keep").onsubmit = (event) => {
  event.preventDefault();
  save(false);
};
part(".replace").onclick = () => save(true);
part(".rename").onclick = () =>
  change({ do: "rename", name: chosen, new: part(".name").value }, (answer) => say("presets_saved", { name: answer.chosen }));
part(".delete").onclick = () => {
  if (part(".delete").textContent !== say("presets_delete_sure")) {
    part(".delete").textContent = say("presets_delete_sure");
    return;
  }
  const name = chosen;
  change({ do: "delete", name }, () => say("presets_deleted", { name }));
};
part(".delete").onblur = () => (part(".delete").textContent = say("presets_delete"));

document.addEventListener("studio:settings", (event) => {
  settings = event.detail;
  clearTimeout(timer);
  timer = setTimeout(compare, debounceMs);
});
change({ do: "list" }, () => "");
