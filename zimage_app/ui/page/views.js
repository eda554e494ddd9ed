// The tabs of the right column: canvas, compare, history, grids and batches. Other scripts open a view with the event
// studio:show, and learn of a change from studio:view.
const page = window.studio;
const { makeButton, say } = page;
const root = element.querySelector(".views");
const names = ["canvas", "compare", "history", "many"];
const VIEW = "studio-view"; // sessionStorage: the open view, to restore it after a reload

const tabs = names.map((name) => {
  const tab = makeButton("view", say(`view_${name}`), "", () => show(name));
  tab.id = `view-${name}`;
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", name);
  return tab;
});

// ``remember`` notes the change in the browser's history: history.pushState, or replaceState where Back shouldn't undo it.
function show(name, remember = "pushState") {
  const column = document.querySelector("#right");
  const before = column.dataset.view;
  column.dataset.view = name;
  sessionStorage.setItem(VIEW, name);
  for (const [index, tab] of tabs.entries()) {
    const on = names[index] === name;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    const panel = document.getElementById(names[index]);
    panel?.setAttribute("role", "tabpanel");
    panel?.setAttribute("aria-labelledby", tab.id);
  }
  if (before === name) return;
  // An entry of a dialog that led to this view becomes the view's.
  if (remember) history[history.state?.dialog ? "replaceState" : remember]({ view: name }, "");
  // Show a newly opened view from its top.
  if (before && root.getBoundingClientRect().top < 0) root.scrollIntoView({ block: "start" });
  document.dispatchEvent(new CustomEvent("studio:view", { detail: name }));
}

root.onkeydown = (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  const ends = { Home: 0, End: names.length - 1 };
  const now = tabs.indexOf(document.activeElement);
  if (now < 0 || !(event.key in steps || event.key in ends)) return;
  event.preventDefault();
  const next = event.key in ends ? ends[event.key] : (now + steps[event.key] + names.length) % names.length;
  show(names[next]);
  tabs[next].focus();
};

// The browser's Back and Forward: between views, and Back out of a dialog. An open dialog has an entry of its own; where
// it is closed otherwise, the script goes back itself.

const openDialog = () => [...document.querySelectorAll("dialog[open]")].at(-1);
const currentView = () => document.querySelector("#right").dataset.view;

function noteDialog() {
  const [open, noted] = [Boolean(openDialog()), Boolean(history.state?.dialog)];
  if (open && !noted) history.pushState({ view: currentView(), dialog: true }, "");
  // Later, because what closed the dialog may open a view or another dialog now.
  if (!open && noted) setTimeout(() => !openDialog() && history.state?.dialog && history.back());
}

new MutationObserver(noteDialog).observe(document, { attributeFilter: ["open"], subtree: true });

addEventListener("popstate", ({ state }) => {
  const dialog = openDialog();
  if (state?.dialog && !dialog) history.replaceState({ view: state.view }, ""); // Forward doesn't open a dialog again
  if (dialog && !state?.dialog) {
    // As Escape does: the mask editor first warns of what would be lost.
    if (!dialog.dispatchEvent(new Event("cancel", { cancelable: true }))) return noteDialog();
    dialog.close();
  }
  if (state?.view) show(state.view, "");
});

document.addEventListener("studio:show", (event) => show(event.detail));
// Generate opens the canvas; later jobs of the queue don't.
document.addEventListener("studio:submitted", () => show("canvas"));

root.setAttribute("aria-label", say("views"));
root.append(...tabs);
const before = sessionStorage.getItem(VIEW);
show("canvas", "replaceState");
// With a delay, so that the other views' scripts have started.
if (before && before !== "canvas") setTimeout(() => show(before, "replaceState"));
