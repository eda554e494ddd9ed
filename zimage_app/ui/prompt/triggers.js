// Trigger words as chips: those of the active LoRAs in the list's order, then the free ones. The free words are written
// to the field #knob-triggers, which the server reads; the LoRAs' words are stored in the LoRA list.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".triggers");
const list = root.querySelector("ul");
const input = root.querySelector("input");
const separators = ",，、\n";
const dragThreshold = 6; // pixels of movement before a press becomes a drag

let free = [];
let uses = []; // of LoRAs, as the request has them
let joined = null; // the words that the server puts before the prompt
let written = ""; // the value last written to the field
let drag = null;
let shown = ""; // the state that was drawn last

const block = () => document.getElementById("knob-triggers");
const field = () => block().querySelector("input, textarea");
const speak = (key, values) => (root.querySelector(".spoken").textContent = say(key, values));
const leaf = (name) => name.slice(name.lastIndexOf("/") + 1);
const folded = (word) => word.normalize("NFKC").toLowerCase().split(/\s+/).filter(Boolean).join(" ");
const drawn = (word) => /[{｛]|__/.test(word); // the result depends on the seed

// Splits words as the server does: a choice {a, b|c} is not split at its comma; an unclosed brace is no choice.
function cut(text) {
  const words = [""];
  let depth = 0;
  let before = "";
  for (const letter of text) {
    if (before !== "\\" && "{｛".includes(letter)) depth += 1;
    if (before !== "\\" && "}｝".includes(letter)) depth = Math.max(0, depth - 1);
    if (separators.includes(letter) && !depth) words.push("");
    else words[words.length - 1] += letter;
    before = letter;
  }
  return { words, closed: !depth };
}

function split(text) {
  const { words, closed } = cut(text);
  return (closed ? words : text.split(/[,，、\n]/)).map((word) => word.trim()).filter(Boolean);
}

// The field

function write() {
  written = [...free, ...split(input.value)].join(", ");
  field().value = written;
  field().dispatchEvent(new Event("input", { bubbles: true }));
}

function add(words) {
  const known = new Set(free.map(folded));
  for (const word of words) {
    if (known.has(folded(word))) continue;
    known.add(folded(word));
    free.push(word);
  }
}

function commit() {
  add(split(input.value));
  input.value = "";
  write();
  draw();
}

// Chips: {word, use}; use is the index of the word's LoRA in the list, null for a free word

function chips() {
  const on = uses.flatMap((use, place) =>
    use.strength !== 0 && Array.isArray(use.triggers) ? use.triggers.map((word) => ({ word, use: place })) : []
  );
  const seen = new Set();
  const once = on.filter(({ word }) => !seen.has(folded(word)) && seen.add(folded(word)));
  return [...once, ...free.map((word) => ({ word, use: null }))];
}

// The words among which a chip can be moved: those of its LoRA, or the free ones.
function group(chip) {
  return chip.use === null ? free : uses[chip.use].triggers;
}

function store(chip, words) {
  if (chip.use === null) {
    free = words;
    write();
  } else {
    uses[chip.use] = { ...uses[chip.use], triggers: words };
    document.dispatchEvent(new CustomEvent("studio:lora-triggers", { detail: { place: chip.use, triggers: words } }));
  }
}

function change(chip, words) {
  store(chip, words);
  draw();
}

function remove(chip) {
  const place = chips().findIndex((each) => each.word === chip.word && each.use === chip.use);
  change(chip, group(chip).filter((word) => word !== chip.word));
  speak("trigger_removed", { word: chip.word });
  const left = list.children;
  (left[Math.min(place, left.length - 1)] || input).focus();
}

function move(chip, to) {
  const words = [...group(chip)];
  const from = words.indexOf(chip.word);
  if (to < 0 || to >= words.length || to === from) return;
  words.splice(to, 0, words.splice(from, 1)[0]);
  change(chip, words);
  speak("trigger_moved", { word: chip.word, place: to + 1, count: words.length });
  focus(chip);
}

function focus(chip) {
  [...list.children].find((node) => node.chip.word === chip.word && node.chip.use === chip.use)?.focus();
}

function pressed(event, chip) {
  if (event.target !== event.currentTarget) return;
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  const nodes = [...list.children, input];
  if (event.key === "Delete" || event.key === "Backspace") remove(chip);
  else if (by && (event.altKey || event.ctrlKey)) move(chip, group(chip).indexOf(chip.word) + by);
  else if (by) nodes[Math.max(0, nodes.indexOf(event.currentTarget) + by)].focus();
  else return;
  event.preventDefault();
}

function makeChip(chip) {
  const node = make("li", chip.use === null ? "chip" : "chip of");
  const name = chip.use === null ? "" : leaf(uses[chip.use].name);
  const inPrompt = joined && !drawn(chip.word) && !joined.some((word) => folded(word) === folded(chip.word));
  const label = name ? say("trigger_of", { word: chip.word, name }) : chip.word;
  const text = inPrompt ? `${label}: ${say("trigger_held")}` : label;
  node.chip = chip;
  node.tabIndex = 0;
  node.title = text;
  node.setAttribute("aria-label", text);
  node.classList.toggle("held", Boolean(inPrompt));
  node.append(make("span", "word", chip.word));
  if (name) node.append(make("span", "name", name));
  const away = makeButton("away", "✕", say("trigger_remove", { word: chip.word }), () => remove(chip));
  away.tabIndex = -1;
  node.append(away);
  node.onkeydown = (event) => pressed(event, chip);
  node.onpointerdown = (event) => startDrag(event, chip, node);
  return node;
}

// Draws only after a change: a redraw would remove the chip below the pointer.
function draw() {
  const state = JSON.stringify([uses, free, joined]);
  if (state === shown) return;
  shown = state;
  const focused = list.contains(document.activeElement) ? document.activeElement.chip : null;
  list.replaceChildren(...chips().map(makeChip));
  list.hidden = !list.childElementCount;
  if (focused) focus(focused);
}

// Dragging, with the mouse or a finger

// Listens on the window: an element that is moved in the page loses the pointer capture.
function startDrag(event, chip, node) {
  if (event.button || event.target.closest("button")) return;
  drag = { chip, from: [event.clientX, event.clientY], moved: false };
  const follow = (each) => moveDragged(each, node);
  const drop = () => {
    const { moved } = drag;
    drag = null;
    for (const [kind, act] of listeners) window.removeEventListener(kind, act);
    if (!moved) return;
    shown = "";
    draw();
    focus(chip);
  };
  const listeners = [["pointermove", follow], ["pointerup", drop], ["pointercancel", drop]];
  for (const [kind, act] of listeners) window.addEventListener(kind, act);
}

function moveDragged(event, node) {
  if (!drag) return;
  const [x, y] = drag.from;
  if (!drag.moved && Math.hypot(event.clientX - x, event.clientY - y) < dragThreshold) return;
  drag.moved = true;
  node.classList.add("dragged");
  const over = document.elementsFromPoint(event.clientX, event.clientY).find((each) => each !== node && each.chip)?.chip;
  if (!over || over.use !== drag.chip.use) return;
  const words = [...group(drag.chip)];
  const [from, to] = [words.indexOf(drag.chip.word), words.indexOf(over.word)];
  words.splice(to, 0, words.splice(from, 1)[0]);
  const target = [...list.children].find((each) => each.chip === over);
  // Move the node itself; a new one would end the drag.
  if (from < to) target.after(node);
  else target.before(node);
  store(drag.chip, words);
}

// Typing

input.addEventListener("keydown", (event) => {
  if (page.composing(event)) return;
  if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    commit();
  } else if (event.key === "Backspace" && !input.value && free.length) {
    event.preventDefault();
    remove({ word: free[free.length - 1], use: null });
    input.focus();
  } else if (event.key === "ArrowLeft" && input.selectionEnd === 0) list.lastElementChild?.focus();
});

