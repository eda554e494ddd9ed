// The pictures that this tab had made again: once a job is over, the server is asked whether the pixels are the same.
let open = []; // {picture, job} without a result

watch("value", () => {
  const { over, ...made } = props.value;
  open = over ? open.filter(({ job }) => job !== over) : [...open, made];
});

document.addEventListener("studio:progress", (event) => {
  if (["done", "failed", "cancelled"].includes(event.detail.state)) for (const made of open) trigger("compare", made);
});
