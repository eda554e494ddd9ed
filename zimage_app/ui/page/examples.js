// The model's example prompts as chips; a click puts one into the prompt.
const box = element.querySelector(".examples");
box.setAttribute("aria-label", window.studio.words.examples);

function chip(text) {
  const button = window.studio.make("button");
  button.type = "button";
  button.textContent = text;
  button.title = text;
  button.onclick = () => trigger("choose", { text });
  return button;
}

function draw() {
  box.replaceChildren(...(props.value || []).map(chip));
}

watch("value", draw);
draw();
