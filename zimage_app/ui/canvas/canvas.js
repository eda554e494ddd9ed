// The canvas: the picture, its stages, actions and settings, and the latest pictures. It only draws props.value, {job,
// strip} (canvas.py, history.py). All texts are inserted with textContent.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".canvas");
const find = (selector) => root.querySelector(selector);
const isPaused = () => job.state === "waiting" && Boolean(job.paused) && !lost;
const busy = (state) => ["waiting", "loading", "running", "stopping", "saving"].includes(state);
const DETAILS = "studio-details"; // localStorage: whether the settings are shown
const SELECTION = "studio-looking"; // sessionStorage: the picture or stage that the user has selected

const STRIP = 24; // latest pictures

let job = { id: "", state: "idle", stages: [] };
let strip = [];
let sent = ""; // the strip that the server sent last, as JSON
let received = 0; // time of the newest snapshot, from which the clock runs on
let followed = 0; // time of the newest snapshot, or when this tab began to follow the run again
let selection = null; // {picture, stage} that the user has selected; either may be missing
let facts = null; // of the shown picture
let lost = false; // no snapshot of the run has come for SILENCE milliseconds

function setImage(image, source) {
  if (!source) image.removeAttribute("src");
  else if (image.getAttribute("src") !== source) image.setAttribute("src", source);
}

// What is shown: the run's stages, or an earlier picture with its saved stages

function shownPicture() {
  if (selection?.picture) return selection.picture;
  return job.picture || (job.state === "idle" && strip[0]?.id) || "";
}

// Whether the run's own stages are shown. After a restart of the app a finished run has no previews, only its picture.
const showsRun = () => !shownPicture() || (shownPicture() === job.picture && job.stages.some((stage) => stage.preview));

const took = (stage) => say("took", { seconds: stage.seconds.toFixed(1) });

function runTile(stage, index) {
  const last = index === job.stages.length - 1;
  const running = job.state === "running" && job.current === index;
  const counted = running ? `${stage.step}/${stage.steps}` : `${stage.width}×${stage.height}`;
  return {
    ...stage,
    src: last && job.picture ? `pictures/${job.picture}.png` : stage.preview,
    thumb: last && job.picture ? `pictures/${job.picture}.jpg` : stage.preview,
    note: stage.note || (stage.seconds ? took(stage) : counted),
    done: stage.step / (stage.steps || 1),
  };
}

function savedTile(stage) {
  return { ...stage, thumb: stage.src, note: stage.note || took(stage), done: 1 };
}

function shownTiles() {
  if (showsRun()) return job.stages.map(runTile);
  const sources = facts?.id === shownPicture() ? page.stageSources(facts) : [];
  return sources.length > 1 ? sources.map(savedTile) : [];
}

function shownStage(tiles) {
  if (selection?.stage !== undefined && tiles[selection.stage]?.src) return selection.stage;
  const open = showsRun() && !job.picture;
  const newest = open ? job.current ?? 0 : tiles.length - 1;
  const whole = tiles.findLastIndex((tile) => tile.src && tile.seconds);
  // For a stopped or failed run, show the last finished stage, not the one that was running.
  if (open && !busy(job.state) && whole >= 0) return whole;
  for (let index = newest; index >= 0; index -= 1) if (tiles[index]?.src) return index;
  return -1;
}

// The stages that have a picture, for the compare view.
function stageSources(tiles = shownTiles()) {
  return tiles.flatMap(({ src, name, number, width, height }) => (src ? [{ src, label: `${number} ${name}`, width, height }] : []));
}

// Rail

function makeTile(index) {
  const tile = make("button", "tile");
  tile.type = "button";
  const frame = make("span", "thumb");
  frame.append(make("img"));
  const caption = make("span", "caption");
  caption.append(make("b"), make("span", "note"));
  const line = make("span", "track");
  line.append(make("i"));
  tile.append(frame, caption, line);
  tile.onclick = () => {
    const picture = selection?.picture;
    select(selection?.stage === index ? { picture } : { picture, stage: index });
  };
  return tile;
}

function drawRail(tiles, shown) {
  const rail = find(".rail");
  rail.hidden = tiles.length < 2 && !(tiles.length && busy(job.state));
  while (rail.children.length > tiles.length) rail.lastChild.remove();
  while (rail.children.length < tiles.length) rail.append(makeTile(rail.children.length));
  root.style.setProperty("--tiles", Math.max(tiles.length, 1));
  tiles.forEach((tile, index) => drawTile(rail.children[index], tile, index, index === shown));
}

