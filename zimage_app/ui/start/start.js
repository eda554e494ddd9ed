// The start picture. props.value is null or a request's "start" as plain data. The file comes from drop.js and is
// uploaded once; the server returns its hash. The part to redraw is painted in the mask editor (mask.js).
const page = window.studio;
const { say } = page;
const root = element.querySelector(".start");
const find = (name) => root.querySelector(name);
const largest = 32 * 2 ** 20;

let settings = {};
const begin = page.makeSequence();
// The settings of a start picture that an imported file names, until that picture is chosen.
let pending = null;

const chosen = () => (props.value && typeof props.value.picture === "string" ? props.value : null);

function change(next) {
  props.value = next;
  trigger("change");
  draw();
}

// The first enabled stage with a denoise below 1; without one, the first enabled stage.
function usualStage() {
  const stages = settings.stages || [];
  const on = [...stages.keys()].filter((stage) => stages[stage].enabled !== false);
  const redrawing = on.find((stage) => stages[stage].denoise < 1);
  return (redrawing ?? on[0] ?? 0) + 1;
}

function drawStages(value) {
  const count = settings.stages?.length || value.stage;
  const numbers = Array.from({ length: count }, (_, place) => place + 1);
  const options = numbers.map((stage) => new Option(String(stage), String(stage)));
  if (value.stage > count) options.push(new Option(say("start_stage_gone", { stage: value.stage }), String(value.stage)));
  const select = find(".at select");
  select.replaceChildren(...options);
  select.value = String(value.stage);
  const denoise = settings.stages?.[value.stage - 1]?.denoise;
  find(".denoise").textContent = denoise !== undefined ? say("start_denoise", { denoise }) : "";
}

function draw() {
  const value = chosen();
  find(".chosen").hidden = !value;
  if (!value) return;
  const image = find("img");
  const address = `inputs/${encodeURIComponent(value.picture)}.jpg`;
  if (image.getAttribute("src") !== address) image.src = address;
  find(".fit select").value = value.fit || "crop";
  const keeps = value.mask || value.extend?.some((side) => side);
  find(".part").textContent = say(keeps ? "mask_edit" : "mask_open");
  find(".kept").textContent = keeps ? say("mask_set") : "";
  drawStages({ ...value, stage: Number(value.stage) || 1 });
}

function showError(text) {
  find(".problem").textContent = text;
  if (text) root.scrollIntoView({ block: "nearest" });
}

// Stores a picture on the server, also for the mask editor; the answer has its hash as "picture", or an "error".
page.uploadPicture = async (file, name = file.name) => {
  try {
    const reply = await fetch(`inputs?name=${encodeURIComponent(name)}`, { method: "POST", body: file });
    return reply.ok ? await reply.json() : { error: await page.reason(reply) };
  } catch {
    return { error: say("start_unreachable") };
  }
};

async function take(file) {
  if (!file) return;
  if (file.size > largest) return showError(say("start_too_big", { name: file.name }));
  const isNewest = begin();
  showError("");
  find(".taking").textContent = say("start_reading", { name: file.name });
  const answer = await page.uploadPicture(file);
  const masked = pending?.mask && !answer.error ? await page.uploadPicture(pending.mask) : null;
  if (!isNewest()) return;
  find(".taking").textContent = "";
  if (answer.error || masked?.error) return showError(answer.error || masked.error);
  const { picture } = answer;
  const stage = pending ? 1 : chosen()?.stage || usualStage();
  // A mask of the picture before doesn't apply to the new one.
  change({ fit: chosen()?.fit || "crop", ...pending?.settings, mask: pending?.own_mask ? picture : masked?.picture, picture, stage });
  pending = null;
  root.scrollIntoView({ block: "nearest" });
  find(".at select").focus({ preventScroll: true });
}

find("img").alt = say("start_alt");
find("img").onload = () => showError("");
find("img").onerror = () => chosen() && showError(say("start_gone"));
find(".at span").textContent = say("start_stage");
find(".at select").onchange = (event) => change({ ...chosen(), stage: Number(event.target.value) });
find(".fit span").textContent = say("start_fit");
find(".fit select").replaceChildren(...["crop", "stretch"].map((fit) => new Option(say(`start_${fit}`), fit)));
find(".fit select").onchange = (event) => change({ ...chosen(), fit: event.target.value });
find(".part").onclick = () => {
  const use = (changes, size) => {
    change({ ...chosen(), ...changes });
    if (size) trigger("shape", { width: size[0], height: size[1] });
  };
  document.dispatchEvent(new CustomEvent("studio:mask", { detail: { start: chosen(), use, showError } }));
};
page.setLabel(find(".remove"), say("start_remove"));
find(".remove").onclick = () => {
  showError("");
  change(null);
  document.querySelector("#drop .choose").focus();
};

document.addEventListener("studio:start", (event) => take(event.detail));
document.addEventListener("studio:start-pending", (event) => (pending = event.detail));
document.addEventListener("studio:settings", (event) => {
  settings = event.detail;
  const value = chosen();
  if (value) drawStages({ ...value, stage: Number(value.stage) || 1 });
});

watch("value", () => {
  if (!chosen()) showError("");
  draw();
});
draw();
