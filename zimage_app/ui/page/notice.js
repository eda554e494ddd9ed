// One sentence about the fields: what is wrong with them or what was done to them; paints the field it names.
const notice = element.querySelector(".notice");

function unpaint() {
  for (const node of document.querySelectorAll(".studio-wrong")) {
    node.classList.remove("studio-wrong");
    for (const input of node.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }
}

// A field may stand in another stage's tab, which is drawn when it is opened, or in a closed section.
function reveal(id) {
  const stage = /^knob-stages-(\d+)/.exec(id);
  if (stage) document.getElementById(`stage-tab-${stage[1]}`)?.click();
  const section = document.getElementById(id)?.closest("details");
  if (section) section.open = true;
}

function paint(id) {
  reveal(id);
  const node = document.getElementById(id);
  if (!node) return;
  node.classList.add("studio-wrong");
  node.querySelector("input, textarea, select")?.setAttribute("aria-invalid", "true");
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
