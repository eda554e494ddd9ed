// The actions on a picture: the same row of icons with names wherever a picture is shown, and their menus. Actions that
// need the queue or the page's fields send the event studio:act (picture_events.js); changes of the history send
// studio:pictures.
(() => {
  const studio = window.studio;
  const { make, makeButton, say } = studio;
  const SVG = "http://www.w3.org/2000/svg";
  const ICONS = {
    save: "M12 3v11m0 0 4.5-4.5M12 14 7.5 9.5M4 17v3h16v-3",
    star: "m12 3.6 2.6 5.3 5.8.8-4.2 4.1 1 5.8-5.2-2.7-5.2 2.7 1-5.8-4.2-4.1 5.8-.8z",
    again: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9M20 4v5h-5",
    another: "M4 4h16v16H4zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
    vary: "M4 8c3-4 5-4 8 0s5 4 8 0M4 16c3-4 5-4 8 0s5 4 8 0",
    start: "M4 5h10v14H4zM14 12h7m0 0-3-3m3 3-3 3M4 15l3.5-3.5L11 15",
    upscale: "M14 4h6v6M20 4l-7 7M10 20H4v-6m0 6 7-7",
    compare: "M4 5h16v14H4zM12 3v18M7 10h2M15 10h2",
    reuse: "M5 7h9m4 0h1M5 17h1m4 0h9M14 5v4M8 15v4",
    copy: "M9 9h11v11H9zM5 15H4V4h11v1",
    details: "M4 5h16v14H4zM14.5 5v14M17 9h.8M17 12h.8",
    on: "M7 5l11 7-11 7z",
    delete: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
    more: "M6 12h.01M12 12h.01M18 12h.01",
  };

  function makeIcon(name) {
    const [svg, path] = [document.createElementNS(SVG, "svg"), document.createElementNS(SVG, "path")];
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    path.setAttribute("d", ICONS[name]);
    svg.append(path);
    return svg;
  }

  // The server's data on pictures, by id; each is requested once. If a request failed, there is "missing", the error
  // message, and "gone", whether the picture no longer exists, in place of the data.
  const MAX_CACHED = 200;
  const known = new Map();

  async function fetchFacts(id) {
    const answer = await fetch(`pictures/${id}.json`).catch(() => null);
    const found = answer?.ok && (await answer.json().catch(() => null));
    if (found) return found;
    known.delete(id);
    const missing = answer?.ok ? say("history_unreachable") : await studio.reason(answer);
    return { id, rows: [], stages: [], upscalers: [], missing, gone: answer?.status === 404 };
  }

  // The same for a menu, whose entries depend on it.
  async function factsOrToast(id) {
    const facts = await studio.facts(id);
    if (facts.missing) studio.toast(facts.missing);
    return facts;
  }

  studio.facts = (id) => {
    if (!known.has(id)) known.set(id, fetchFacts(id));
    if (known.size > MAX_CACHED) known.delete(known.keys().next().value);
    return known.get(id);
  };

  // The saved stages of a picture, the last one is the picture itself; fewer than two if none were saved.
  studio.stageSources = (facts) =>
    facts.stages
      .map((stage, place) => ({ ...stage, label: `${stage.number} ${stage.name}`, last: place === facts.stages.length - 1 }))
      .filter((stage) => stage.kept || stage.last)
      .map((stage) => ({ ...stage, src: stage.last ? `pictures/${facts.id}.png` : `history/${facts.id}/stage${stage.number}.png` }));

  // The toast: a message at the bottom of the window for some seconds, with one or two buttons

  const TOAST_SECONDS = 8;
  const toast = make("div", "studio-toast");
  toast.setAttribute("role", "status");
  toast.popover = "manual";
  let hiding = 0; // timer, while the toast is shown

  studio.toast = (text, ...buttons) => {
    clearTimeout(hiding);
    const focused = focusIsIn();
    toast.replaceChildren(make("span", "", text), ...buttons, makeButton("dismiss", "✕", say("history_dismiss"), hideToast));
    hiding = setTimeout(hideToast, TOAST_SECONDS * 1000);
    showToast();
    if (focused) returnFocus();
  };

  // A focused button of the toast goes with its message; the focus returns to where it was before, if that is still there.
  let before = null;
  toast.addEventListener("focusin", ({ relatedTarget }) => {
    if (relatedTarget && !toast.contains(relatedTarget)) before = relatedTarget;
  });

  const focusIsIn = () => toast.contains(document.activeElement);

  function returnFocus() {
    const home = document.querySelector("dialog[open] [autofocus]");
    (before?.isConnected ? before : home)?.focus({ preventScroll: true });
  }

  // Elements outside an open modal dialog can't be clicked; those inside are removed when it closes.
  function showToast() {
    const dialog = document.querySelector("dialog[open]");
    (dialog || document.body).append(toast);
    toast.showPopover();
    placeToast(dialog);
    dialog?.addEventListener("close", () => hiding && showToast(), { once: true });
  }

  // Above the bar with Generate, where that is at the bottom as well.
  function placeToast(dialog) {
    toast.style.bottom = "";
    const [bar, box] = [document.querySelector("#go"), toast].map((node) => node.getBoundingClientRect());
    const covers = !dialog && bar.top < box.bottom && bar.bottom > box.top && bar.left < box.right;
    if (covers) toast.style.bottom = `${innerHeight - bar.top + 8}px`;
  }

  function hideToast() {
    clearTimeout(hiding);
    hiding = 0;
    const focused = focusIsIn();
    if (toast.matches(":popover-open")) toast.hidePopover();
    if (focused) returnFocus();
  }

  // The history

  let deletions = []; // lists of ids that can be put back, the newest last

  // Has the server do something with pictures; returns the ids of those that it did it with, and null after a failure.
  async function send(what, ids) {
    // The ids as one text: the server takes at most 5,000 elements.
    const data = await studio.postJson("history", { do: what, ids: ids.join() });
    if (data && !data.error) return data.ids;
    studio.toast(data?.error || say("history_unreachable"));
    return null;
  }

  const announce = (what, ids) => document.dispatchEvent(new CustomEvent("studio:pictures", { detail: { what, ids } }));

  // Of pictures that were shown, but are no longer there.
  function tellMissing(asked, found) {
    const there = new Set(found);
    const missing = asked.filter((id) => !there.has(id));
    if (!missing.length) return;
    studio.toast(say("history_missing", { count: missing.length }));
    announce("delete", missing);
  }

  studio.order = async (what, ids) => {
    const changed = await send(what, ids);
    if (!changed) return null;
    for (const id of changed) known.delete(id);
    if (what === "undo" || what === "empty") {
      deletions = deletions.map((each) => each.filter((id) => !changed.includes(id))).filter((each) => each.length);
    }
    announce(what, changed);
    tellMissing(ids, changed);
    return changed;
  };

  // The ids of pictures that are still there; null if the server doesn't answer.
  studio.existing = async (ids) => {
    const found = await send("find", ids);
    if (found) tellMissing(ids, found);
    return found;
  };

  studio.remove = async (ids) => {
    const gone = await studio.order("delete", ids);
    if (!gone?.length) return gone;
    deletions.push(gone);
    const undo = makeButton("undo", say("history_undo"), "", () => studio.putBack(gone));
    studio.toast(say("history_deleted", { count: gone.length }), undo);
    return gone;
  };

  studio.putBack = async (ids) => {
    const back = await studio.order("undo", ids);
    if (back?.length) studio.toast(say("history_restored", { count: back.length }));
    return back;
  };

  // Undoes the last deletion that isn't undone yet; returns whether there was one.
  studio.undo = () => {
    const last = deletions.pop();
    if (last) studio.putBack(last).then((back) => back || deletions.push(last));
    return Boolean(last);
  };

  // Orders to the server

  const act = (studio.act = (what, detail) => {
    document.dispatchEvent(new CustomEvent("studio:act", { detail: { what, ...detail } }));
  });

  const source = (item) => (item.job ? { job: item.job } : { id: item.id });
  const another = (item, how, kept) => act("another", { ...source(item), how, kept });

  let stages = []; // as the page's fields have them
  document.addEventListener("studio:settings", (event) => (stages = event.detail.stages || []));

  // Menus: each function takes the picture and its surroundings and returns entries {text, run} or {text, href, name}.

  async function saveMenu(item) {
    if (item.job) return [{ text: "JPEG", href: `runs/${item.job}/stage${item.number}.jpg` }];
    return [
      { text: say("save_png"), href: `pictures/${item.id}.png?download` },
      { text: "JPEG", href: `pictures/${item.id}/saved.jpg` },
      { text: "WebP", href: `pictures/${item.id}/saved.webp` },
      { text: say("save_workflow"), run: () => saveWorkflow(item.id) },
    ];
  }

  async function saveWorkflow(id) {
    const answer = await fetch(`workflows/${id}.json`).catch(() => null);
    if (!answer?.ok) {
      studio.toast(await studio.reason(answer));
      return;
    }
    const href = URL.createObjectURL(await answer.blob());
    choose({ href, name: `${id}.workflow.json` });
    URL.revokeObjectURL(href);
  }

  async function varyMenu(item) {
    const ran = (await factsOrToast(item.id)).stages;
    const keep = ran.slice(1).map((_, place) => ({
      text: say(place ? "vary_keep_more" : "vary_keep", { kept: place + 1 }),
      run: () => another(item, "keep", place + 1),
    }));
    return [
      { text: say("vary_little"), run: () => another(item, "little") },
      { text: say("vary_much"), run: () => another(item, "much") },
      ...keep,
    ];
  }

  async function startMenu(item) {
    const offered = [...stages.keys()].filter((place) => stages[place].enabled !== false);
    return offered.map((place) => ({
      text: say("start_at", { stage: place + 1, denoise: stages[place].denoise }),
      run: () => act("start", { id: item.id, stage: place + 1 }),
    }));
  }

  async function upscaleMenu(item) {
    const names = (await factsOrToast(item.id)).upscalers;
    const entry = (text, upscaler) => ({ text, run: () => act("upscale", { id: item.id, upscaler }) });
    return [entry("Lanczos", ""), ...names.map((name) => entry(name, name))];
  }

  let compareWith = ""; // id of the picture that was chosen for comparison with the next one

  async function compareMenu(item, { neighbour }) {
    const sources = item.sources || studio.stageSources(await factsOrToast(item.id));
    const entries = sources.length > 1 ? [{ text: say("compare_stages"), run: () => compare({ sources }) }] : [];
    if (item.job) return entries;
    if (neighbour) entries.push({ text: say("compare_neighbour"), run: () => compare({ ids: [neighbour, item.id] }) });
    if (compareWith && compareWith !== item.id) entries.push({ text: say("compare_held"), run: () => compare({ ids: [compareWith, item.id] }) });
    entries.push({ text: say("compare_hold"), run: () => chooseForComparison(item.id) });
    return entries;
  }

  function chooseForComparison(id) {
    compareWith = id;
    studio.toast(say("compare_is_held"));
  }

  function compare(detail) {
    document.querySelector("dialog[open]")?.close();
    document.dispatchEvent(new CustomEvent("studio:compare", { detail }));
  }

  async function copyMenu(item) {
    const entries = [{ text: say("copy_picture"), run: () => copyPicture(item) }];
    if (item.seed) entries.push({ text: say("copy_seed"), run: () => copyText(item.seed) });
    if (!item.id) return entries;
    const { prompt, parameters } = await factsOrToast(item.id);
    if (prompt) entries.push({ text: say("copy_prompt"), run: () => copyText(prompt) });
    if (parameters) entries.push({ text: say("copy_parameters"), run: () => copyText(parameters) });
    return entries;
  }

  async function copyText(text) {
    await studio.writeText(text);
    studio.toast(say("copied"));
  }

  async function copyPicture(item) {
    if (!window.ClipboardItem || !navigator.clipboard?.write) {
      studio.toast(say("copy_needs_https"));
      return;
    }
    // The promise is passed unresolved: the browser only allows the call right after the click.
    const png = fetch(item.src || `pictures/${item.id}.png`).then((answer) => answer.blob()).then(asPng);
    const done = await navigator.clipboard.write([new ClipboardItem({ "image/png": png })]).then(
      () => "copied",
      () => "copy_failed",
    );
    studio.toast(say(done));
  }

  // Browsers accept only PNG pictures in the clipboard.
  async function asPng(blob) {
    if (blob.type === "image/png") return blob;
    const bitmap = await createImageBitmap(blob);
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    return canvas.convertToBlob({ type: "image/png" });
  }

  // The row. An action has either run or menu; a menu with one entry runs it at once, an empty one shows the reason.

  const PICTURE = [
    { name: "save", menu: saveMenu },
    { name: "star", run: (item) => studio.order(item.starred ? "unstar" : "star", [item.id]) },
    { name: "again", run: (item) => act("again", { id: item.id }), leaves: true },
    { name: "another", run: (item) => another(item, "seed"), leaves: true },
    { name: "vary", menu: varyMenu, leaves: true },
    { name: "start", menu: startMenu, leaves: true },
    { name: "upscale", menu: upscaleMenu, leaves: true },
    { name: "compare", menu: compareMenu },
    { name: "reuse", run: (item) => act("reuse", source(item)), leaves: true },
    { name: "copy", menu: copyMenu },
    { name: "delete", run: (item) => studio.remove([item.id]) },
  ];
  // A finished stage of a run that was stopped
  const STAGE = [
    { name: "on", run: (item) => another(item, "same") },
    { name: "another", run: (item) => another(item, "seed") },
    ...["save", "compare", "reuse", "copy"].map((name) => PICTURE.find((each) => each.name === name)),
  ];

  function makeAct({ name, menu, run, leaves }, item, options) {
    const button = makeButton(`act ${name}`, "", "", async () => {
      const done = (work) => {
        work();
        if (leaves) options.leave?.();
      };
      if (!menu) {
        done(() => run(item));
        return;
      }
      const entries = await menu(item, options);
      if (!entries.length) studio.toast(say(`act_${name}_none`));
      else if (entries.length === 1) done(() => choose(entries[0]));
      else openMenu(button, entries, done);
    });
    button.append(makeIcon(name), make("span", "", say(`act_${name}`)));
    button.title = say(`act_${name}_title`);
    if (menu) button.setAttribute("aria-haspopup", "menu");
    return button;
  }

  // Fills the row for a picture {id, seed, starred} or a stage {job, number, seed, src, sources}. Options: neighbour,
  // the id of the picture next to it; details, a function that toggles its settings; leave, called when an action
  // leaves the view.
  studio.fillActs = (row, item, options = {}) => {
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", say("acts"));
    const acts = [...(item.job ? STAGE : PICTURE)];
    if (options.details) acts.splice(acts.length - 1, 0, { name: "details", run: () => drawDetails(row, options.details()) });
    const focused = row.contains(document.activeElement) ? document.activeElement.classList[1] : "";
    row.replaceChildren(...acts.map((each) => makeAct(each, item, options)));
    if (focused) row.querySelector(`.${focused}`)?.focus();
    if (options.details) drawDetails(row, options.detailed);
    if (item.id) drawStar(row, item);
    return row;
  };

  function drawDetails(row, open) {
    row.querySelector(".details").setAttribute("aria-expanded", String(open));
  }

  async function drawStar(row, item) {
    const button = row.querySelector(".star");
    const draw = () => {
      button.setAttribute("aria-pressed", String(Boolean(item.starred)));
      button.title = say(item.starred ? "history_unstar" : "act_star_title");
    };
    draw();
    item.starred = (await studio.facts(item.id)).starred ?? item.starred;
    draw();
  }

  // Menus

  const menu = make("div", "studio-menu");
  menu.popover = "auto";
  menu.setAttribute("role", "menu");
  menu.onkeydown = (event) => {
    const entries = [...menu.querySelectorAll("[role=menuitem]")];
    const now = entries.indexOf(document.activeElement);
    const next = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: entries.length - 1 }[event.key];
    if (event.key === "Tab") menu.hidePopover();
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    entries.at(next % entries.length).focus();
  };

  function choose(entry) {
    if (entry.run) {
      entry.run();
      return;
    }
    const link = make("a");
    link.href = entry.href;
    link.download = entry.name || "";
    document.body.append(link);
    link.click();
    link.remove();
  }

  function openMenu(button, entries, done) {
    const buttons = entries.map((entry) => {
      const item = makeButton("", entry.text, "", () => {
        menu.hidePopover();
        button.focus();
        done(() => choose(entry));
      });
      item.setAttribute("role", "menuitem");
      return item;
    });
    show(button, buttons);
    buttons[0].focus();
  }

  function show(anchor, nodes) {
    if (menu.matches(":popover-open")) menu.hidePopover();
    menu.replaceChildren(...nodes);
    // A menu within the card leaves it open.
    (anchor.closest(".studio-acts, dialog") || document.body).append(menu);
    menu.showPopover();
    placeAt(menu, anchor);
  }

  // Places a popover below its anchor, or above it where there is no room below.
  function placeAt(node, anchor) {
    const at = anchor.getBoundingClientRect();
    const below = at.bottom + 6;
    const fits = below + node.offsetHeight <= innerHeight - 8;
    node.style.left = `${Math.max(8, Math.min(at.left, innerWidth - node.offsetWidth - 8))}px`;
    node.style.top = `${fits ? below : Math.max(8, at.top - node.offsetHeight - 6)}px`;
  }

  // The same row for a thumbnail, as a popover: opened by a button, visible on hover and focus, or by a right click.

  const card = make("div", "studio-acts");
  card.popover = "auto";

  function openCard(anchor, item, options) {
    (anchor.closest("dialog") || document.body).append(card);
    const close = () => card.matches(":popover-open") && card.hidePopover();
    close();
    const leave = () => {
      close();
      options.leave?.();
    };
    studio.fillActs(card, { ...item }, { ...options, leave });
    card.showPopover();
    placeAt(card, anchor);
    card.querySelector("button").focus();
  }

  studio.makeMore = (holder, item, options = () => ({})) => {
    const open = () => openCard(button.checkVisibility() ? button : holder, item, options()); // the button is hidden on touch
    const button = makeButton("more", "", say("acts"), open);
    button.append(makeIcon("more"));
    button.setAttribute("aria-haspopup", "true");
    holder.oncontextmenu = (event) => {
      event.preventDefault();
      open();
    };
    return button;
  };
})();
