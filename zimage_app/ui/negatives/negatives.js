// The library of negative prompts: categories, chips, favourites, own entries. The text of the negative field alone
// says which phrases are chosen; the server splits it and adds or removes phrases (negative_picker.py).
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".negatives");
const part = (name) => root.querySelector(name);
const plain = (text) => text.normalize("NFKC").toLowerCase().split(/\s+/).filter(Boolean).join(" ");
const debounceMs = 200; // milliseconds without a change, before the server is asked
const starred = "★"; // name of the category of favourites

let library = { categories: [], favourites: [], allowed: false };
let chosen = new Set(); // phrases of the negative field
let category = "";
let settings = {};
let timer = 0;
let newest = 0;
let toggles = Promise.resolve();

const field = () => document.querySelector("#knob-negative textarea");
const ask = (order) => server.negatives({ language: page.language, ...order }); // undefined after a failure

// The negative field

// Toggles run one after another, so that quick clicks do not undo each other; a toggle is repeated if the text has
// changed meanwhile.
function toggle(entry) {
  toggles = toggles.then(async () => {
    for (;;) {
      const text = field().value;
      const answer = await ask({ do: "toggle", text, entry });
      part(".answer").textContent = answer?.error || "";
      if (!answer || answer.error) return;
      if (field().value !== text) continue;
      field().value = answer.text;
      field().dispatchEvent(new Event("input", { bubbles: true }));
      return;
    }
  });
}

async function look() {
  newest += 1;
  const turn = newest;
  const answer = await ask({ do: "state", text: settings.negative || "", settings });
  // Answers may arrive out of order.
  if (!answer || answer.error || turn !== newest) return;
  chosen = new Set(answer.phrases.map(plain));
  const entries = library.categories.flatMap((each) => each.entries);
  const count = entries.filter((entry) => chosen.has(plain(entry.text))).length;
  const counts = [count ? say("negatives_chosen", { count }) : "", answer.tokens ? say("negatives_tokens", { tokens: answer.tokens }) : ""];
  part(".count").textContent = counts.filter(Boolean).join(" · ");
  part(".guide").hidden = !answer.guide;
  if (answer.guide) {
    const { stages, percent } = answer.guide;
    const words = { stages: stages.join(say("negatives_joint")), percent };
    part(".guide button").textContent = say(stages.length > 1 ? "negatives_guide_many" : "negatives_guide", words);
  }
  drawPressed();
}

// The library

async function change(order) {
  const answer = await ask(order);
  part(".answer").textContent = answer ? answer.error || "" : say("negatives_unreachable");
  if (!answer || answer.error) return false;
  library = answer;
  const focused = root.contains(document.activeElement) && document.activeElement.dataset?.key;
  draw();
  if (focused) root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  look();
  return true;
}

// Sorts categories with more hits first: for 手 (hand), hands before 手机 (phone).
function byHits(entries) {
  const hits = new Map();
  for (const { of } of entries) hits.set(of, (hits.get(of) || 0) + 1);
  return entries.sort((one, other) => hits.get(other.of) - hits.get(one.of));
}

function shown() {
  const words = plain(part("input[type=search]").value).split(" ").filter(Boolean);
  const all = library.categories.flatMap((each) => each.entries.map((entry) => ({ ...entry, of: each })));
  if (words.length) return byHits(all.filter((entry) => words.every((word) => plain(entry.search).includes(word))));
  if (category !== starred) return all.filter((entry) => entry.of.name === category);
  return library.favourites.map((text) => all.find((entry) => entry.text === text)).filter(Boolean);
}

function makeCategory(name, title) {
  const button = makeButton("", title, "", () => {
    category = name;
    part("input[type=search]").value = "";
    draw();
    root.querySelector(`[data-key="${CSS.escape(`category ${name}`)}"]`).focus();
  });
  button.dataset.key = `category ${name}`;
  button.setAttribute("aria-pressed", String(name === category));
  return button;
}

