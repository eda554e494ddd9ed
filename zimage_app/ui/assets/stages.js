// The stage tabs: as many as there are stages, with what each is called, and the tools that add, copy, move and remove.
// props.value is the number of stages; the fields of each lie in a tab of Gradio's (#stage-panels), whose own strip is
// hidden. What stands in the fields is moved by the server (stages.py).
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".stage-tabs");
const strip = root.querySelector(".tab-list");
const signs = { add: "＋", duplicate: say("stage_copy"), left: "←", right: "→", remove: say("stage_delete") };

let count = props.value;
let chosen = 0; // the open tab
let wanted; // the tab to open when a stage has come
let settings = {};
let meaning = null; // what the stages' settings mean in numbers; null while that can't be told

const isOn = (stage) => settings[`stages.${stage}.enabled`] !== false;
const isSkipped = (stage) => stage + 1 < (settings.start?.stage || 1); // a picture comes in its place
const runs = (stage) => isOn(stage) && !isSkipped(stage);

// As on the canvas: the stages that run are named by their place among themselves.
function nameOf(stage) {
  if (!isOn(stage)) return say("stage_off");
  if (isSkipped(stage)) return say("stage_skipped");
  const running = [...Array(count).keys()].filter(runs);
  const place = running.indexOf(stage);
  if (place === running.length - 1) return say("stage_final");
  return say(place ? "stage_refine" : "stage_draft");
}

function open(stage, focus) {
  wanted = undefined;
  chosen = Math.max(0, Math.min(stage, count - 1));
  document.querySelectorAll("#stage-panels [role=tab]")[chosen]?.click();
  draw();
  if (focus) strip.children[chosen].focus();
}

function walk(event) {
  const last = count - 1;
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
  tab.setAttribute("aria-controls", `stage-${stage}`);
  tab.tabIndex = stage === chosen ? 0 : -1;
  tab.classList.toggle("off", !runs(stage));
  return tab;
}

function makeTool(edit) {
  const label = say(`stage_${edit}`, { stage: chosen + 1 });
  const button = makeButton(`tool ${edit}`, signs[edit], label, () => change(edit));
  const impossible = {
    add: count >= props.most,
    duplicate: count >= props.most,
    left: chosen === 0,
    right: chosen === count - 1,
    remove: count === 1,
  };
  button.disabled = impossible[edit];
  return button;
}

function change(edit) {
  const stage = chosen;
  trigger("edit", { edit, stage });
  if (edit === "left" || edit === "right") open(stage + (edit === "left" ? -1 : 1));
  wanted = { add: count, duplicate: stage + 1 }[edit];
}

// What the open stage's settings mean in numbers
function drawMeaning() {
  const lines = meaning?.lines[chosen] || [];
  const all = lines.length && Object.keys(meaning.lines).length > 1 ? [...lines, [say("stage_total"), meaning.total]] : lines;
  const items = all.map(([title, value]) => {
    const item = make("div");
    item.append(make("dt", "", title), make("dd", "", value));
    return item;
  });
  if (meaning && !lines.length) items.push(make("div", "", say("stage_idle")));
  root.querySelector(".meaning").replaceChildren(...items);
}

function draw() {
  drawMeaning();
  const inside = root.contains(document.activeElement) ? document.activeElement : null;
  const place = inside && (inside.role === "tab" ? ".tab-list [aria-selected=true]" : `.${[...inside.classList].pop()}`);
  strip.replaceChildren(...[...Array(count).keys()].map(makeTab));
  root.querySelector(".add")?.remove();
  root.querySelector(".strip-row").append(makeTool("add"));
  root.querySelector(".tools").replaceChildren(...["duplicate", "left", "right", "remove"].map(makeTool));
  if (!place) return;
  const again = root.querySelector(place);
  (again?.disabled ? root.querySelector(".tab-list [aria-selected=true]") : again)?.focus();
}

function take() {
  const next = Math.max(1, Math.min(props.most, Number(props.value) || 1));
  const came = next > count;
  count = next;
  open(came && wanted !== undefined ? wanted : chosen);
  trigger("change");
}

strip.onkeydown = walk;
strip.setAttribute("aria-label", page.words.stages);

let drawn = "";
document.addEventListener("studio:settings", (event) => {
  settings = event.detail;
  const names = [...Array(count).keys()].map(nameOf).join();
  if (names !== drawn) draw();
  drawn = names;
});

document.addEventListener("studio:stages", (event) => {
  meaning = event.detail;
  drawMeaning();
});

watch("value", take);
draw();
