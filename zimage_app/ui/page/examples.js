// The model's example prompts as chips; a click puts one into the prompt.
const box = element.querySelector(".examples");
box.setAttribute("aria-label", window.studio.words.examples);

const chip = (text) => window.studio.makeButton("", text, text, () => trigger("choose", { text }));

function draw() {
  box.replaceChildren(...(props.value || []).map(chip));
}

watch("value", draw);
draw();
