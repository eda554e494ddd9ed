// The stages: a tab for each, buttons that add, copy, move and remove them, and the controls of the open one.
// props.value is a list with the values of each stage by their path in it (values.py); props.form describes the
// controls (controls.py). The server adds, moves and removes stages (stage_edits.py), and renumbers the LoRAs' stages
// with them.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".stage-tabs");
const strip = root.querySelector(".tab-list");
const panels = root.querySelector(".panels");
const { form } = props;
const signs = { add: "＋", duplicate: say("stage_copy"), left: "←", right: "→", remove: say("stage_delete") };

let stages = [];
let chosen = 0; // the open tab
let wanted; // the tab to open when the server has added or moved a stage; undefined after a refusal
let firstStage = 1; // the stage that the start picture goes to; earlier ones don't run
let meaning = null; // the stages' settings in numbers, from summary.js; null while they aren't valid

const isOn = (stage) => stages[stage].enabled !== false;
const isSkipped = (stage) => stage + 1 < firstStage;
const runs = (stage) => isOn(stage) && !isSkipped(stage);

// As on the canvas, a stage's name depends on its position among the running stages.
function nameOf(stage) {
  if (!isOn(stage)) return say("stage_off");
  if (isSkipped(stage)) return say("stage_skipped");
  const running = [...stages.keys()].filter(runs);
  const place = running.indexOf(stage);
  if (place === running.length - 1) return say("stage_final");
  return say(place ? "stage_refine" : "stage_draft");
}

function open(stage, focus) {
  wanted = undefined;
  chosen = Math.max(0, Math.min(stage, stages.length - 1));
  draw();
  showPanel();
  if (focus) strip.children[chosen].focus();
}

