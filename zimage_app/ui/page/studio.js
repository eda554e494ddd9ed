// What every script of the page needs: elements whose text is only ever text, buttons, and the page's own words.
window.studio.make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};

window.studio.makeButton = (className, text, label, act) => {
  const button = window.studio.make("button", className, text);
  button.type = "button";
  if (label) button.title = label;
  if (label) button.setAttribute("aria-label", label);
  button.onclick = act;
  return button;
};

window.studio.say = (key, values = {}) => window.studio.words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

// Copies a text, and says so on the button for a moment. Over plain http on a local network there is no clipboard to
// write to, so the old way is kept.
window.studio.copy = async (text, button) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = window.studio.make("textarea");
    field.value = text;
    field.style.cssText = "position: fixed; opacity: 0;";
    (button.closest("dialog") || document.body).append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.dataset.says ??= button.textContent;
  button.textContent = window.studio.words.copied;
  setTimeout(() => (button.textContent = button.dataset.says), 1500);
};

// What enlarges a picture: Lanczos, or one of the upscalers' files; not shown where there are none.
window.studio.fillUpscalers = (select, names) => {
  const now = select.value;
  select.replaceChildren(new Option("Lanczos", ""), ...names.map((name) => new Option(name, name)));
  if (names.includes(now)) select.value = now;
  select.hidden = !names.length;
  select.setAttribute("aria-label", window.studio.say("upscale_by"));
};
