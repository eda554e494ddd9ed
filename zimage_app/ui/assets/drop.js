// Settings from a file that is dropped anywhere on the page or chosen with the button: the server reads it (drop.py),
// the lists of what became of it are shown here, and the settings go the way of "use these settings". A picture that is
// dropped may be meant to start from (start.js) as well, so that is asked.
const page = window.studio;
const { make, say } = page;
const root = element.querySelector(".drop");
const part = (name) => root.querySelector(name);
const largest = 64 * 2 ** 20;

const overlay = make("div");
overlay.className = "drop-overlay";
overlay.hidden = true;
overlay.append(make("p"));
overlay.firstChild.textContent = say("drop_here");
document.body.append(overlay);

let newest = 0;

function complain(text) {
  part(".found").hidden = true;
  part(".problem").textContent = text;
  part(".problem").scrollIntoView({ block: "nearest" });
}

function fillList(name, lines) {
  const box = part(`.${name}`);
  box.hidden = !lines.length;
  part(`.${name} summary`).textContent = say(`drop_${name}`, { count: lines.length });
  part(`.${name} ul`).replaceChildren(
    ...lines.map((line) => {
      const entry = make("li");
      entry.textContent = line;
      return entry;
    })
  );
}

function show(name, found, count) {
  part("h2").textContent = say("drop_from", { name, source: found.source });
  const notes = [count > 1 ? say("drop_one", { count }) : "", found.left.length ? "" : say("drop_all")];
  part(".note").textContent = notes.filter(Boolean).join(" ");
  part(".note").hidden = !part(".note").textContent;
  for (const list of ["taken", "translated", "left"]) fillList(list, found[list]);
  part(".found").hidden = false;
  part(".found").focus({ preventScroll: true });
  part(".found").scrollIntoView({ block: "nearest" });
}

// What may be done with a picture: settings are there where the server found some.
function offer(file, found) {
  part(".take-settings").hidden = !found;
  part(".take-settings").onclick = () => {
    part(".take-settings").hidden = true;
    trigger("fill", { settings: found.settings, model: found.model });
  };
  part(".start-from").onclick = () => {
    part(".choices").hidden = true;
    part(".problem").textContent = "";
    document.dispatchEvent(new CustomEvent("studio:start", { detail: file }));
  };
  part(".choices").hidden = false;
}

async function read(files, { dropped = false } = {}) {
  const file = files[0];
  if (!file) return;
  const isPicture = /\.(png|jpe?g|webp)$/i.test(file.name);
  part(".choices").hidden = true;
  if (file.size > largest) return complain(say("drop_too_big", { name: file.name }));
  newest += 1;
  const turn = newest;
  part(".found").hidden = true;
  part(".problem").textContent = "";
  part(".choose").textContent = say("drop_reading", { name: file.name });
  let found;
  try {
    const answer = await fetch(`import?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file });
    found = await answer.json();
  } catch {
    found = { error: say("drop_unreachable") };
  }
  // A second file may have come meanwhile.
  if (turn !== newest) return;
  part(".choose").textContent = say("drop_choose");
  if (isPicture) offer(file, dropped && !found.error ? found : null);
  if (found.error) return complain(found.error);
  show(file.name, found, files.length);
  if (dropped && isPicture) part(".take-settings").focus({ preventScroll: true });
  else trigger("fill", { settings: found.settings, model: found.model });
}

// The button

const chooser = part("input");
part(".choose").textContent = say("drop_choose");
part(".choose").title = say("drop_hint");
part(".take-settings").textContent = say("drop_use");
part(".start-from").textContent = say("drop_begin");
part(".choices").setAttribute("aria-label", say("drop_choices"));
part(".choose").onclick = () => chooser.click();
chooser.setAttribute("aria-label", say("drop_choose"));
chooser.onchange = () => {
  read([...chooser.files]);
  chooser.value = "";
};

// The panel

part(".close").setAttribute("aria-label", say("drop_close"));
part(".found").setAttribute("aria-label", say("drop_choose"));
function close() {
  part(".found").hidden = true;
  part(".choices").hidden = true;
  part(".choose").focus();
}
part(".close").onclick = close;
part(".found").onkeydown = (event) => {
  if (event.key !== "Escape") return;
  event.stopPropagation();
  close();
};

// The drop, anywhere; caught before any component of the page takes the file for itself

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
    if (event.target.closest?.(".start")) document.dispatchEvent(new CustomEvent("studio:start", { detail: files[0] }));
    else read(files, { dropped: true });
  },
  true
);