function drawTile(node, tile, index, pressed) {
  const [image, name, note, done] = ["img", "b", ".note", "i"].map((part) => node.querySelector(part));
  node.setAttribute("aria-label", say("stage_picture", { stage: tile.number, name: tile.name }));
  node.setAttribute("aria-pressed", String(pressed));
  node.disabled = !tile.src;
  node.querySelector(".thumb").style.aspectRatio = `${tile.width} / ${tile.height}`;
  setImage(image, tile.thumb);
  image.alt = "";
  name.textContent = `${tile.number} ${tile.name}`;
  note.textContent = tile.note;
  done.style.width = `${100 * tile.done}%`;
}

// Big picture

// Whether the finished picture is shown, not an earlier stage.
const showsFinalPicture = (tiles, shown) => Boolean(shownPicture()) && (shown < 0 || shown === tiles.length - 1);

function drawPicture(tiles, shown) {
  const picture = shownPicture();
  const whole = showsFinalPicture(tiles, shown);
  const source = whole ? `pictures/${picture}.png` : tiles[shown]?.src;
  const known = facts?.id === picture ? facts : strip.find((item) => item.id === picture);
  // Always use the finished picture's aspect ratio, so that nothing moves from stage to stage.
  const size = tiles.at(-1) || known || { width: 672, height: 864 };
  if (size.width) root.style.setProperty("--aspect", size.width / size.height);
  const big = find(".big");
  setImage(big, source);
  big.alt = whole ? say("picture") : shown < 0 ? "" : say("stage_picture", { stage: tiles[shown].number, name: tiles[shown].name });
  find(".zoom").disabled = !source;
  const live = job.state === "running" && shown >= 0 && showsRun();
  find(".badge").textContent = live ? say("badge", stageWords(shown)) : "";
}

find(".zoom").setAttribute("aria-label", say("zoom"));
find(".zoom").onclick = () => {
  const tiles = shownTiles();
  const shown = shownStage(tiles);
  const picture = shownPicture();
  const whole = showsFinalPicture(tiles, shown);
  const items = whole ? strip.filter((item) => item.id) : stageSources(tiles);
  const index = items.findIndex((item) => (whole ? item.id === picture : item.src === tiles[shown].src));
  const alone = { id: picture, label: facts?.label || "", time: facts?.time || "", seed: facts?.seed || "" };
  const list = index < 0 ? { items: [alone], index: 0 } : { items, index };
  document.dispatchEvent(new CustomEvent("studio:open", { detail: list }));
};

// Actions

let drawnActs = "";

function drawActs(tiles, shown) {
  const picture = shownPicture();
  const stage = !picture && ["cancelled", "failed"].includes(job.state) && tiles[shown]?.seconds ? tiles[shown] : null;
  const key = picture ? `${picture} ${strip[0]?.id} ${tiles.length}` : stage ? `${job.id}/${stage.number}` : "";
  const row = find(".acts");
  row.classList.toggle("none", !key);
  if (drawnActs === key) return;
  drawnActs = key;
  if (!key) {
    row.replaceChildren();
  } else if (picture) {
    const at = strip.findIndex((item) => item.id === picture);
    const sources = showsRun() ? stageSources(tiles) : undefined;
    const item = { ...strip[at], id: picture, seed: strip[at]?.seed || job.seed, sources };
    const neighbour = (strip[at + 1] || strip[at - 1])?.id;
    page.fillActs(row, item, { neighbour, details: toggleDetails, detailed: detailed() });
  } else {
    const { number, src } = stage;
    page.fillActs(row, { job: job.id, number, src, seed: job.seed, sources: stageSources(tiles) });
  }
}

const detailed = () => localStorage.getItem(DETAILS) === "open";

function toggleDetails() {
  localStorage.setItem(DETAILS, detailed() ? "" : "open");
  if (facts?.missing) facts = null; // opening the settings requests them again
  draw();
  if (detailed() && innerWidth <= 860) find(".facts").scrollIntoView({ block: "nearest" });
  return detailed();
}

// Progress

function message() {
  const stage = job.stages[job.current] || {};
  const last = job.current === job.stages.length - 1;
  switch (job.state) {
    case "waiting":
      if (job.paused) return say("waiting_paused");
      return job.ahead ? say("waiting", { ahead: job.ahead }) : say("waiting_next");
    case "loading":
      return job.loading || say("loading");
    case "running":
      if (!job.current && !stage.step) return say("starting");
      if (last && stage.step === stage.steps) return say("saving");
      return say("step", { ...stageWords(job.current), step: stage.step, steps: stage.steps });
    case "stopping":
      return say("stopping");
    case "saving":
      return say("saving");
    case "done":
      return say("done", { seconds: job.elapsed.toFixed(1) });
    case "cancelled":
      return say(job.stages.some((each) => each.seconds) ? "cancelled" : "cancelled_early");
    case "failed":
      return job.error || say("failed");
    default:
      return "";
  }
}

