// What the settings as they stand come to, for example a negative prompt that has no effect.
const list = element.querySelector(".hints");

function draw() {
  const items = (props.value || []).map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  });
  list.replaceChildren(...items);
}

watch("value", draw);
draw();
