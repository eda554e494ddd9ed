// The final picture's size. The server computes the sizes of all stages in proportion (stage_edits.py); props.value has
// those that it computed last, and the base that it computed them from.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".picture-size");
const find = (selector) => root.querySelector(selector);
const ratios = ["7:9", "1:1", "2:3", "3:4", "9:16"];
const { low, high, step } = props.bounds;

let sizes = []; // of all stages: [width, height]
let final = -1; // index of the last enabled stage
let typing = false; // the fields hold what was typed, which is no size of the picture yet
let asked = ""; // the typed size that the server is being asked for
const sides = [find(".width"), find(".height")];

const isTurned = () => sizes[final] && sizes[final][0] > sizes[final][1];

// As long as the sizes are those computed last, their base is kept, so that changing back restores it exactly.
function ask(size) {
  const same = JSON.stringify(props.value.sizes) === JSON.stringify(sizes);
  trigger("resize", { size, base: same ? props.value.base : sizes });
}

// A button gives another size than the typed one.
function choose(act) {
  typing = false;
  fill();
  page.queueChange(act);
}

function fill() {
  for (const [side, field] of sides.entries()) field.value = sizes[final]?.[side] ?? "";
}

function draw() {
  const focused = find(".ratios").contains(document.activeElement) && document.activeElement.textContent;
  const [width, height] = sizes[final] || [];
  const shown = isTurned() ? ratios.map((ratio) => ratio.split(":").reverse().join(":")) : ratios;
  root.classList.toggle("turned", Boolean(isTurned()));
  // Sizes are rounded to a grid, so the nearest ratio is shown as chosen.
  const off = shown.map((ratio) => {
    const [across, along] = ratio.split(":").map(Number);
    return Math.abs(width - (height * across) / along);
  });
  const nearest = Math.min(...off);
  find(".ratios").replaceChildren(
    ...shown.map((ratio, place) => {
      const button = makeButton("ratio press", "", "", () => choose(() => ask(ratio)));
      const shape = make("i");
      shape.style.aspectRatio = ratio.replace(":", " / ");
      button.append(shape, make("span", "", ratio));
      button.setAttribute("aria-pressed", String(off[place] === nearest && nearest <= step));
      return button;
    }),
  );
  if (focused) [...root.querySelectorAll(".ratio")].find((button) => button.textContent === focused)?.focus();
}

// Commits what was typed, once: a click on Generate also leaves the field. A side that was emptied gets its size back.
async function commit() {
  const values = sides.map((field) => field.value);
  if (!values.every(Boolean)) typing = false;
  if (!typing) return fill();
  const size = values.join("x");
  if (size === asked) return;
  asked = size;
  await page.queueChange(() => ask(size));
  if (asked === size) asked = "";
}

for (const [side, name] of ["width", "height"].entries()) {
  const field = sides[side];
  Object.assign(field, { min: low, max: high, step });
  field.oninput = () => (typing = true);
  field.onchange = commit;
  field.previousElementSibling.textContent = page.words[`Stage_${name}_title`];
}
document.addEventListener("studio:press", commit);
find(".swap").onclick = () => choose(() => Boolean(sizes[final]) && ask([...sizes[final]].reverse().join("x")));
page.setLabel(find(".swap"), say("size_swap"));
// Stages with other proportions stretch the picture on the way to the last stage; the server reports them.
find(".one-shape").textContent = say("size_one_shape");
find(".one-shape").onclick = () =>
  choose(() => {
    trigger("resize", { size: sizes[final].join("x"), base: sizes });
  });
document.addEventListener("studio:notes", (event) => (find(".one-shape").hidden = !event.detail.size));
root.setAttribute("aria-label", say("size_final"));
root.title = say("size_help");

document.addEventListener("studio:settings", (event) => {
  const stages = event.detail.stages || [];
  const before = String(sizes[final]);
  sizes = stages.map(({ width, height }) => [width, height]);
  final = stages.findLastIndex(({ enabled }) => enabled !== false);
  const now = String(sizes[final]);
  const taken = now === String(sides.map((field) => field.value));
  if (taken || (now !== before && !sides.includes(document.activeElement))) typing = false;
  if (!typing) fill();
  page.whenReleased(find(".ratios"), draw);
});
