// Gradio's loading screen counts seconds in every frame, and goes on when it has been removed; this would keep the browser
// busy as long as the page is open. Nothing on this page shows such seconds, so their timers don't run.
{
  const request = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (work) => (/performance\.now\(\) *-/.test(work) ? 0 : request(work));
}
