// The library of negative prompts: categories, chips, favourites, own entries. The text of the negative field alone
// says which phrases are chosen; the server splits it and adds or removes phrases (negative_picker.py).
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".negatives");
const find = (name) => root.querySelector(name);
const plain = (text) => text.normalize("NFKC").toLowerCase().split(/\s+/).filter(Boolean).join(" ");
const starred = "★"; // name of the category of favourites

let library = { categories: [], favourites: [], allowed: false };
let chosen = new Set(); // phrases of the negative field
let category = "";
let settings = {};
const begin = page.makeSequence();
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
      find(".answer").textContent = answer?.error || "";
      if (!answer || answer.error) return;
      if (field().value !== text) continue;
      field().value = answer.text;
      field().dispatchEvent(new Event("input", { bubbles: true }));
      return;
    }
  });
}

async function fetchState() {
  const isNewest = begin();
  const answer = await ask({ do: "state", text: settings.negative || "", settings });
  if (!answer || answer.error || !isNewest()) return;
  chosen = new Set(answer.phrases.map(plain));
  const entries = library.categories.flatMap((each) => each.entries);
  const count = entries.filter((entry) => chosen.has(plain(entry.text))).length;
  const counts = [count ? say("negatives_chosen", { count }) : "", answer.tokens ? say("negatives_tokens", { tokens: answer.tokens }) : ""];
  find(".count").textContent = counts.filter(Boolean).join(" · ");
  find(".guide").hidden = !answer.guide;
  if (answer.guide) {
    const { stages, percent } = answer.guide;
    const words = { stages: stages.join(say("negatives_joint")), percent };
    find(".guide button").textContent = say(stages.length > 1 ? "negatives_guide_many" : "negatives_guide", words);
  }
  drawPressed();
}

// The library

async function change(order) {
  const answer = await ask(order);
  find(".answer").textContent = answer ? answer.error || "" : say("negatives_unreachable");
  if (!answer || answer.error) return false;
  library = answer;
  const focused = root.contains(document.activeElement) && document.activeElement.dataset?.key;
  draw();
  if (focused) root.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  fetchState();
  return true;
}

// Sorts categories with more hits first: for 手 (hand), hands before 手机 (phone).
function byHits(entries) {
  const hits = new Map();
  for (const { of } of entries) hits.set(of, (hits.get(of) || 0) + 1);
  return entries.sort((one, other) => hits.get(other.of) - hits.get(one.of));
}

function shown() {
  const words = plain(find("input[type=search]").value).split(" ").filter(Boolean);
  const all = library.categories.flatMap((each) => each.entries.map((entry) => ({ ...entry, of: each })));
  if (words.length) return byHits(all.filter((entry) => words.every((word) => plain(entry.search).includes(word))));
  if (category !== starred) return all.filter((entry) => entry.of.name === category);
  return library.favourites.map((text) => all.find((entry) => entry.text === text)).filter(Boolean);
}

function makeCategory(name, title) {
  const button = makeButton("", title, "", () => {
    category = name;
    find("input[type=search]").value = "";
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
  const tell = () => (find(".about").textContent = [names.join("  "), entry.when].filter(Boolean).join(" · "));
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
  if (library.allowed && entry.of.mine) chip.append(makeRemove(entry.text, say("negatives_remove", { entry: names[0] })));
  return chip;
}

function makeRemove(entry, label) {
  const button = makeButton("remove", "✕", label, () => {
    if (button.textContent !== "✕") return void change({ do: "remove", entry });
    button.textContent = say("negatives_remove_sure");
    page.setLabel(button, say("negatives_remove_sure"));
  });
  button.onblur = () => {
    button.textContent = "✕";
    page.setLabel(button, label);
  };
  return button;
}

function draw() {
  const searching = Boolean(find("input[type=search]").value.trim());
  const filled = library.categories.filter((each) => each.entries.length);
  if (category !== starred && !filled.some((each) => each.name === category)) category = filled[0]?.name || starred;
  const categories = [makeCategory(starred, `★ ${say("negatives_favourites")}`), ...filled.map((each) => makeCategory(each.name, each.title))];
  find(".categories").replaceChildren(...categories);
  find(".categories").classList.toggle("aside", searching);
  const entries = shown();
  find(".entries").replaceChildren(...entries.map(makeChip));
  if (!entries.length) find(".entries").append(make("span", "none", say(searching ? "negatives_no_match" : "negatives_no_favourites")));
  find(".about").textContent = "";
  find(".problems").replaceChildren(...library.categories.filter((each) => each.problem).map((each) => make("li", "", each.problem)));
  find(".own").hidden = !library.allowed;
  drawPressed();
}

function drawPressed() {
  for (const button of root.querySelectorAll(".put")) {
    button.setAttribute("aria-pressed", String(chosen.has(plain(button.dataset.text))));
  }
}

// Setting up

find(".name").textContent = say("negatives_summary");
find(".categories").setAttribute("aria-label", say("negatives"));
find(".entries").setAttribute("aria-label", say("negatives"));
find(".refresh").textContent = say("negatives_refresh");
find(".refresh").onclick = () => change({ do: "refresh" });
find(".guide button").onclick = () => trigger("enable_nag");
find(".own button").textContent = say("negatives_add");
const inputs = { "input[type=search]": "negatives_search", ".own .text": "negatives_new", ".own .meaning": "negatives_new_meaning" };
for (const [name, key] of Object.entries(inputs)) {
  find(name).placeholder = say(key);
  find(name).setAttribute("aria-label", say(key));
}
find("input[type=search]").oninput = draw;
find(".own").onsubmit = async (event) => {
  event.preventDefault();
  const [entry, meaning] = [find(".own .text").value, find(".own .meaning").value];
  if (!(await change({ do: "add", entry, meaning }))) return;
  category = library.categories.find((each) => each.mine).name;
  find(".own").reset();
  draw();
  toggle(entry.trim());
};
find("details").ontoggle = () => {
  find(".body").hidden = !find("details").open;
  if (find("details").open && !library.categories.length) change({ do: "library" });
};

const fetchStateSoon = page.debounce(fetchState, 200);
document.addEventListener("studio:settings", (event) => {
  settings = event.detail;
  fetchStateSoon();
});
change({ do: "library" });
