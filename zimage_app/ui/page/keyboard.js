// Keyboard shortcuts of the whole page (generate, stop, list of shortcuts) and skip links. The script is in the page's
// head, so it looks elements up only when a key is pressed.
(() => {
  const { composing, make, makeDialog, openDialog, say } = window.studio;
  const button = (id) => document.getElementById(id);
  const writing = (node) => node.closest?.("input:not([type=checkbox], [type=range], [type=radio]), textarea, select, [contenteditable]");

  // While one of these is open, Escape closes it and doesn't stop the run. Gradio's list of choices exists only while
  // open.
  const opened = (node) =>
    document.querySelector("dialog[open], .studio-menu:popover-open, .studio-acts:popover-open, ul[role=listbox]") || node.closest?.("details[open] > :not(summary)") || (node.type === "search" && node.value);

  function stop(event) {
    if (!button("stop") || button("stop").disabled || opened(event.target)) return;
    event.preventDefault();
    button("stop").click();
  }

  function pressed(event) {
    if (event.defaultPrevented || composing(event)) return;
    if (event.key === "Escape") stop(event);
    else if (event.key === "?" && !writing(event.target) && !document.querySelector("dialog[open]")) showSheet(event);
  }

  // In the capture phase, as some fields would insert a line break.
  function caught(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || composing(event)) return;
    event.preventDefault();
    event.stopPropagation();
    if (!document.querySelector("dialog[open]")) button("generate")?.click();
  }

  addEventListener("keydown", caught, true);
  addEventListener("keydown", pressed);

  // The list of shortcuts: [keys, word] by group

  const command = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
  const groups = [
    ["keys_page", [[[command, "Enter"], "keys_generate"], [["Esc"], "keys_stop"], [["?"], "keys_sheet"]]],
    ["keys_prompt", [[["Alt", "↑"], "keys_older"], [["Alt", "↓"], "keys_newer"]]],
    ["keys_words", [[["Enter"], "keys_add"], [["←", "→"], "keys_walk"], [["Alt", "←"], "keys_move"], [["Delete"], "keys_remove"]]],
    [
      "keys_history",
      [[["←", "→", "↑", "↓"], "keys_walk"], [["Enter"], "keys_open"], [["Space"], "keys_select"], [["S"], "keys_star"], [["Delete"], "keys_delete"], [[command, "Z"], "keys_undo"]],
    ],
  ];

  function makeLine([keys, word]) {
    const [name, said] = [make("dt"), make("dd", "", say(word))];
    name.append(...keys.map((key) => make("kbd", "", key)));
    return [name, said];
  }

  function showSheet(event) {
    event?.preventDefault();
    const sheet = makeDialog("studio-keys", say("keys"), "✕", say("keys_close"));
    for (const [title, lines] of groups) {
      const list = make("dl");
      list.append(...lines.flatMap(makeLine));
      sheet.append(make("h3", "", say(title)), list);
    }
    openDialog(sheet);
  }

  window.studio.showKeys = showSheet;

  // Skip links, the first elements in the tab order

  function skip(word, id) {
    const link = make("a", "studio-skip", say(word));
    link.href = `#${id}`;
    link.onclick = (event) => {
      const target = button(id);
      if (!target) return;
      event.preventDefault();
      if (!target.matches("button, a, input")) target.tabIndex = -1;
      target.focus();
      target.scrollIntoView({ block: "nearest" });
    };
    return link;
  }

  addEventListener("DOMContentLoaded", () => {
    document.body.prepend(skip("skip_to_generate", "generate"), skip("skip_to_picture", "right"));
  });
})();
