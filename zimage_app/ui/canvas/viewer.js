// The viewer: one picture as large as the window, with its actions and settings. Opened by the event studio:open with
// {items, index}; the items are pictures by id, or stages {src, label, width, height}.
const page = window.studio;
const { make, say } = page;
const root = element.querySelector(".viewer");
const find = (selector) => root.querySelector(selector);
const DETAILS = "studio-viewer-details"; // localStorage: whether the settings are shown

let list = { items: [], index: 0 };
let deleted = []; // {item, index} of the list, to show them again after an undo
const item = () => list.items[list.index];
const detailed = () => localStorage.getItem(DETAILS) !== "closed";

function draw() {
  const { id, src, label, time = "", seed, width, height } = item();
  root.dataset.picture = id || "";
  const image = find(".scale img");
  image.src = src || `pictures/${id}.png`;
  image.alt = label;
  image.style.aspectRatio = width ? `${width} / ${height}` : "";
  find(".scale").setAttribute("aria-label", say("zoom_of", { label }));
  enlarge(null);
  find("h2").textContent = id ? time : label;
  find(".place").textContent = id ? `#${seed}` : `${width}×${height}`;
  find(".previous").disabled = list.index === 0 && !list.turn;
  find(".next").disabled = list.index === list.items.length - 1 && !list.turn;
  find("dl").replaceChildren();
  find(".kept").hidden = true;
  find("aside").hidden = !id || !detailed();
  drawActs();
  if (id) drawFacts(id);
  list.onMove?.(id);
}

// Shows the whole picture (at: null), or its actual pixels around the point {x, y} of the window. Where those fit the
// window, it is the next whole multiple of them that is larger than what was shown, at least twice as large.
function enlarge(at) {
  const [scale, image] = [find(".scale"), find(".scale img")];
  const whole = image.getBoundingClientRect();
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const fit = Math.min(whole.width / width, whole.height / height) || 1;
  const times = width > scale.clientWidth || height > scale.clientHeight ? 1 : Math.max(2, Math.floor(fit) + 1);
  // The part of the picture at the point; the picture is in the middle of its box.
  const part = (from, size, pixels) => Math.min(1, Math.max(0, (from - (size - pixels * fit) / 2) / (pixels * fit)));
  scale.classList.toggle("actual", Boolean(at && width));
  scale.setAttribute("aria-pressed", String(Boolean(at && width)));
  if (!at || !width) return;
  image.style.setProperty("--shown", `${times * width}px`);
  scale.scrollLeft = part(at.x - whole.left, whole.width, width) * times * width - scale.clientWidth / 2;
  scale.scrollTop = part(at.y - whole.top, whole.height, height) * times * height - scale.clientHeight / 2;
}

// A press with the mouse moves the enlarged picture; without a movement it is a click. Fingers scroll it by themselves.
const draggedFrom = 4; // pixels
let dragged = false;

function drag(event) {
  const scale = find(".scale");
  dragged = false;
  if (event.pointerType !== "mouse" || event.button || !scale.classList.contains("actual")) return;
  const [left, top] = [scale.scrollLeft, scale.scrollTop];
  scale.setPointerCapture(event.pointerId);
  scale.onpointermove = ({ clientX, clientY }) => {
    const [x, y] = [clientX - event.clientX, clientY - event.clientY];
    dragged ||= Math.hypot(x, y) >= draggedFrom;
    if (dragged) scale.scrollTo(left - x, top - y);
  };
  scale.onpointerup = scale.onpointercancel = () => (scale.onpointermove = null);
}

// With the keyboard (no point was clicked), around the middle.
function toggleZoom(event) {
  if (dragged) return;
  const box = find(".scale").getBoundingClientRect();
  const middle = { x: box.left + box.width / 2, y: box.top + box.height / 2 };
  if (find(".scale").classList.contains("actual")) enlarge(null);
  else enlarge(event.detail ? { x: event.clientX, y: event.clientY } : middle);
}

function drawActs() {
  find(".acts").replaceChildren();
  if (!item().id) return;
  const neighbour = (list.items[list.index + 1] || list.items[list.index - 1])?.id;
  page.fillActs(find(".acts"), item(), { neighbour, details: toggleDetails, detailed: detailed(), leave: () => root.close() });
}

function toggleDetails() {
  localStorage.setItem(DETAILS, detailed() ? "closed" : "open");
  find("aside").hidden = !detailed();
  return detailed();
}

async function drawFacts(id) {
  const facts = await page.facts(id);
  if (!root.open || id !== item()?.id) return;
  if (facts.missing) page.toast(facts.missing);
  find("dl").replaceChildren(...facts.rows.flatMap((row) => [make("dt", "", row.title), make("dd", "", row.text)]));
  const kept = page.stageSources(facts).filter((stage) => !stage.last);
  find(".kept").hidden = !kept.length;
  const images = kept.map(({ src, label }) => Object.assign(make("img"), { src, alt: label }));
  find(".stages").replaceChildren(...images);
}

async function move(step) {
  let index = list.index + step;
  if (index < 0 || index >= list.items.length) {
    const found = await list.turn?.(item().id, step);
    if (!found?.items.length) return;
    list.items = [...found.items];
    index = found.index;
  }
  list.index = index;
  draw();
}

function showAgain(ids) {
  const back = deleted.filter((each) => ids.includes(each.item.id));
  deleted = deleted.filter((each) => !back.includes(each));
  for (const { item: each, index } of back) list.items.splice(index, 0, each);
  if (!back.length) return;
  list.index = Math.min(back[0].index, list.items.length - 1);
  find(".scale").focus(); // the pressed "Undo" goes with its message
}

// Pictures were deleted or starred, here or in another view.
document.addEventListener("studio:pictures", (event) => {
  const { what, ids } = event.detail;
  if (!root.open) return;
  if (what === "star" || what === "unstar") {
    for (const each of list.items) if (ids.includes(each.id)) each.starred = what === "star";
  }
  if (what === "undo") showAgain(ids);
  if (what === "delete") {
    deleted.push(...list.items.map((each, index) => ({ item: each, index })).filter((each) => ids.includes(each.item.id)));
    const rest = list.items.filter((each) => !ids.includes(each.id));
    list.items = rest;
    list.index = Math.min(list.index, rest.length - 1);
    if (!rest.length) root.close();
  }
  if (item()) draw();
});

find(".previous").onclick = () => move(-1);
find(".next").onclick = () => move(1);
find(".close").onclick = () => root.close();
find(".scale").onpointerdown = drag;
find(".scale").onclick = toggleZoom;
find(".scale img").draggable = false;
root.onclick = (event) => {
  if (event.target === root) root.close();
};
root.onkeydown = (event) => {
  const press = (name) => find(`.acts .${name}`)?.click();
  const keys = {
    ArrowLeft: () => move(-1),
    ArrowRight: () => move(1),
    Delete: () => press("delete"),
    s: () => press("star"),
    S: () => press("star"),
  };
  if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && page.undo()) event.preventDefault();
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("[role=menu]")) return;
  event.preventDefault();
  keys[event.key]();
};

root.setAttribute("aria-label", say("viewer"));
for (const [name, key] of [[".previous", "viewer_previous"], [".next", "viewer_next"], [".close", "viewer_close"]]) {
  page.setLabel(find(name), say(key));
}
find(".kept h3").textContent = say("viewer_stages");

document.addEventListener("studio:open", (event) => {
  list = { ...event.detail, items: [...event.detail.items] };
  deleted = [];
  if (!item()) return;
  if (!root.open) root.showModal();
  draw();
});
