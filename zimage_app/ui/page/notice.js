// A message about the fields: an error, or a change that was made, with a button to undo it where possible. Highlights
// the field that the message names. After Stop, the button stops the other pictures of the same press.
const { postJson, say, toast } = window.studio;
const notice = element.querySelector(".notice");
const sentence = notice.querySelector("span");
const undo = notice.querySelector(".undo");

function clearHighlights() {
  for (const node of document.querySelectorAll(".studio-wrong")) {
    node.classList.remove("studio-wrong");
    for (const input of node.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  }
}

// Makes a field visible that is in another stage's tab, which is drawn when it is opened, or in a closed section.
function reveal(id) {
  const stage = /^knob-stages-(\d+)/.exec(id);
  if (stage) document.getElementById(`stage-tab-${stage[1]}`)?.click();
  const node = document.getElementById(id);
  const section = node?.closest("details");
  if (section) section.open = true;
  if (node?.closest("#rest")) document.dispatchEvent(new CustomEvent("studio:unfold"));
}

function highlight(id) {
  reveal(id);
  const node = document.getElementById(id);
  if (!node) return;
  node.classList.add("studio-wrong");
  node.querySelector("input, textarea, select")?.setAttribute("aria-invalid", "true");
  node.scrollIntoView({ block: "nearest" });
}

async function stopGroup(id) {
  const data = await postJson("queue.json", { do: "cancel_group", id });
  if (!data || data.error) toast(data?.error || say("queue_unreachable"));
  else {
    props.value = { kind: "info", text: say("stopped_all") };
    draw();
  }
  document.dispatchEvent(new CustomEvent("studio:queue"));
}

function draw() {
  const { kind = "", text = "", field = "", undo: values = null, group = "" } = props.value || {};
  notice.hidden = !text;
  notice.dataset.kind = kind;
  sentence.textContent = text;
  undo.hidden = !values && !group;
  undo.textContent = values ? say("undo") : group ? say("stop_all") : "";
  undo.onclick = () => (group ? stopGroup(group) : trigger("undo", { values }));
  if (kind === "error") document.dispatchEvent(new CustomEvent("studio:refused"));
  clearHighlights();
  if (field) highlight(field);
}

// The button is not one of our own; it is there once the settings are.
document.addEventListener("studio:settings", () => (document.querySelector("#stop").title = say("stop_title")), { once: true });

watch("value", draw);
draw();
