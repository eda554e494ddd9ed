// A note below the seed that lists the running stages with their own fixed seed, with a button that makes all stages
// follow the picture's seed.
const { say } = window.studio;
const note = element.querySelector(".fixed-seeds");
const button = note.querySelector("button");

button.textContent = say("seeds_release");
button.onclick = () => {
  trigger("release");
  document.querySelector("#knob-seed :is(input, textarea)").focus();
};

document.addEventListener("studio:settings", (event) => {
  const { stages = [], start } = event.detail;
  const running = [...stages.keys()].filter((place) => stages[place].enabled !== false && place + 1 >= (start?.stage || 1));
  const fixed = running.filter((place) => /^\s*\d+\s*$/.test(stages[place].seed));
  const all = fixed.length === running.length;
  const numbers = fixed.map((place) => place + 1).join(", ");
  note.hidden = !fixed.length;
  note.querySelector("span").textContent = all ? say("seeds_fixed") : say("seeds_fixed_some", { stages: numbers });
});
