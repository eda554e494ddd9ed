// The top bar: language and light or dark, both remembered by the browser; and what belongs to the page as a whole:
// Ctrl+Enter, and the help of the control under the pointer or in focus.
const page = window.studio;
const bar = element.querySelector(".bar");
const language = bar.querySelector(".language");
const theme = bar.querySelector(".theme");

bar.querySelector(".subtitle").textContent = page.words.subtitle;
language.title = page.words.switch_language;
language.setAttribute("aria-label", page.words.switch_language);
theme.title = page.words.switch_theme;
theme.setAttribute("aria-label", page.words.switch_theme);

language.onclick = () => {
  const other = page.language === "zh" ? "en" : "zh";
  // In the frame of a Space the page is a third party; browsers keep its cookies only when they are partitioned.
  const frame = location.protocol === "https:" ? "SameSite=None; Secure; Partitioned" : "SameSite=Lax";
  document.cookie = `${page.cookie}=${other}; Path=/; Max-Age=31536000; ${frame}`;
  location.reload();
};

function show(name) {
  for (const node of [document.documentElement, document.body]) node.classList.toggle("dark", name === "dark");
  theme.setAttribute("aria-pressed", String(name === "dark"));
}

const dark = document.body.classList.contains("dark") ? "dark" : "light";
show(localStorage.getItem("studio_theme") || dark);
theme.onclick = () => {
  const next = document.body.classList.contains("dark") ? "light" : "dark";
  localStorage.setItem("studio_theme", next);
  show(next);
};

addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
  event.preventDefault();
  document.getElementById("generate").click();
});

const help = window.studio.make("div");
help.className = "studio-help";
help.hidden = true;
document.body.append(help);

function showHelp(event) {
  const block = event.target.closest?.("#settings .block[id^=knob-]");
  const text = block?.querySelector("[class*=info-text]")?.textContent;
  help.hidden = !text || block.id === "knob-model";
  if (help.hidden) return;
  help.textContent = text;
  const place = block.getBoundingClientRect();
  help.style.left = `${Math.max(8, Math.min(place.left + 12, innerWidth - help.offsetWidth - 8))}px`;
  const below = place.bottom + 4;
  help.style.top = `${below + help.offsetHeight < innerHeight ? below : place.top - help.offsetHeight - 4}px`;
}

for (const kind of ["pointerover", "focusin"]) addEventListener(kind, showHelp);
addEventListener("scroll", () => (help.hidden = true), true);
addEventListener("keydown", (event) => event.key === "Escape" && (help.hidden = true));
