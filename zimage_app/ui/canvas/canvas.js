// The canvas: stage rail, big picture, progress, facts and history strip. It draws props.value, which is
// {job, strip} as canvas.py makes it, and decides nothing. Every text goes in through textContent.
const page = window.studio;
const { make, say } = page;
const root = element.querySelector(".canvas");
const find = (selector) => root.querySelector(selector);
const busy = (state) => ["waiting", "loading", "running", "stopping", "saving"].includes(state);

let job = { state: "idle", stages: [] };
let received = 0; // when the newest snapshot came, so that the clock runs on between two
let pin = null; // {stage} or {picture}: what the reader has chosen to look at
let facts = null; // of the picture on show

function setImage(image, source) {
  if (!source) image.removeAttribute("src");
  else if (image.getAttribute("src") !== source) image.setAttribute("src", source);
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
    pin = pin && pin.stage === index ? null : { stage: index };
    draw();
  };
  return tile;
}

function isLast(index) {
  return index === job.stages.length - 1;
}

function stageSource(index) {
  const stage = job.stages[index];
  if (!stage) return "";
  return isLast(index) && job.picture ? `pictures/${job.picture}.png` : stage.preview;
}

// The stages that can be looked at, for the compare view.
function stageSources() {
  return job.stages.flatMap(({ name, width, height }, index) => {
    const src = stageSource(index);
    return src ? [{ src, label: `${index + 1} ${name}`, width, height }] : [];
  });
}

function drawRail() {
  const rail = find(".rail");
  const count = Math.max(job.stages.length, 1);
  while (rail.children.length > count) rail.lastChild.remove();
  while (rail.children.length < count) rail.append(makeTile(rail.children.length));
  root.style.setProperty("--tiles", count);
  job.stages.forEach((stage, index) => drawTile(rail.children[index], stage, index));
}

function drawTile(tile, stage, index) {
  const [image, name, note, done] = ["img", "b", ".note", "i"].map((part) => tile.querySelector(part));
  const label = say("stage_picture", { stage: index + 1, name: stage.name });
  tile.setAttribute("aria-label", label);
  tile.setAttribute("aria-pressed", String(shownStage() === index));
  tile.disabled = !stageSource(index);
  tile.querySelector(".thumb").style.aspectRatio = `${stage.width} / ${stage.height}`;
  setImage(image, isLast(index) && job.picture ? `pictures/${job.picture}.jpg` : stage.preview);
  image.alt = "";
  name.textContent = `${index + 1} ${stage.name}`;
  const running = job.state === "running" && job.current === index;
  const size = `${stage.width}×${stage.height}`;
  const taken = stage.seconds ? `${stage.seconds.toFixed(1)} s` : running ? `${stage.step}/${stage.steps}` : size;
  note.textContent = stage.note || taken;
  done.style.width = `${(100 * stage.step) / (stage.steps || 1)}%`;
}

// Big picture

function shownStage() {
  if (pin) return pin.stage ?? null;
  if (job.picture) return job.stages.length - 1;
  for (let index = job.current ?? 0; index >= 0; index -= 1) if (stageSource(index)) return index;
  return null;
}

function shownPicture() {
  if (pin && pin.picture) return pin.picture;
  return job.picture && shownStage() === job.stages.length - 1 ? job.picture : "";
}

function drawPicture() {
  const picture = shownPicture();
  const index = shownStage();
  const stage = job.stages[index ?? job.stages.length - 1];
  const known = picture && facts && facts.id === picture && facts.width;
  const size = known ? facts : stage || { width: 672, height: 864 };
  root.style.setProperty("--aspect", size.width / size.height);
  const big = find(".big");
  setImage(big, picture ? `pictures/${picture}.png` : index === null ? "" : stageSource(index));
  big.alt = picture ? say("picture") : index === null ? "" : say("stage_picture", { stage: index + 1, name: stage.name });
  find(".zoom").disabled = !big.hasAttribute("src");
  const live = job.state === "running" && index !== null;
  find(".badge").textContent = live
    ? say("badge", { stage: index + 1, stages: job.stages.length, name: stage.name })
    : "";
}

