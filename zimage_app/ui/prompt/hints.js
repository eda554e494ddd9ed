// What the settings as they stand come to, for example a negative prompt that has no effect; what each stage's mean in
// numbers is shown by the stage tabs.
const list = element.querySelector(".hints");
const quiet = 250; // milliseconds without a change, before the server is asked
let timer = 0;
let newest = 0;
let now; // the settings on the page

function draw(texts) {
  const items = texts.map((text) => {
    const item = window.studio.make("li");
    item.textContent = text;
    return item;
  });
  list.replaceChildren(...items);
}

async function ask(settings) {
  newest += 1;
  const turn = newest;
  // Without an answer (the app was stopped, the page is left) there is nothing to hint at.
  const answer = await server.hints({ settings, language: window.studio.language }).catch(() => null);
  // Answers may overtake one another.
  if (turn !== newest) return;
  draw(answer ? answer.hints : []);
  document.dispatchEvent(new CustomEvent("studio:stages", { detail: answer && answer.stages }));
}

function askSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => ask(now), quiet);
}

document.addEventListener("studio:settings", (event) => {
  now = event.detail;
  askSoon();
});

// How long a stage will take is known from the runs before.
document.addEventListener("studio:job", (event) => {
  if (now && event.detail === "done") askSoon();
});