function typed(event) {
  if (page.composing(event)) return;
  const { words, closed } = cut(input.value);
  // A comma inside an unfinished choice doesn't end a word.
  if (closed && words.length > 1) {
    input.value = words.at(-1).trimStart();
    add(split(words.slice(0, -1).join(",")));
    draw();
  }
  write();
}

input.addEventListener("input", typed);
input.addEventListener("compositionend", () => typed({}));
input.addEventListener("blur", () => input.value.trim() && commit());
root.addEventListener("click", (event) => event.target === root && input.focus());

// Setting up

// The field only holds the value; it is hidden from keyboard and screen readers.
function hideField() {
  block().classList.add("with-chips");
  field().tabIndex = -1;
  field().setAttribute("aria-hidden", "true");
}

document.addEventListener("studio:settings", (event) => {
  if (!block()) return; // Gradio has not drawn it yet; the event comes again later
  hideField();
  const { triggers = "", loras = [] } = event.detail;
  uses = Array.isArray(loras) ? loras.filter((use) => use && typeof use.name === "string" && use.name) : [];
  if (drag) return;
  if (typeof triggers === "string" && triggers !== written) {
    written = triggers;
    free = [];
    add(split(triggers));
    input.value = "";
  }
  draw();
});

document.addEventListener("studio:prompt-preview", (event) => {
  joined = event.detail?.words || null;
  if (!drag) draw();
});

root.setAttribute("aria-label", say("trigger_words"));
input.setAttribute("aria-label", say("trigger_add"));
input.title = say("trigger_keys");
input.placeholder = say("trigger_add_short");
