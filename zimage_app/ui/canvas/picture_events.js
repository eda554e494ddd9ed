// Passes the scripts' actions on a picture (event studio:act) to the page's handlers.
const orders = ["reuse", "again", "another", "start", "upscale", "example"];

document.addEventListener("studio:act", (event) => {
  if (orders.includes(event.detail.what)) trigger(event.detail.what, event.detail);
});
