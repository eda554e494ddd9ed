// What is to be said of one field's settings as they stand; summary.js asks for it. It stands at that field.
const list = element.querySelector(".hints");

document.addEventListener("studio:notes", (event) => {
  const texts = event.detail[props.field] || [];
  list.replaceChildren(...texts.map((text) => window.studio.make("li", "", text)));
});