function makeChip(entry) {
  const chip = make("span", "chip");
  const names = page.language !== "en" ? [entry.text, entry.meaning] : [entry.meaning || entry.text, entry.text];
  const put = makeButton("put", names[0], "", () => toggle(entry.text));
  put.dataset.text = entry.text;
  put.dataset.key = `put ${entry.text}`;
  if (page.language === "en" && entry.meaning) put.append(make("span", "other", entry.text));
  put.title = [names[1], entry.when].filter((text) => text && text !== names[0]).join("\n");
  const tell = () => (part(".about").textContent = [names.join("  "), entry.when].filter(Boolean).join(" · "));
  chip.onpointerenter = tell;
  put.onfocus = tell;
  const favourite = library.favourites.includes(entry.text);
  const star = makeButton("star", favourite ? "★" : "☆", say("negatives_mark", { entry: names[0] }), () =>
    change({ do: favourite ? "unmark" : "mark", entry: entry.text })
  );
  star.dataset.key = `star ${entry.text}`;
  star.setAttribute("aria-pressed", String(favourite));
  chip.append(put);
  if (library.allowed) chip.append(star);
  if (library.allowed && entry.of.mine)
    chip.append(makeButton("remove", "✕", say("negatives_remove", { entry: names[0] }), () => change({ do: "remove", entry: entry.text })));
  return chip;
}

function draw() {
  const searching = Boolean(part("input[type=search]").value.trim());
  const filled = library.categories.filter((each) => each.entries.length);
  if (category !== starred && !filled.some((each) => each.name === category)) category = filled[0]?.name || starred;
  const categories = [makeCategory(starred, `★ ${say("negatives_favourites")}`), ...filled.map((each) => makeCategory(each.name, each.title))];
  part(".categories").replaceChildren(...categories);
  part(".categories").classList.toggle("aside", searching);
  const entries = shown();
  part(".entries").replaceChildren(...entries.map(makeChip));
  if (!entries.length) part(".entries").append(make("span", "none", say(searching ? "negatives_no_match" : "negatives_no_favourites")));
  part(".about").textContent = "";
  part(".problems").replaceChildren(...library.categories.filter((each) => each.problem).map((each) => make("li", "", each.problem)));
  part(".own").hidden = !library.allowed;
  drawPressed();
}

function drawPressed() {
  for (const button of root.querySelectorAll(".put")) {
    button.setAttribute("aria-pressed", String(chosen.has(plain(button.dataset.text))));
  }
}

// Setting up

part(".name").textContent = say("negatives_summary");
part(".categories").setAttribute("aria-label", say("negatives"));
part(".entries").setAttribute("aria-label", say("negatives"));
part(".refresh").textContent = say("negatives_refresh");
part(".refresh").onclick = () => change({ do: "refresh" });
part(".guide button").onclick = () => trigger("enable_nag");
part(".own button").textContent = say("negatives_add");
const inputs = { "input[type=search]": "negatives_search", ".own .text": "negatives_new", ".own .meaning": "negatives_new_meaning" };
for (const [name, key] of Object.entries(inputs)) {
  part(name).placeholder = say(key);
  part(name).setAttribute("aria-label", say(key));
}
part("input[type=search]").oninput = draw;
part(".own").onsubmit = async (event) => {
  event.preventDefault();
  const [entry, meaning] = [part(".own .text").value, part(".own .meaning").value];
  if (!(await change({ do: "add", entry, meaning }))) return;
  category = library.categories.find((each) => each.mine).name;
  part(".own").reset();
  draw();
  toggle(entry.trim());
};
part("details").ontoggle = () => {
  part(".body").hidden = !part("details").open;
  if (part("details").open && !library.categories.length) change({ do: "library" });
};

document.addEventListener("studio:settings", (event) => {
  settings = event.detail;
  clearTimeout(timer);
  timer = setTimeout(look, debounceMs);
});
change({ do: "library" });
