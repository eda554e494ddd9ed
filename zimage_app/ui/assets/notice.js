// One sentence about the fields: what is wrong with them or what was done to them; paints the field it names.
const notice = element.querySelector(".notice");

function unpaint() {
  for (const node of document.querySelectorAll(".studio-wrong")) {
    node.classList.remove("studio-wrong");
    for (const input of node.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }
}

const soon = () => new Promise((done) => setTimeout(done, 150));

const visible = (id) => document.getElementById(id)?.offsetParent;

// A field may stand in another tab or a closed section; it may not even be in the page before that is opened.
async function reveal(id) {
  const stage = /^knob-stages-(\d+)/.exec(id);
  if (!stage || visible(id)) return;
  document.querySelectorAll("#stages [role=tab]")[Number(stage[1])]?.click();
  await soon();
  if (visible(id)) return;
  document.querySelector(`#stage-${stage[1]} .inner > button`)?.click();
  await soon();
}

async function paint(id) {
  await reveal(id);
  const node = document.getElementById(id);
  if (!node) return;
  node.classList.add("studio-wrong");
  node.querySelector("input, textarea")?.setAttribute("aria-invalid", "true");
  node.scrollIntoView({ block: "nearest" });
}

function draw() {
  const { kind = "", text = "", field = "" } = props.value || {};
  notice.hidden = !text;
  notice.dataset.kind = kind;
  notice.textContent = text;
  unpaint();
  if (field) paint(field);
}

watch("value", draw);
draw();
