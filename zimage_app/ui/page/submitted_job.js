// Holds the id of the job that this tab submitted last; a new id is announced to the views and to the handler that
// shows jobs (follow). A grid or batch is shown, too (studio:group), but opens no other view.
//
// While the handler runs, the tab keeps a connection open, and browsers allow six per host for all tabs together. So of
// the hidden tabs only one follows the jobs, for title, sound and notification: the one that was hidden last. The
// others leave, and follow again when they are shown.
const others = new BroadcastChannel("studio-hidden");
let following = false; // whether this tab shows a job that isn't over
let left = false;
let announced = 0; // when this tab told the others last that it is hidden

const announce = () => {
  if (!document.hidden) return;
  announced = performance.timeOrigin + performance.now();
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel is of one origin
  others.postMessage(announced);
};

others.onmessage = ({ data }) => {
  // Messages may be late: one from before this tab was hidden doesn't count, or both would leave.
  if (!document.hidden || !following || data < announced) return;
  left = true;
  following = false;
  trigger("leave");
  document.dispatchEvent(new CustomEvent("studio:progress", { detail: { state: "left", progress: 0 } }));
};

document.addEventListener("studio:progress", (event) => {
  if (left) return; // an update that was on its way when this tab left would make the tab that follows leave, too
  const before = following;
  following = ["waiting", "loading", "running", "stopping", "saving"].includes(event.detail.state);
  if (following && !before) announce();
});

document.addEventListener("visibilitychange", () => {
  if (!left || document.hidden) return announce();
  left = false;
  document.dispatchEvent(new CustomEvent("studio:back"));
  trigger("submit");
});

function follow() {
  left = false;
  trigger("submit");
}

document.addEventListener("studio:group", follow);

watch("value", () => {
  if (!props.value) return;
  sessionStorage.setItem("studio-asked", props.value);
  document.dispatchEvent(new CustomEvent("studio:submitted"));
  follow();
});