function drawClock() {
  const since = (performance.now() - received) / 1000;
  const parts = [];
  if (lost) {
    find(".clock").textContent = "";
    return;
  }
  if (job.state === "running" || job.state === "loading") {
    parts.push(say("elapsed", { seconds: Math.floor(job.elapsed + since) }));
  }
  if (job.state === "waiting" && !job.paused && job.ahead && job.starts_in) {
    parts.push(say("starts_in", { seconds: Math.max(0, Math.ceil(job.starts_in - since)) }));
  }
  if (job.state === "running" && job.remaining !== null && job.remaining !== undefined) {
    parts.push(say("remaining", { seconds: Math.max(0, Math.ceil(job.remaining - since)) }));
  }
  find(".clock").textContent = parts.join(" · ");
}

function drawProgress() {
  const percent = Math.round(100 * (job.progress || 0));
  const said = lost ? say("reconnecting") : message();
  find(".fill").style.width = job.state === "waiting" || job.state === "loading" ? "" : `${percent}%`;
  find(".progress").hidden = job.state === "idle";
  root.toggleAttribute("data-paused", isPaused());
  find(".resume").hidden = !isPaused() || !job.home;
  find(".progress").setAttribute("aria-valuenow", percent);
  find(".progress").setAttribute("aria-label", say("progress"));
  find(".message").textContent = said;
  find(".empty p").textContent = job.state === "idle" ? say("idle") : said;
  find(".warnings").replaceChildren(...(job.warnings || []).map((text) => make("li", "", text)));
  // For screen readers: announced once per stage and state, not at every step.
  const spoken = job.state === "running" && !lost ? say("badge", stageWords(job.current)) : said;
  if (find(".spoken").textContent !== spoken) find(".spoken").textContent = spoken;
  drawClock();
}

// A stage's number counts all stages, as the tabs do, also those that don't run.
function stageWords(index) {
  return { stage: job.stages[index].number, stages: job.stages.at(-1).number, name: job.stages[index].name };
}

find(".resume").textContent = say("queue_resume");
find(".resume").title = say("queue_resume_title");
find(".resume").onclick = async () => {
  const data = await page.postJson("queue.json", { do: "resume" });
  if (!data || data.error) page.toast(data?.error || say("queue_unreachable"));
  document.dispatchEvent(new CustomEvent("studio:queue"));
};

setInterval(() => busy(job.state) && drawClock(), 500);

// During a run the server sends a snapshot at least twice a second. After SILENCE without one, a message is shown. When
// the server answers again it may be a new process, which knows the run but not this page's session, so the page is
// reloaded; it then shows the run again, and connection.js restores what was typed.
const SILENCE = 5e3;

async function listen() {
  if (!busy(job.state) || document.hidden || performance.now() - followed < SILENCE) return;
  if (!lost) {
    lost = true;
    root.dataset.lost = "";
    draw();
  }
  const answer = await fetch("health", { cache: "no-store" }).catch(() => null);
  if (!answer?.ok || !lost) return;
  page.keepTyped();
  location.reload();
}
setInterval(listen, 1e3);
document.addEventListener("studio:back", () => (followed = performance.now()));

// Facts

async function loadFacts(picture) {
  const found = await page.facts(picture);
  if (picture !== shownPicture() || facts === found) return;
  facts = found;
  if (facts.gone) forget([picture]);
  if (facts.missing) page.toast(facts.missing, ...(facts.gone ? [] : [makeButton("retry", say("try_again"), "", retryFacts)]));
  draw();
}

function retryFacts() {
  facts = null;
  draw();
}

function drawFacts() {
  const picture = shownPicture();
  const open = Boolean(picture) && detailed();
  find(".facts").hidden = !open;
  root.toggleAttribute("data-details", open);
  if (!picture) return;
  if (facts?.id !== picture) {
    loadFacts(picture);
    return;
  }
  if (find(".facts").dataset.picture === picture) return;
  find(".facts").dataset.picture = facts.missing ? "" : picture;
  find(".facts h2").textContent = facts.missing || say("facts");
  find(".facts dl").replaceChildren(...facts.rows.flatMap((row) => [make("dt", "", row.title), make("dd", "", row.text)]));
}

find(".facts .close").onclick = () => {
  toggleDetails();
  find(".acts .details")?.setAttribute("aria-expanded", "false");
  find(".acts .details")?.focus();
};
page.setLabel(find(".facts .close"), say("facts_close"));

// The latest pictures

function makeThumb(item) {
  const cell = make("div", "cell");
  cell.dataset.picture = item.id;
  const button = makeButton("thumb", "", "", () => {
    select({ picture: item.id });
    showOnPhone();
  });
  button.title = item.label;
  button.append(Object.assign(make("img"), { loading: "lazy", alt: item.label, src: `pictures/${item.id}.jpg` }));
  const around = () => {
    const at = strip.findIndex((each) => each.id === item.id);
    return { neighbour: (strip[at + 1] || strip[at - 1])?.id };
  };
  cell.append(button, page.makeMore(cell, item, around));
  return cell;
}

