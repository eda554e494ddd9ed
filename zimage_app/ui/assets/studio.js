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
