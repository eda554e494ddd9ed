// Files that are dropped anywhere on the page, pasted or chosen with the button, and pictures of the page itself that are
// dropped on the settings. The server reads their settings (drop.py),
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

// That files which were dropped together with others weren't used; empty if all were.
function unread(files, ...used) {
  const count = files.filter((file) => !used.includes(file)).length;
  return count ? say("drop_unread", { count, all: files.length }) : "";
}

function showError(...texts) {
  const text = texts.filter(Boolean).join(" ");
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

function show(file, found, ...notes) {
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
    ...notes,
    found.start?.file ? say("drop_start", { file: found.start.file }) : "",
    found.left.length ? "" : say("drop_all"),
  ]);
}

// A picture without settings is no error: it may be meant as a start picture.
function showPlain(...notes) {
  for (const list of ["taken", "translated", "left"]) fillList(list, []);
  find(".undo").hidden = find(".take-settings").hidden = true;
  openCard(say("drop_plain"), notes);
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
  find(".problem").textContent = "";
  document.dispatchEvent(new CustomEvent("studio:start", { detail: file }));
}

async function read(files) {
  const file = files.find((one) => /\.json$/i.test(one.name)) || files[0];
  if (!file) return;
  const isPicture = /\.(png|jpe?g|webp)$/i.test(file.name);
  if (isPicture && file.name === awaited) return startFrom(file, files);
  if (file.size > largest) return showError(say("drop_too_big", { name: file.name }), unread(files, file));
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
  const first = start ? together(files, start.file) : found.plain || isPicture ? file : null;
  const note = unread(files, file, first, start?.mask);
  offerStart(first);
  if (found.error) showError(found.error, note);
  else if (found.plain) showPlain(found.plain, note);
  else show(file, found, note);
}

// One of the files that were dropped together becomes the start picture.
function startFrom(file, files) {
  useAsStart(file);
  tellUnread(files, file);
}

function tellUnread(files, file) {
  const note = unread(files, file);
  if (note) page.toast(note);
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

// Dropping: caught in the capture phase, before Gradio's components take the file. A picture of the page itself comes as
// an address; it is taken at the settings only, so that a slip of the mouse in the history changes nothing.

const holds = (event, type) => Boolean(event.dataTransfer?.types.includes(type));
const typed = (event) => event.target.closest?.("input, textarea, [contenteditable]");
const takes = (event) =>
  holds(event, "Files") ||
  (holds(event, "text/uri-list") && Boolean(event.target.closest?.("#left")) && !typed(event));

// The path of the whole picture for that of its thumbnail.
const whole = (path) => path.replace(/(\/pictures\/[^/]+)\.jpg$/, "$1.png").replace(/(\/inputs\/[^/]+)\.jpg$/, "$1");

// A picture of the page itself, or a preview, as a file; nothing if it can't be had.
async function fetchPicture(text) {
  const { protocol, origin, pathname } = new URL(text);
  const isPreview = protocol === "data:";
  if (!isPreview && origin !== location.origin) return showError(say("drop_foreign"));
  const answer = await fetch(isPreview ? text : whole(pathname)).catch(() => null);
  if (!answer?.ok) return showError(await page.reason(answer));
  return new File([await answer.blob()], isPreview ? "preview.jpg" : lastName(whole(pathname)));
}

function take(files, target) {
  const into = (place) => target.closest?.(place);
  if (into(".many .batch")) {
    document.dispatchEvent(new CustomEvent("studio:batch", { detail: files[0] }));
    tellUnread(files, files[0]);
  } else if (into(".start")) startFrom(files[0], files);
  else read(files);
}

function hover(event) {
  overlay.hidden = !takes(event);
  if (overlay.hidden) return;
  event.preventDefault();
  event.stopPropagation();
  event.dataTransfer.dropEffect = "copy";
}
addEventListener("dragenter", hover, true);
addEventListener("dragover", hover, true);
addEventListener("dragleave", (event) => (overlay.hidden ||= !event.relatedTarget), true);
addEventListener(
  "drop",
  async (event) => {
    overlay.hidden = true;
    if (!takes(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const { target } = event;
    const files = [...event.dataTransfer.files];
    const [address] = event.dataTransfer.getData("text/uri-list").split(/[\r\n]+/);
    const picture = files.length || !address ? null : await fetchPicture(address);
    if (picture) files.push(picture);
    if (files.length) take(files, target);
  },
  true
);

// Pasting: files are taken as if they were dropped. Text that is pasted into a field stays text, also where the program
// that it comes from adds a picture of it, as spreadsheets do.
addEventListener(
  "paste",
  (event) => {
    const { files, types } = event.clipboardData;
    if (!files.length || document.querySelector("dialog[open]") || (typed(event) && types.includes("text/plain"))) return;
    event.preventDefault();
    event.stopPropagation();
    read([...files]);
  },
  true
);
