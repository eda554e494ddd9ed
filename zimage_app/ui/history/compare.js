// The compare view: two pictures with a divider, or several side by side, and the differences of their settings. The
// event studio:compare gives ids of pictures in the history, or sources {src, label, width, height}.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".compare");
const find = (selector) => root.querySelector(selector);
const most = 6;

let sources = []; // {src, label, width, height}
let rows = []; // settings side by side; empty where the sources are stages
let left = 0;
let right = 1;
let stages = []; // of the run on the canvas
const begin = page.makeSequence();

// Choosing pictures

async function takePictures(ids) {
  const isNewest = begin();
  const answer = await fetch(`history/sides?ids=${ids.slice(0, most).join(",")}`).catch(() => null);
  if (!answer?.ok) return page.toast(await page.reason(answer));
  const data = await answer.json();
  if (!isNewest()) return;
  const found = data.pictures.map(({ id, time, seed, width, height }) => {
    const label = say("compare_picture", { time, seed: `#${seed}` });
    return { id, seed, src: `pictures/${id}.png`, label, width, height };
  });
  take(found, data.rows);
}

function take(found, settings = []) {
  begin();
  sources = found.slice(0, most);
  rows = settings;
  left = 0;
  right = sources.length - 1;
  root.dataset.mode = sources.length > 2 ? "beside" : "slider";
  draw();
}

document.addEventListener("studio:pictures", (event) => {
  const { what, ids } = event.detail;
  const rest = sources.filter((source) => !ids.includes(source.id));
  if (what === "delete" && rest.length < sources.length) takePictures(rest.map((source) => source.id));
});

async function takeNewest() {
  const answer = await fetch("history?page=1").catch(() => null);
  if (!answer?.ok) return page.toast(await page.reason(answer));
  const data = await answer.json();
  await takePictures(data.items.slice(0, 2).map((item) => item.id).reverse());
}

// Drawing

function draw() {
  const enough = sources.length > 1;
  find(".none").hidden = enough;
  for (const part of [".slider", ".beside"]) find(part).hidden = !enough || `.${root.dataset.mode}` !== part;
  find(".modes").hidden = !enough;
  find(".choices").hidden = !enough || root.dataset.mode !== "slider";
  drawOffers();
  drawSettings();
  if (!enough) return;
  for (const button of find(".modes").children) {
    button.setAttribute("aria-pressed", String(button.dataset.mode === root.dataset.mode));
  }
  drawChoices();
  drawSlider();
  drawBeside();
}

function drawChoices() {
  for (const [name, chosen] of [["left", left], ["right", right]]) {
    const select = find(`.${name}`);
    select.replaceChildren(...sources.map((source, index) => new Option(source.label, index)));
    select.value = chosen;
  }
}

function drawSlider() {
  const [one, other] = [sources[left], sources[right]];
  const { width, height } = other.width * other.height >= one.width * one.height ? other : one;
  find(".pair").style.setProperty("--aspect", width / height);
  for (const [name, source] of [[".under", other], [".over", one]]) {
    const image = find(name);
    if (image.getAttribute("src") !== source.src) image.setAttribute("src", source.src);
    image.alt = source.label;
  }
  find(".names").replaceChildren(makeName("span", one), makeName("span", other));
  divide();
}

// The picture's label, and the button for its actions.
function makeName(tag, source) {
  const name = make(tag, "", source.label);
  if (source.id) name.append(page.makeMore(name, source));
  return name;
}

function openViewer(source) {
  document.dispatchEvent(new CustomEvent("studio:open", { detail: { items: sources, index: sources.indexOf(source) } }));
}

function divide() {
  find(".pair").style.setProperty("--divide", `${find(".pair input").value}%`);
}

function drawBeside() {
  const figures = sources.map((source) => {
    const figure = make("figure");
    const image = Object.assign(make("img"), { src: source.src, alt: source.label });
    image.style.aspectRatio = `${source.width} / ${source.height}`;
    const open = makeButton("open", "", say("zoom"), () => openViewer(source));
    open.append(image);
    figure.append(open, makeName("figcaption", source));
    return figure;
  });
  find(".beside").replaceChildren(...figures);
}

function drawSettings() {
  const box = find(".settings");
  box.hidden = !rows.length || sources.length < 2;
  if (box.hidden) return;
  const only = find(".only").checked;
  find("thead").replaceChildren(page.makeTableRow("th", [say("compare_setting"), ...sources.map((source) => source.label)]));
  const shown = rows.filter((row) => !only || !row.same);
  const lines = shown.map((row) => {
    const line = make("tr", row.same ? "" : "differs");
    const name = make("th", "", row.title);
    name.scope = "row";
    line.append(name, ...row.values.map((value) => make("td", "", value)));
    return line;
  });
  find("tbody").replaceChildren(...lines);
  find("table").hidden = !shown.length;
  find(".same").textContent = rows.every((row) => row.same) ? say("compare_all_same") : "";
}

function drawOffers() {
  const offers = [makeButton("newest", say("compare_newest"), "", takeNewest)];
  if (stages.length > 1) offers.unshift(makeButton("run", say("compare_run"), "", () => take(stages)));
  find(".offers").replaceChildren(...offers);
}

// Controls

find(".pair input").oninput = divide;
find(".pair input").setAttribute("aria-label", say("compare_divider"));
for (const name of ["left", "right"]) {
  find(`.${name}`).previousElementSibling.textContent = say(`compare_${name}`);
}
find(".left").onchange = () => {
  left = Number(find(".left").value);
  draw();
};
find(".right").onchange = () => {
  right = Number(find(".right").value);
  draw();
};
page.setLabel(find(".swap"), say("compare_swap"));
find(".swap").onclick = () => {
  [left, right] = [right, left];
  draw();
};
find(".modes").setAttribute("aria-label", say("compare_modes"));
for (const mode of ["slider", "beside"]) {
  const button = makeButton("mode", say(`compare_${mode}`), "", () => {
    root.dataset.mode = mode;
    draw();
  });
  button.dataset.mode = mode;
  find(".modes").append(button);
}
find(".none").textContent = say("compare_none");
find(".settings h3").textContent = say("compare_settings");
find(".only").nextElementSibling.textContent = say("compare_only");
find(".only").onchange = drawSettings;

document.addEventListener("studio:run-stages", (event) => {
  stages = event.detail;
  drawOffers();
});
document.addEventListener("studio:compare", (event) => {
  const { ids, sources: given } = event.detail;
  document.dispatchEvent(new CustomEvent("studio:show", { detail: "compare" }));
  if (given) take(given);
  else takePictures(ids);
});
document.addEventListener("studio:view", (event) => {
  if (event.detail !== "compare" || sources.length) return;
  if (stages.length > 1) take(stages);
});
draw();
