// Holds the id of the job that this tab submitted last; a new id is announced to the views and to the handler that
// shows jobs.
watch("value", () => {
  if (!props.value) return;
  sessionStorage.setItem("studio-asked", props.value);
  document.dispatchEvent(new CustomEvent("studio:submitted"));
  trigger("submit");
});
