// Opens and closes the section of less used settings; the browser remembers whether it is open.
const page = window.studio;
const button = element.querySelector(".fold");
const remembered = "studio_everything";

function show(open) {
  localStorage.setItem(remembered, open ? "open" : "");
  button.setAttribute("aria-expanded", String(open));
}

button.textContent = page.say("everything");
button.onclick = () => show(button.getAttribute("aria-expanded") !== "true");
document.addEventListener("studio:unfold", () => show(true));
show(localStorage.getItem(remembered) === "open");
