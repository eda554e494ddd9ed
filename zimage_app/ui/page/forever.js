// "Generate forever": while it is on, the script presses Generate whenever this browser's queue is empty, until Stop is
// pressed, a run fails or is refused, or it is switched off. props.value counts the rounds, by which seeds count up. It
// goes on after a reload, as the page reloads itself after a lost connection.
const page = window.studio;
const button = element.querySelector(".forever");
const pollMs = 1000; // milliseconds between two requests of the queue
const KEPT = "studio-forever"; // sessionStorage: the rounds, while it is on
const isOn = () => button.getAttribute("aria-pressed") === "true";
let submitted = false; // a job of the present round was submitted
let ours = false; // the click on Generate comes from this script
let timer = 0;

function count(rounds) {
  props.value = rounds;
  trigger("change");
  if (isOn()) sessionStorage.setItem(KEPT, rounds);
  else sessionStorage.removeItem(KEPT);
}

function set(on) {
  clearInterval(timer);
  button.setAttribute("aria-pressed", String(on));
  submitted = on && !document.querySelector("#stop").disabled; // a running job counts as the first round
  count(0);
  if (on) timer = setInterval(checkQueue, pollMs);
}

async function checkQueue() {
  if (!submitted || !page.restored) return;
  const queue = await page.fetchJson("queue.json", { cache: "no-store" });
  if (queue?.jobs?.length === 0 && submitted && isOn()) again();
}

function again() {
  submitted = false;
  count(props.value + 1);
  // Wait until Gradio has taken over the new count.
  setTimeout(() => {
    ours = true;
    document.querySelector("#generate").click();
    ours = false;
  });
}

function pressed(event) {
  if (event.target.closest?.("#stop")) set(false);
  if (event.target.closest?.("#generate") && !ours && props.value) count(0);
}

// A copy of a tab gets its sessionStorage, too, but was not reloaded.
const kept = performance.getEntriesByType("navigation")[0]?.type === "reload" && sessionStorage.getItem(KEPT);
if (kept) {
  button.setAttribute("aria-pressed", "true");
  submitted = true;
  count(Number(kept));
  timer = setInterval(checkQueue, pollMs);
}

page.setLabel(button, page.say("forever"));
button.onclick = () => set(!isOn());
document.addEventListener("click", pressed, true);
document.addEventListener("studio:submitted", () => (submitted = isOn()));
document.addEventListener("studio:refused", () => isOn() && set(false));
document.addEventListener("studio:job", (event) => ["failed", "cancelled"].includes(event.detail) && isOn() && set(false));
