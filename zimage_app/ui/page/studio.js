// Helpers for all scripts of the page: elements (texts are never parsed as HTML), buttons, the page's texts, keys, the
// clipboard.
window.studio.make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};

window.studio.makeButton = (className, text, label, act) => {
  const button = window.studio.make("button", className, text);
  button.type = "button";
  if (label) window.studio.setLabel(button, label);
  button.onclick = act;
  return button;
};

window.studio.setLabel = (node, label) => {
  node.title = label;
  node.setAttribute("aria-label", label);
};

window.studio.makeTableRow = (tag, texts) => {
  const row = window.studio.make("tr");
  row.append(...texts.map((text) => window.studio.make(tag, "", text)));
  return row;
};

// A dialog with a heading and a button that closes it; a click beside it closes it as well.
window.studio.makeDialog = (className, title, closeText, closeLabel) => {
  const { make, makeButton } = window.studio;
  const [dialog, head, heading] = [make("dialog", className), make("header"), make("h2", "", title)];
  heading.id = `${className}-heading`;
  dialog.setAttribute("aria-labelledby", heading.id);
  head.append(heading, makeButton("close", closeText, closeLabel, () => dialog.close()));
  dialog.append(head);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return dialog;
};

// Opens a dialog. When it closes, it is removed, and the focus returns to where it was.
window.studio.openDialog = (dialog) => {
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    dialog.remove();
    before?.focus?.();
  });
  document.body.append(dialog);
  dialog.showModal();
};

// The parsed JSON of a response; null where the server can't be reached or the response isn't JSON.
window.studio.fetchJson = async (address, options) => {
  const answer = await fetch(address, options).catch(() => null);
  return answer ? answer.json().catch(() => null) : null;
};

window.studio.postJson = (address, data) =>
  window.studio.fetchJson(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data) });

// For requests whose answers may arrive out of order: begin() starts one, and returns a function that says whether it is
// still the newest.
window.studio.makeSequence = () => {
  let newest = 0;
  return function begin() {
    newest += 1;
    const number = newest;
    return () => number === newest;
  };
};

// Returns a function that calls act once it has not been called again for some milliseconds.
window.studio.debounce = (act, milliseconds) => {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, milliseconds);
  };
};

// Redraws the contents of root once nothing in it is pressed: a button that is replaced before its release gets no
// click.
const redraws = new WeakMap(); // root: timer
const releaseMs = 50; // milliseconds between two checks

window.studio.whenReleased = (root, draw) => {
  clearTimeout(redraws.get(root));
  if (root.matches(":active")) redraws.set(root, setTimeout(() => window.studio.whenReleased(root, draw), releaseMs));
  else draw();
};

window.studio.say = (key, values = {}) => window.studio.words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

// This tab's settings, which are restored after a reload even if another tab has saved its own since. Settings longer
// than the server accepts (web/json_bodies.py) couldn't be restored, so they are not saved.
const SETTINGS = "studio-settings"; // sessionStorage
const MAX_SAVED_BYTES = 256 * 2 ** 10; // bytes

window.studio.keptSettings = () => JSON.parse(sessionStorage.getItem(SETTINGS));

window.studio.keepSettings = (before, settings) => {
  const text = JSON.stringify(settings);
  if (!window.studio.restored || new Blob([text]).size > MAX_SAVED_BYTES) return before;
  sessionStorage.setItem(SETTINGS, text);
  return settings;
};

// Whether a key belongs to an input method, such as the Enter that takes over Pinyin. In Safari, isComposing is false for
// the last key, but its code is 229.
window.studio.composing = (event) => event.isComposing || event.keyCode === 229;

// Copies a text. Over plain http on a local network navigator.clipboard is missing, so execCommand is the fallback.
window.studio.writeText = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const before = document.activeElement;
    const field = window.studio.make("textarea");
    field.value = text;
    field.style.cssText = "position: fixed; opacity: 0;";
    (document.querySelector("dialog[open]") || document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    before?.focus();
  }
};

