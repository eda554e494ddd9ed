// What the settings as they stand come to, in one line: size, steps, time. It asks the server, and tells the notes what is
// to be said of each field, and the stages what theirs mean in numbers. A press opens the stages.
const page = window.studio;
const line = element.querySelector(".summary");
const quiet = 250; // milliseconds without a change, before the server is asked
let timer = 0;
let newest = 0;
let now; // the settings on the page

async function ask(settings) {
  newest += 1;
  const turn = newest;
  // Without an answer (the app was stopped, the page is left) there is nothing to say.
  const answer = await server.hints({ settings, language: page.language }).catch(() => null);
  // Answers may overtake one another.
  if (turn !== newest) return;
  line.textContent = answer?.stages?.summary || "";
  document.dispatchEvent(new CustomEvent("studio:notes", { detail: answer?.notes || {} }));
  document.dispatchEvent(new CustomEvent("studio:stages", { detail: answer && answer.stages }));
}

function askSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => ask(now), quiet);
}

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

// How long a stage will take is known from the runs before.
document.addEventListener("studio:job", (event) => {
  if (now && event.detail === "done") askSoon();
});