find(".zoom").setAttribute("aria-label", say("zoom"));
find(".zoom").onclick = () => {
  const dialog = make("dialog", "studio-zoom");
  const image = make("img");
  image.src = find(".big").src;
  image.alt = find(".big").alt;
  dialog.append(image);
  dialog.onclick = () => dialog.close();
  dialog.onclose = () => dialog.remove();
  document.body.append(dialog);
  dialog.showModal();
};

// Progress

function message() {
  const stage = job.stages[job.current] || {};
  switch (job.state) {
    case "waiting":
      return job.ahead ? say("waiting", { ahead: job.ahead }) : say("waiting_next");
    case "loading":
      return job.loading || say("loading");
    case "running":
      if (!job.current && !stage.step) return say("starting");
      if (isLast(job.current) && stage.step === stage.steps) return say("saving");
      return say("step", { stage: job.current + 1, stages: job.stages.length, step: stage.step, steps: stage.steps });
    case "stopping":
      return say("stopping");
    case "saving":
      return say("saving");
    case "done":
      return say("done", { seconds: job.elapsed.toFixed(1) });
    case "cancelled":
      return say("cancelled");
    case "failed":
      return job.error || say("failed");
    default:
      return "";
  }
}

function drawClock() {
  const since = (performance.now() - received) / 1000;
  const parts = [];
  if (job.state === "running" || job.state === "loading") {
    parts.push(say("elapsed", { seconds: Math.floor(job.elapsed + since) }));
  }
  if (job.state === "waiting" && job.ahead && job.starts_in) {
    parts.push(say("starts_in", { seconds: Math.max(0, Math.ceil(job.starts_in - since)) }));
  }
  if (job.state === "running" && job.remaining !== null && job.remaining !== undefined) {
    parts.push(say("remaining", { seconds: Math.max(0, Math.ceil(job.remaining - since)) }));
  }
  find(".clock").textContent = parts.join(" · ");
}

function drawProgress() {
  const percent = Math.round(100 * (job.progress || 0));
  find(".fill").style.width = job.state === "waiting" || job.state === "loading" ? "" : `${percent}%`;
  find(".progress").setAttribute("aria-valuenow", percent);
  find(".progress").setAttribute("aria-label", say("progress"));
  find(".message").textContent = message();
  find(".empty p").textContent = job.state === "idle" ? say("idle") : message();
  find(".warnings").replaceChildren(...(job.warnings || []).map((text) => make("li", "", text)));
  // Spoken once per stage and state, not at every step.
  const spoken = job.state === "running" ? say("badge", stageWords()) : message();
  if (find(".spoken").textContent !== spoken) find(".spoken").textContent = spoken;
  drawClock();
}

function stageWords() {
  return { stage: job.current + 1, stages: job.stages.length, name: job.stages[job.current].name };
}

setInterval(() => busy(job.state) && drawClock(), 500);

// A server that was started again knows the job, but not this page. When nothing has been heard of a run for long and
// the server answers, the page is loaded anew, which shows the run again. What was typed before is remembered; what was
// typed while nobody listened is not, so then the page stays.
const SILENCE = 15e3;
const ONCE_IN = 60e3;
let typed = 0;
document.addEventListener("input", () => (typed = performance.now()), true);

async function reattach() {
  if (!busy(job.state) || document.hidden || performance.now() - received < SILENCE || typed > received) return;
  const before = Number(sessionStorage.getItem("studio-reattached")) || 0;
  if (Date.now() - before < ONCE_IN) return;
  const answer = await fetch("health", { cache: "no-store" }).catch(() => null);
  if (!answer || !answer.ok) return;
  sessionStorage.setItem("studio-reattached", Date.now());
  location.reload();
}
setInterval(reattach, 3e3);

// Facts