// Copies a text and confirms it on the button for a moment.
window.studio.copy = async (text, button) => {
  await window.studio.writeText(text);
  button.dataset.says ??= button.textContent;
  button.textContent = window.studio.words.copied;
  setTimeout(() => (button.textContent = button.dataset.says), 1500);
};

// The error message of a failed response: of JSON with "error" (Gradio: "detail"), or plain text; one for no response.
window.studio.reason = async (answer) => {
  const text = (await answer?.text().catch(() => "")) || window.studio.say("history_unreachable");
  try {
    const { error, detail } = JSON.parse(text);
    return error || detail || text;
  } catch {
    return text;
  }
};

// Handles requests that the server refuses before any handler runs (web/refusal.py). A login ends with the app; then the
// page is reloaded, which shows the login. Refused calls of handlers are shown here, because Gradio only logs them. The
// message of a refused script function becomes its result, because Gradio would drop it.
const send = window.fetch;
window.fetch = async (...call) => {
  const answer = await send(...call);
  if (answer.ok) return answer;
  const error = (await answer.clone().json().catch(() => null))?.error;
  if (answer.status === 401 && error) location.reload();
  const way = /\/gradio_api\/(run|component_server)\//.exec(answer.url)?.[1];
  if (!way || !error) return answer;
  if (way === "component_server") return new Response(JSON.stringify({ error }));
  window.studio.toast(error);
  return answer;
};

// Sends requests that submit pictures or change fields one at a time: over several connections, a later request could
// arrive before an earlier one. Each is sent after the response to the previous one. Gradio doesn't report every failed
// request, so the wait ends after maxTurnMs.
const turns = [];
const maxTurnMs = 10000; // milliseconds
let fields = []; // values of all fields, as Gradio reported them last

document.addEventListener("studio:settings", ({ detail }) => (fields = Object.values(detail)));
document.addEventListener("studio:refused", () => turns[0] && (turns[0].refused = true));

// Returns the turn once it has come; its ``afterChange`` says whether fields have changed during the wait.
async function wait(changes, isPress = false) {
  const before = turns.at(-1);
  const turn = { changes, isPress, afterChange: turns.some((each) => each.changes) };
  turn.over = new Promise((end) => (turn.end = end));
  turns.push(turn);
  await before?.over;
  turn.timer = setTimeout(window.studio.endTurn, maxTurnMs);
  if (before) await new Promise((done) => setTimeout(done)); // until Gradio has reported the change to the scripts
  return turn;
}

// The values of a handler whose last inputs are the fields: Gradio has read them before the wait.
function current(turn, values) {
  const others = values.length - fields.length;
  return turn.afterChange && others >= 0 ? [...values.slice(0, others), ...fields] : values;
}

window.studio.waitForTurn = async (changes, values) => current(await wait(changes), values);

// For handlers that make a picture from the fields. On studio:press scripts commit what is still being typed. If a
// change since the press before is refused, no picture is made: when this script throws, Gradio drops the trigger, and
// continues as after a failure, which ends the turn. A refusal that is reported late is noted at this turn itself.
window.studio.waitForGenerateTurn = async (changes, values) => {
  document.dispatchEvent(new CustomEvent("studio:press"));
  const before = turns.slice(turns.findLastIndex((each) => each.isPress) + 1);
  const turn = await wait(changes, true);
  if ([...before, turn].some((each) => each.refused)) throw new Error("a change before this press was refused");
  return current(turn, values);
};

// Calls act, which triggers a handler that changes fields, once it is its turn; Gradio would drop a trigger while the
// same handler is running. act returns false if it triggered nothing. Resolves once the change is made or refused.
window.studio.queueChange = async (act) => {
  const turn = await wait(true);
  if (act() === false) window.studio.endTurn();
  await turn.over;
};

window.studio.endTurn = () => {
  const turn = turns.shift();
  clearTimeout(turn?.timer);
  turn?.end();
};