function openByKey(event) {
  const last = stages.length - 1;
  const next = { ArrowRight: chosen === last ? 0 : chosen + 1, ArrowLeft: chosen ? chosen - 1 : last, Home: 0, End: last }[event.key];
  if (next === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  open(next, true);
}

function makeTab(stage) {
  const tab = makeButton("tab", "", "", () => open(stage));
  tab.append(make("b", "", String(stage + 1)), make("span", "", nameOf(stage)));
  tab.id = `stage-tab-${stage}`;
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-selected", String(stage === chosen));
  if (stage === chosen) tab.setAttribute("aria-controls", `stage-${stage}`);
  tab.tabIndex = stage === chosen ? 0 : -1;
  tab.classList.toggle("off", !runs(stage));
  return tab;
}

const isImpossible = {
  add: () => stages.length >= form.most,
  duplicate: () => stages.length >= form.most,
  left: () => chosen === 0,
  right: () => chosen === stages.length - 1,
  remove: () => stages.length === 1,
};

function makeTool(edit) {
  const label = say(`stage_${edit}`, { stage: chosen + 1 });
  const button = makeButton(`tool ${edit}`, signs[edit], label, () => page.queueChange(() => change(edit)));
  button.disabled = isImpossible[edit]();
  return button;
}

function change(edit) {
  if (isImpossible[edit]()) return false;
  const stage = chosen;
  const to = { left: stage - 1, right: stage + 1 }[edit];
  wanted = { add: stages.length, duplicate: stage + 1 }[edit] ?? to;
  // Where both are equal, the list stays as it is, which Gradio doesn't report.
  if (to !== undefined && JSON.stringify(stages[to]) === JSON.stringify(stages[stage])) open(to);
  trigger("edit", { edit, stage });
  return true;
}

// The open stage's settings in numbers
function drawMeaning() {
  const lines = meaning?.lines[chosen] || [];
  const all = lines.length && Object.keys(meaning.lines).length > 1 ? [...lines, [say("stage_total"), meaning.total]] : lines;
  const items = all.map(([title, value]) => {
    const item = make("div");
    item.append(make("dt", "", title), make("dd", "", value));
    return item;
  });
  root.querySelector(".meaning").hidden = !lines.length;
  root.querySelector(".meaning summary").textContent = meaning?.summaries[chosen] || "";
  root.querySelector(".meaning dl").replaceChildren(...items);
  root.querySelector(".idle").textContent = meaning && !lines.length ? say("stage_idle") : "";
}

const draw = () => page.whenReleased(root, drawTabs);

function drawTabs() {
  drawMeaning();
  const inside = document.activeElement?.closest(".stage-tabs :is(.tab, .tool)");
  const place = inside && (inside.role === "tab" ? ".tab-list [aria-selected=true]" : `.${[...inside.classList].pop()}`);
  strip.replaceChildren(...[...stages.keys()].map(makeTab));
  root.querySelector(".add")?.remove();
  root.querySelector(".strip-row").append(makeTool("add"));
  root.querySelector(".tools").replaceChildren(...["duplicate", "left", "right", "remove"].map(makeTool));
  if (!place) return;
  const again = root.querySelector(place);
  (again?.disabled ? root.querySelector(".tab-list [aria-selected=true]") : again)?.focus();
}

// The controls of a stage

const idOf = (stage, name) => `knob-stages-${stage}-${name.replaceAll(".", "-")}`;

function set(stage, name, value) {
  stages = stages.map((values, place) => (place === stage ? { ...values, [name]: value } : values));
  props.value = stages;
  trigger("change");
  fillPanel(stage);
  if (name === "enabled") draw();
}

// For each kind of control: how to make its field, read its value, and show a value.
const fields = {
  switch: {
    make: () => makeInput("checkbox"),
    read: (field) => field.checked,
    show: (field, value) => (field.checked = Boolean(value)),
  },
  choice: {
    make: (knob) => {
      const field = make("select");
      field.append(...knob.choices.map((choice) => new Option(choice, choice)));
      return field;
    },
    read: (field) => field.value,
    show: (field, value) => (field.value = value),
  },
  // A number or one of some words, which are shown in the page's language.
  text: {
    make: () => makeInput("text"),
    read: (field, { words }) => words.find((word) => say(`word_${word}`) === field.value.trim()) || field.value,
    show: (field, value, { words }) => (field.value = words.includes(value) ? say(`word_${value}`) : value ?? ""),
  },
  number: {
    make: (knob) => Object.assign(makeInput("number"), { min: onGrid(knob.low, knob.step), step: knob.step }),
    read: (field) => (field.value === "" ? null : Number(field.value)),
    show: (field, value) => (field.value = value ?? ""),
  },
};

// The least value rounded down to a multiple of the step: browsers count steps from min, so from 0.01, 3 would go to
// 3.11.
const onGrid = (low, step) => Math.floor(low / step + 1e-9) * step;

function makeInput(type) {
  const field = make("input");
  field.type = type;
  field.autocomplete = "off";
  field.maxLength = 1000; // more than any limit, so that whatever is cut is still refused
  return field;
}

function makeKnob(stage, knob) {
  const box = make("div", `knob ${knob.kind}`);
  const title = make("label", "", page.words[knob.title]);
  const help = make("span", "info-text", page.words[knob.help]);
  const field = fields[knob.kind].make(knob);
  box.id = idOf(stage, knob.name);
  field.id = title.htmlFor = `${box.id}-field`;
  help.id = `${box.id}-help`;
  field.setAttribute("aria-describedby", help.id);
  field.oninput = () => set(stage, knob.name, fields[knob.kind].read(field, knob));
  box.append(...(knob.kind === "switch" ? [field, title, help] : [title, field, help]));
  if (knob.kind === "number") box.append(makeSlider(stage, knob));
  return box;
}

// A slider for the same number, for mouse and touch; not in the tab order, as the keyboard can use the field.
function makeSlider(stage, knob) {
  const slider = makeInput("range");
  Object.assign(slider, { min: onGrid(knob.low, knob.step), max: knob.high, step: knob.step, tabIndex: -1 });
  slider.setAttribute("aria-label", page.words[knob.title]);
  slider.oninput = () => set(stage, knob.name, Math.max(knob.low, Number(slider.value)));
  return slider;
}

function makeSection(stage, name, knobs) {
  const body = make("div", "knobs");
  for (const knob of knobs) {
    body.append(makeKnob(stage, knob));
    if (!knob.group) continue;
    const group = make("div", "group");
    group.dataset.switch = knob.name;
    group.append(...knob.group.map((each) => makeKnob(stage, each)));
    body.append(group);
  }
  if (name === "basic") return body;
  const section = make("details", "inner");
  section.append(make("summary", "", say(name)), body);
  return section;
}

function makePanel(stage) {
  const panel = make("div", "stage-panel");
  panel.id = `stage-${stage}`;
  panel.setAttribute("role", "tabpanel");
  panel.setAttribute("aria-labelledby", `stage-tab-${stage}`);
  panel.append(...Object.entries(form.sections).map(([name, knobs]) => makeSection(stage, name, knobs)));
  return panel;
}

// Whether a setting has an effect: optional ones need a sampler or hand-over rule that reads them. The first stage that
// runs takes nothing over, so its denoise has an effect under every rule.
function hasEffect(stage, name) {
  const { sampler, handover } = stages[stage];
  const read = [form.reads.sampler[sampler], form.reads.handover[handover]];
  if (!form.options.includes(name) || read.includes(undefined)) return true;
  return read.flat().includes(name) || (name === "denoise" && stage === [...stages.keys()].find(runs));
}

function showKnob(stage, knob) {
  const box = document.getElementById(idOf(stage, knob.name));
  const value = stages[stage][knob.name];
  const [field, slider] = box.querySelectorAll("input, select");
  const kind = fields[knob.kind];
  if (kind.read(field, knob) !== value) kind.show(field, value, knob);
  field.disabled = !hasEffect(stage, knob.name);
  if (!slider) return;
  slider.disabled = field.disabled;
  slider.min = onGrid(Math.min(knob.low, value ?? knob.low), knob.step);
  slider.max = Math.max(knob.high, value ?? knob.high);
  slider.value = value ?? knob.low;
}

function fillPanel(stage) {
  const panel = document.getElementById(`stage-${stage}`);
  if (!panel) return;
  const knobs = Object.values(form.sections).flat();
  for (const knob of knobs.flatMap((each) => [each, ...(each.group || [])])) showKnob(stage, knob);
  for (const group of panel.querySelectorAll(".group")) group.hidden = !stages[stage][group.dataset.switch];
}

// A stage's controls are made when its tab is first opened.
function showPanel() {
  for (const panel of Array.from(panels.children)) {
    const stage = Number(panel.id.replace("stage-", ""));
    if (stage >= stages.length) panel.remove();
    panel.hidden = stage !== chosen;
  }
  if (!document.getElementById(`stage-${chosen}`)) panels.append(makePanel(chosen));
  fillPanel(chosen);
}

// Drawing everything

function show() {
  const next = JSON.parse(JSON.stringify(props.value || []));
  if (!next.length || JSON.stringify(next) === JSON.stringify(stages)) return false;
  stages = next;
  open(wanted ?? chosen);
  return true;
}

strip.onkeydown = openByKey;
strip.setAttribute("aria-label", page.words.stages);

let drawn = "";
document.addEventListener("studio:settings", (event) => {
  firstStage = event.detail.start?.stage || 1;
  const names = [...stages.keys()].map(nameOf).join();
  if (names === drawn) return;
  drawn = names;
  draw();
  fillPanel(chosen);
});

document.addEventListener("studio:refused", () => (wanted = undefined));

document.addEventListener("studio:stages", (event) => {
  meaning = event.detail;
  drawMeaning();
});

watch("value", () => show() && trigger("change"));
show();
