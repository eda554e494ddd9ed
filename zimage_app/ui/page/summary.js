// The summary line of the current settings: size, steps, time. It requests the hints (hints.py) and passes the remarks
// on to notes.js and the stages' numbers to stages.js. A click opens the stages.
const page = window.studio;
const line = element.querySelector(".summary");
const begin = page.makeSequence();
let now; // the page's current settings

async function ask(settings) {
  const isNewest = begin();
  // Without an answer (the app was stopped, the page is being left) the line is empty.
  const answer = await server.hints({ settings, language: page.language });
  if (!isNewest()) return;
  line.textContent = answer?.stages?.summary || "";
  document.dispatchEvent(new CustomEvent("studio:notes", { detail: answer?.notes || {} }));
  document.dispatchEvent(new CustomEvent("studio:stages", { detail: answer && answer.stages }));
}

const askSoon = page.debounce(() => ask(now), 250);

line.title = page.say("summary_open");
line.onclick = () => {
  document.dispatchEvent(new CustomEvent("studio:unfold"));
  document.querySelector("#everything button").focus({ preventScroll: true });
  document.querySelector("#everything").scrollIntoView({ block: "start" });
};

document.addEventListener("studio:settings", (event) => {
  now = event.detail;
  askSoon();
});

// Estimates of time are based on earlier runs, so each finished run changes them.
document.addEventListener("studio:job", (event) => {
  if (now && event.detail === "done") askSoon();
});
