// Input that is typed while the server is unreachable doesn't reach Gradio, and the page is reloaded afterwards. This
// script stores such input and enters it again after the reload, once the page has restored its saved settings.
{
  const place = "studio-typed";
  const inputs = (knob) => [...knob.querySelectorAll("input, textarea, select")];
  let typed = new Map(); // input since the last message from the server, by control and index of the input in it
  let lost = false; // Gradio found the server unreachable: from then on it passes no input on

  function note({ target }) {
    const knob = target.parentElement?.closest("[id^='knob-']");
    if (knob) typed.set(JSON.stringify([knob.id, inputs(knob).indexOf(target)]), [target.value, target.checked]);
  }

  function enter(id, index, value, checked) {
    const stage = /^knob-stages-(\d+)/.exec(id);
    if (stage) document.getElementById(`stage-tab-${stage[1]}`)?.click(); // draws the stage's fields
    const input = inputs(document.getElementById(id) || document.createElement("i"))[index];
    if (!input) return;
    if (input.type === "checkbox") input.checked = checked;
    else input.value = value;
    for (const name of ["input", "change"]) input.dispatchEvent(new Event(name, { bubbles: true }));
  }

  function enterAgain() {
    if (!window.studio.restored) return void setTimeout(enterAgain, 100);
    const kept = JSON.parse(sessionStorage.getItem(place));
    sessionStorage.removeItem(place);
    for (const [key, [value, checked]] of kept) enter(...JSON.parse(key), value, checked);
  }

  window.studio.forgetTyped = () => (typed = new Map());
  window.studio.keepTyped = () => typed.size && sessionStorage.setItem(place, JSON.stringify([...typed]));
  document.addEventListener("input", note, true);
  document.addEventListener("studio:lost", () => {
    if (!lost) window.studio.forgetTyped(); // Gradio has saved earlier input
    lost = true;
  });
  // Gradio may reload the page before canvas.js does, and without a run only Gradio does.
  window.addEventListener("pagehide", () => (lost || document.querySelector(".canvas[data-lost]")) && window.studio.keepTyped());
  if (sessionStorage.getItem(place)) enterAgain();
}

// Translates Gradio's message about a lost connection, which is in English only, and reports it to the script above.
{
  const ofGradio = /Connection to the server was lost/;
  const translate = (text) => {
    if (!ofGradio.test(text.textContent)) return;
    document.dispatchEvent(new CustomEvent("studio:lost"));
    const title = text.closest(".toast-body").querySelector(".toast-title");
    if (title) title.textContent = window.studio.say("connection_lost");
    text.textContent = window.studio.say("connection_lost_hint");
  };
  new MutationObserver(() => document.querySelectorAll("[data-testid=toast-text]").forEach(translate)).observe(
    document.documentElement,
    { childList: true, subtree: true }
  );
}
