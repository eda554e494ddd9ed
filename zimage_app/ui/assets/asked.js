// Holds the id of the job that this tab asked for last; a new one is told to the handler that shows jobs.
watch("value", () => props.value && trigger("submit"));
