// Files that are dropped anywhere on the page or chosen with the button. The server reads their settings (drop.py),
// which are filled in at once. A panel lists what was taken over and what not, and offers to undo. For a picture it
// also offers to use it as the start picture (start.js); for one without settings, only that.
const page = window.studio;
const { make, say } = page;
const root = element.querySelector(".drop");
const find = (name) => root.querySelector(name);
const largest = 64 * 2 ** 20;

const overlay = make("div", "drop-overlay");
overlay.hidden = true;
overlay.append(make("p", "", say("drop_here")));
document.body.append(overlay);

const begin = page.makeSequence();

function showError(text) {
  find(".found").hidden = true;
  find(".problem").textContent = text;
  find(".problem").scrollIntoView({ block: "nearest" });
}

function fillList(name, lines) {
  const box = find(`.${name}`);
  box.hidden = !lines.length;
  find(`.${name} summary`).textContent = say(`drop_${name}`, { count: lines.length });
  find(`.${name} ul`).replaceChildren(...lines.map((line) => make("li", "", line)));
}

// The values of all fields, from the event studio:settings; and their values before a file was filled in.
let present = null;
let before = null;
document.addEventListener("studio:settings", (event) => (present = event.detail));

function fill(found) {
  before = present;
  trigger("fill", { settings: found.settings, model: found.model });
  expectStart(found.start);
  offerUndo(true);
}

// Where the file names a start picture that isn't uploaded yet, start.js keeps its settings until it is.
let awaited = "";
function expectStart(start) {
  awaited = start?.file ? lastName(start.file) : "";
  document.dispatchEvent(new CustomEvent("studio:start-pending", { detail: start }));
}

function offerUndo(filled) {
  find(".undo").hidden = !filled || !before;
  find(".take-settings").hidden = filled;
}

function look(file) {
  URL.revokeObjectURL(find(".look").src);
  find(".look").hidden = !file;
  if (file) find(".look").src = URL.createObjectURL(file);
  else find(".look").removeAttribute("src");
}

function openCard(title, notes) {
  find("h2").textContent = title;
  find(".note").textContent = notes.filter(Boolean).join(" ");
  find(".note").hidden = !find(".note").textContent;
  find(".found").hidden = false;
  find(".found").focus({ preventScroll: true });
  find(".found").scrollIntoView({ block: "nearest" });
}

function show(file, found, count) {
  const { name } = file;
  for (const list of ["taken", "translated", "left"]) fillList(list, found[list]);
  find(".take-settings").onclick = () => fill(found);
  find(".undo").onclick = () => {
    trigger("undo", { values: before });
    expectStart(null);
    offerUndo(false);
    find(".take-settings").focus();
  };
  fill(found);
  openCard(say("drop_from", { name, source: found.source }), [
    count > 1 ? say("drop_one", { count }) : "",
    found.start?.file ? say("drop_start", { file: found.start.file }) : "",
    found.left.length ? "" : say("drop_all"),
  ]);
}

// A picture without settings is no error: it may be meant as a start picture.
function showPlain(file, reason) {
  for (const list of ["taken", "translated", "left"]) fillList(list, []);
  find(".undo").hidden = find(".take-settings").hidden = true;
  openCard(say("drop_plain"), [reason]);
}

function offerStart(file) {
  look(file);
  find(".start-from").hidden = !file;
  find(".start-from").onclick = () => {
    find(".start-from").hidden = true;
    if (find(".undo").hidden && find(".take-settings").hidden) close();
    useAsStart(file);
  };
}

// The file name in a path from imported settings.
const lastName = (path) => path.split(/[\\/]/).pop();

// Of files that were dropped together, the one with the name in another one's settings.
function together(files, name) {
  return files.find((file) => file.name === lastName(name)) || null;
}

function useAsStart(file) {
  awaited = "";
  document.dispatchEvent(new CustomEvent("studio:start", { detail: file }));
}

async function read(files) {
  const file = files.find((one) => one.name.endsWith(".json")) || files[0];
  if (!file) return;
  const isPicture = /\.(png|jpe?g|webp)$/i.test(file.name);
  if (isPicture && file.name === awaited) return useAsStart(file);
  if (file.size > largest) return showError(say("drop_too_big", { name: file.name }));
  const isNewest = begin();
  find(".found").hidden = true;
  find(".problem").textContent = "";
  find(".choose").textContent = say("drop_reading", { name: file.name });
  let found;
  try {
    const answer = await fetch(`import?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    found = answer.ok ? await answer.json() : { error: await page.reason(answer) };
  } catch {
    found = { error: say("drop_unreachable") };
  }
  if (!isNewest()) return;
  find(".choose").textContent = say("drop_choose");
  const start = found.start;
  if (start) start.mask = together(files, start.mask_file);
  offerStart(start ? together(files, start.file) : isPicture ? file : null);
  if (!found.error) return show(file, found, start ? 1 : files.length);
  if (isPicture) return showPlain(file, found.error);
  showError(found.error);
}

// The button

const chooser = find("input");
find(".choose").textContent = say("drop_choose");
find(".choose").title = say("drop_hint");
find(".undo").textContent = say("drop_undo");
find(".take-settings").textContent = say("drop_use");
find(".start-from").textContent = say("drop_begin");
find(".choices").setAttribute("aria-label", say("drop_choices"));
find(".choose").onclick = () => chooser.click();
chooser.setAttribute("aria-label", say("drop_choose"));
chooser.onchange = () => {
  read([...chooser.files]);
  chooser.value = "";
};

// The panel

find(".close").setAttribute("aria-label", say("drop_close"));
function close() {
  find(".found").hidden = true;
  find(".choose").focus();
}
find(".close").onclick = close;
find(".found").onkeydown = (event) => {
  if (event.key !== "Escape") return;
  event.stopPropagation();
  close();
};

// Dropping anywhere: caught in the capture phase, before Gradio's components take the file

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
function hover(event) {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  event.stopPropagation();
  event.dataTransfer.dropEffect = "copy";
  overlay.hidden = false;
}
addEventListener("dragenter", hover, true);
addEventListener("dragover", hover, true);
addEventListener("dragleave", (event) => (overlay.hidden ||= !event.relatedTarget), true);
addEventListener(
  "drop",
  (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    overlay.hidden = true;
    const files = [...event.dataTransfer.files];
    const into = (place) => event.target.closest?.(place);
    if (into(".many .batch")) document.dispatchEvent(new CustomEvent("studio:batch", { detail: files[0] }));
    else if (into(".start")) useAsStart(files[0]);
    else read(files);
  },
  true
);
