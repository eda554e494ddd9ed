// Opens and closes the section of less used settings; the browser remembers whether it is open.
const page = window.studio;
const button = element.querySelector(".fold");
const remembered = "studio_everything";

function show(open) {
  localStorage.setItem(remembered, open ? "open" : "");
  button.setAttribute("aria-expanded", String(open));
}

// Gradio names the inputs of its slider in English.
document.addEventListener("studio:settings", () => {
  for (const input of document.querySelectorAll("#variation input[aria-label]")) {
    input.setAttribute("aria-label", input.getAttribute("aria-label").replace(/^(number input|range slider) for /, ""));
  }
});

button.textContent = page.say("everything");
button.onclick = () => show(button.getAttribute("aria-expanded") !== "true");
document.addEventListener("studio:unfold", () => show(true));
show(localStorage.getItem(remembered) === "open");