function drawStrip() {
  find(".strip").hidden = !strip.length;
  find(".strip h2").textContent = say("latest");
  const box = find(".pictures");
  const known = new Map([...box.children].map((node) => [node.dataset.picture, node]));
  const wanted = strip.map((item) => known.get(item.id) || makeThumb(item));
  if (wanted.length !== box.children.length || wanted.some((node, index) => node !== box.children[index])) {
    box.replaceChildren(...wanted);
  }
  for (const node of wanted) {
    node.querySelector(".thumb").setAttribute("aria-pressed", String(node.dataset.picture === shownPicture()));
  }
}

// Removes deleted pictures.
function forget(ids) {
  strip = strip.filter((item) => !ids.includes(item.id));
  if (ids.includes(selection?.picture)) select({});
  if (!ids.includes(job.picture)) return;
  sessionStorage.removeItem("studio-asked");
  job = { id: "", state: "idle", stages: [], examples: job.examples };
}

document.addEventListener("studio:pictures", (event) => {
  const { what, ids } = event.detail;
  facts = null;
  drawnActs = "";
  if (what === "delete") forget(ids);
  draw();
  if (what === "undo") fetchStrip();
});

async function fetchStrip() {
  const data = await page.fetchJson("history");
  if (!data?.items) return;
  strip = data.items.slice(0, STRIP);
  draw();
}

// Examples, before the first picture

function drawOffer() {
  const offered = (job.state === "idle" && !strip.length && job.examples) || [];
  find(".offer").hidden = !offered.length;
  find(".frame").hidden = offered.length > 0;
  if (find(".cards").children.length === offered.length) return;
  find(".offer h2").textContent = say("offer");
  find(".offer p").textContent = say("offer_about");
  const cards = offered.map(({ name, prompt }) => {
    const card = makeButton("card", "", "", () => page.act("example", { name }));
    card.append(Object.assign(make("img"), { alt: "", src: `examples/${name}.jpg` }), make("span", "", prompt));
    return card;
  });
  find(".cards").replaceChildren(...cards);
}

// Drawing everything

function select(at) {
  selection = at;
  if (at.picture || at.stage !== undefined) sessionStorage.setItem(SELECTION, JSON.stringify({ job: job.id, ...at }));
  else sessionStorage.removeItem(SELECTION);
  draw();
}

function draw() {
  root.dataset.state = job.state;
  root.dataset.job = job.id || "";
  const tiles = shownTiles();
  const shown = shownStage(tiles);
  drawRail(tiles, shown);
  drawPicture(tiles, shown);
  drawProgress();
  drawActs(tiles, shown);
  drawFacts();
  drawStrip();
  drawOffer();
}

// In the narrow layout, where the columns are stacked, the picture may be scrolled out of view.
function showOnPhone() {
  if (innerWidth <= 860) find(".stand").scrollIntoView({ block: "start" });
}

// Restores the selection after a reload (change of language, restart of the server).
function restoreSelection() {
  const before = JSON.parse(sessionStorage.getItem(SELECTION) || "null");
  if (before?.picture || (before && before.job === job.id)) selection = { picture: before.picture, stage: before.stage };
}

function applyValue() {
  const value = props.value;
  if (!value?.job) return;
  const before = job;
  const first = !received;
  job = value.job;
  if (first && job.lost) job = { id: "", state: "idle", stages: [] };
  // Each snapshot repeats the strip from the run's start; pictures deleted since must not return.
  const sending = JSON.stringify(value.strip);
  if (value.strip && sending !== sent) [strip, sent] = [value.strip, sending];
  received = followed = performance.now();
  page.forgetTyped();
  lost = false;
  delete root.dataset.lost;
  root.dataset.ready = "";
  const begun = job.id !== before.id;
  if (first) restoreSelection();
  // A selected picture stays selected. A selected stage doesn't: it belongs to an earlier run, or its run has ended.
  else if (!selection?.picture && (begun || (busy(before.state) && !busy(job.state)))) select({});
  if (begun && busy(job.state)) showOnPhone();
  if (job.state !== before.state) {
    document.dispatchEvent(new CustomEvent("studio:run-stages", { detail: stageSources(job.stages.map(runTile)) }));
    document.dispatchEvent(new CustomEvent("studio:job", { detail: job.state }));
  }
  document.dispatchEvent(new CustomEvent("studio:progress", { detail: { state: job.state, progress: job.progress || 0 } }));
  draw();
}

// Generate was pressed: show the new run.
document.addEventListener("studio:submitted", () => select({}));

watch("value", applyValue);
applyValue();
