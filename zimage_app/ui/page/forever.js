// "Generate forever": while it is on, Generate is pressed again whenever this browser's queue is through, until Stop is
// pressed, something fails or is refused, or it is switched off. props.value counts the rounds, by which seeds count on.
const page = window.studio;
const button = element.querySelector(".forever");
const isOn = () => button.getAttribute("aria-pressed") === "true";
let again = false; // the press of Generate is ours
let asked = false; // something was asked for since it was switched on

function set(on) {
  button.setAttribute("aria-pressed", String(on));
  count(0);
  asked = false;
}

function count(rounds) {
  props.value = rounds;
  trigger("change");
}

function next() {
  if (!isOn() || !asked) return;
  count(props.value + 1);
  again = true;
  // What handlers get is up to date when the page has settled.
  setTimeout(() => document.querySelector("#generate").click());
}

button.title = page.say("forever");
button.setAttribute("aria-label", page.say("forever"));
button.onclick = () => set(!isOn());

document.addEventListener(
  "click",
  (event) => {
    if (event.target.closest?.("#stop")) set(false);
    if (!event.target.closest?.("#generate")) return;
    if (isOn() && !again) count(0);
    asked = true;
    again = false;
  },
  true,
);
document.addEventListener("studio:job", (event) => {
  if (["failed", "cancelled"].includes(event.detail)) set(false);
  if (event.detail === "done") next();
});
document.addEventListener("studio:refused", () => set(false));