async function loadFacts(picture) {
  const answer = await fetch(`pictures/${picture}.json`).catch(() => null);
  if (!answer || picture !== shownPicture()) return;
  facts = answer.ok ? await answer.json() : { id: picture, rows: [], missing: await answer.text() };
  draw();
}

function drawFacts() {
  const picture = shownPicture();
  find(".facts").hidden = !picture;
  if (!picture) return;
  const loaded = facts && facts.id === picture;
  find(".copy").disabled = !loaded;
  if (!loaded) {
    loadFacts(picture);
    return;
  }
  find(".facts").dataset.picture = picture;
  find(".facts h2").textContent = facts.missing || say("facts");
  const rows = facts.rows.flatMap((row) => [make("dt", "", row.title), make("dd", "", row.text)]);
  find(".facts dl").replaceChildren(...rows);
  find(".download").href = `pictures/${picture}.png?download`;
  find(".workflow").href = `workflows/${picture}.json`;
  for (const button of root.querySelectorAll(".facts .button")) button.hidden = Boolean(facts.missing);
  page.fillUpscalers(find(".upscaler"), facts.upscalers || []);
  find(".stages").hidden = picture !== job.picture || stageSources().length < 2;
}

find(".download").textContent = say("download");
find(".download").setAttribute("download", "");
find(".workflow").textContent = say("workflow");
find(".reuse").textContent = say("reuse");
find(".copy").textContent = say("copy_seed");
find(".again").textContent = say("again");
find(".again").onclick = () => trigger("again", { id: shownPicture() });
find(".upscale").textContent = say("upscale");
find(".upscale").onclick = () => trigger("upscale", { id: shownPicture(), upscaler: find(".upscaler").value });
find(".stages").textContent = say("compare_stages");
find(".stages").onclick = () => document.dispatchEvent(new CustomEvent("studio:compare", { detail: { sources: stageSources() } }));
find(".reuse").onclick = () => trigger("reuse", { id: shownPicture() });
find(".copy").onclick = () => page.copy(facts.seed, find(".copy"));

// History strip

function makeThumb(item) {
  const button = make("button", "thumb");
  button.type = "button";
  button.dataset.picture = item.id;
  const image = make("img");
  image.src = `pictures/${item.id}.jpg`;
  image.alt = item.label;
  image.loading = "lazy";
  button.title = item.label;
  button.append(image);
  button.onclick = () => {
    pin = { picture: item.id };
    draw();
    showOnPhone();
  };
  return button;
}

function drawStrip(items) {
  find(".strip").hidden = !items.length;
  find(".strip h2").textContent = say("today");
  const box = find(".pictures");
  const known = new Map([...box.children].map((node) => [node.dataset.picture, node]));
  const wanted = items.map((item) => known.get(item.id) || makeThumb(item));
  if (wanted.length !== box.children.length || wanted.some((node, index) => node !== box.children[index])) {
    box.replaceChildren(...wanted);
  }
  for (const node of wanted) node.setAttribute("aria-pressed", String(node.dataset.picture === shownPicture()));
}

// All of it

function draw() {
  root.dataset.state = job.state;
  root.dataset.job = job.id || "";
  drawRail();
  drawPicture();
  drawProgress();
  drawFacts();
  drawStrip((props.value && props.value.strip) || []);
}

// Where the columns stand below one another, the picture may be out of sight.
function showOnPhone() {
  if (innerWidth <= 860) find(".stand").scrollIntoView({ block: "start" });
}

function take() {
  const before = job;
  job = (props.value && props.value.job) || before;
  received = performance.now();
  const begun = job.id !== before.id;
  if (begun || (busy(before.state) && !busy(job.state))) pin = null;
  if (begun && busy(job.state)) showOnPhone();
  if (job.state !== before.state) document.dispatchEvent(new CustomEvent("studio:run-stages", { detail: stageSources() }));
  if (job.state !== before.state) document.dispatchEvent(new CustomEvent("studio:job", { detail: job.state }));
  draw();
}

watch("value", take);
take();
