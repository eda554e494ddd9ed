// The queue panel, opened from the top bar: unfinished jobs in their order; move up, cancel, pause, clear.
(() => {
  const { fetchJson, make, makeButton, makeDialog, makeSequence, openDialog, postJson, say } = window.studio;
  const POLL_MS = 1000; // milliseconds between two requests while the panel is open
  const ENDING = ["stopping", "saving"]; // states in which a job can't be cancelled

  async function ask(order) {
    const data = await (order ? postJson("queue.json", order) : fetchJson("queue.json", { cache: "no-store" }));
    return data || { error: say("queue_unreachable") };
  }

  function makeRow(data, job, place, change) {
    const row = make("li");
    row.dataset.job = job.id;
    row.dataset.state = job.state;
    const prompt = make("span", "prompt", job.prompt);
    prompt.title = job.prompt;
    const acts = make("span", "acts");
    const act = (name, text, label, order) => acts.append(makeButton(name, text, label, () => change(order)));
    if (job.state === "waiting" && data.jobs.slice(0, place).some((each) => each.state === "waiting")) {
      act("up", "↑", say("queue_up"), { do: "up", id: job.id });
      act("first", "⤒", say("queue_first"), { do: "first", id: job.id });
    }
    const count = data.jobs.filter((each) => job.group && each.group === job.group).length;
    if (count > 1) act("group", `✕ ${count}`, say("queue_cancel_group", { count }), { do: "cancel_group", id: job.group });
    if (!ENDING.includes(job.state)) act("cancel", "✕", say("queue_cancel"), { do: "cancel", id: job.id });
    row.append(prompt, make("span", "state", say(`queue_${job.state}`, { percent: job.percent })), acts);
    return row;
  }

  function showQueue() {
    if (document.querySelector("dialog.queue")) return;
    const panel = makeDialog("queue", say("queue_heading"), "✕", say("queue_close"));
    const note = make("p", "note");
    note.setAttribute("role", "status");
    const list = make("ol");
    const pause = makeButton("pause");
    const clear = makeButton("clear", say("queue_clear"), "", () => change({ do: "clear" }));
    clear.title = say("queue_clear_title");
    const foot = make("footer");
    foot.append(note, clear, pause);
    const groups = make("div", "groups");
    panel.append(groups, list, window.studio.makeSignals(), foot);

    function draw(data) {
      if (data.error) {
        note.textContent = data.error;
        return;
      }
      groups.replaceChildren(...data.groups.map((each) => make("p", "", say("queue_group", each))));
      const focus = document.activeElement;
      const job = list.contains(focus) ? focus.closest("li").dataset.job : null;
      list.replaceChildren(...data.jobs.map((each, place) => makeRow(data, each, place, change)));
      if (!data.jobs.length) list.append(make("li", "empty", say("queue_empty")));
      // The rows were replaced: focus the same button in the new row.
      if (job) (list.querySelector(`[data-job="${job}"] .${focus.className}`) || panel.querySelector(".close")).focus();
      note.textContent = data.paused ? say("queue_paused") : data.others ? say("queue_others", { count: data.others }) : "";
      clear.disabled = !data.jobs.some((each) => each.state === "waiting");
      pause.hidden = !data.home;
      pause.textContent = say(data.paused ? "queue_resume" : "queue_pause");
      pause.title = say(data.paused ? "queue_resume_title" : "queue_pause_title");
      pause.onclick = () => change({ do: data.paused ? "resume" : "pause" });
    }

    let timer = 0;
    const begin = makeSequence();
    async function poll(order) {
      clearTimeout(timer);
      const isNewest = begin();
      const data = await ask(order);
      if (!isNewest() || !panel.open) return;
      window.studio.whenReleased(panel, () => draw(data));
      timer = setTimeout(poll, data.error ? 4 * POLL_MS : POLL_MS);
    }
    async function change(order) {
      await poll(order);
      document.dispatchEvent(new CustomEvent("studio:queue"));
    }

    panel.onclose = () => clearTimeout(timer);
    openDialog(panel);
    poll();
  }

  window.studio.showQueue = showQueue;
})();
