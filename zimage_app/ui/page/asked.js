// Holds the id of the job that this tab asked for last; a new one is told to the views, and to the handler that shows jobs.
watch("value", () => {
  if (!props.value) return;
  sessionStorage.setItem("studio-asked", props.value);
  document.dispatchEvent(new CustomEvent("studio:asked"));
  trigger("submit");
});
