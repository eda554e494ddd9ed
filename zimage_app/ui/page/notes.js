// The remarks on one field's current value, shown below it; summary.js requests them.
const list = element.querySelector(".hints");

document.addEventListener("studio:notes", (event) => {
  const texts = event.detail[props.field] || [];
  list.replaceChildren(...texts.map((text) => window.studio.make("li", "", text)));
});
