// One picture of the history, large, with its facts and what can be done with it. Opened by the event studio:open,
// which brings the list that it stands in.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".viewer");
const find = (selector) => root.querySelector(selector);

let list = { items: [], index: 0 };
let facts = null;
const item = () => list.items[list.index];

async function loadFacts() {
  const id = item().id;
  const answer = await fetch(`history/${id}.json`).catch(() => null);
  if (!root.open || id !== item()?.id) return;
  facts = answer?.ok ? await answer.json() : { id, rows: [], stages: [], missing: true };
  drawFacts();
}

function draw() {
  const { id, label, time, width, height } = item();
  facts = null;
  root.dataset.picture = id;
  const image = find(".scale img");
  image.src = `pictures/${id}.png`;
  image.width = width;
  image.height = height;
  image.alt = label;
  find(".scale").classList.remove("actual");
  find("h2").textContent = time;
  find(".place").textContent = `#${item().seed}`;
  find("dl").replaceChildren();
  find(".kept").hidden = true;
  drawStar();
  drawActs();
  loadFacts();
  list.toldOf?.(id);
}

function drawStar() {
  const { starred } = item();
  const button = find(".star");
  button.setAttribute("aria-pressed", String(starred));
  button.title = say(starred ? "history_unstar" : "history_star");
  button.setAttribute("aria-label", button.title);
}

function drawActs() {
  const { id } = item();
  const save = make("a", "download", say("download"));
  save.href = `pictures/${id}.png?download`;
  save.setAttribute("download", "");
  const act = (name, key, what) => makeButton(name, say(key), "", what);
  find(".acts").replaceChildren(
    act("reuse", "reuse", () => {
      trigger("reuse", { id });
      root.close();
    }),
    act("again", "again", () => {
      trigger("again", { id });
      root.close();
    }),
    act("upscale", "upscale", () => {
      trigger("upscale", { id, upscaler: find(".upscaler").value });
      root.close();
    }),
    make("select", "upscaler"),
    save,
    act("compare", "viewer_compare", compareWithOther),
    act("delete", "history_delete", remove),
  );
  page.fillUpscalers(find(".upscaler"), []);
}

function drawFacts() {
  page.fillUpscalers(find(".upscaler"), facts.upscalers || []);
  if (facts.missing) {
    find(".spoken").textContent = say("picture_gone");
    return;
  }
  find("dl").replaceChildren(...facts.rows.flatMap((row) => [make("dt", "", row.title), make("dd", "", row.text)]));
  find(".kept").hidden = !facts.stages.length;
  const { id } = facts;
  const pictures = facts.stages.map((stage) => {
    const image = make("img");
    image.src = `history/${id}/stage${stage}.png`;
    image.alt = say("compare_stage", { stage });
    return image;
  });
  const all = makeButton("compare-stages", say("viewer_compare_stages"), "", compareStages);
  find(".stages").replaceChildren(...pictures, all);
}

function compareStages() {
  const { id, width, height } = facts;
  const sources = facts.stages.map((stage) => ({
    src: `history/${id}/stage${stage}.png`,
    label: say("compare_stage", { stage }),
    width,
    height,
  }));
  sources.push({ src: `pictures/${id}.png`, label: say("compare_final"), width, height });
  tell("studio:compare", { sources });
}

function compareWithOther() {
  const other = list.items[list.index + 1] || list.items[list.index - 1];
  tell("studio:compare", { ids: [other?.id, item().id].filter(Boolean) });
}

function tell(name, detail) {
  root.close();
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

async function move(step) {
  let index = list.index + step;
  if (index < 0 || index >= list.items.length) {
    const items = await list.turn?.(step);
    if (!items?.length) return;
    list.items = items;
    index = step > 0 ? 0 : items.length - 1;
  }
  list.index = index;
  draw();
}

async function remove() {
  const { id } = item();
  const gone = await list.remove([id]);
  if (!gone.length) return;
  const rest = list.items.filter((each) => each.id !== id);
  if (!rest.length) {
    root.close();
    return;
  }
  list.items = rest;
  list.index = Math.min(list.index, rest.length - 1);
  draw();
  find(".spoken").textContent = say("history_deleted", { count: 1 });
}

async function star() {
  const here = item();
  if (!(await list.star([here.id], !here.starred)).length) return;
  here.starred = !here.starred;
  drawStar();
}

find(".previous").onclick = () => move(-1);
find(".next").onclick = () => move(1);
find(".close").onclick = () => root.close();
find(".star").onclick = star;
find(".scale").onclick = () => find(".scale").classList.toggle("actual");
root.onclick = (event) => {
  if (event.target === root) root.close();
};
root.onkeydown = (event) => {
  const keys = { ArrowLeft: () => move(-1), ArrowRight: () => move(1), Delete: remove, s: star, S: star };
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
};

root.setAttribute("aria-label", say("viewer"));
for (const [name, key] of [[".previous", "viewer_previous"], [".next", "viewer_next"], [".close", "viewer_close"]]) {
  find(name).setAttribute("aria-label", say(key));
  find(name).title = say(key);
}
find(".scale").setAttribute("aria-label", say("zoom"));
find(".kept h3").textContent = say("viewer_stages");

document.addEventListener("studio:open", (event) => {
  list = event.detail;
  if (!item()) return;
  draw();
  if (!root.open) root.showModal();
});
