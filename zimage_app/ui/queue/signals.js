// Signals for users who look elsewhere during a run: the tab's title and icon always; a notification and a sound where
// they are switched on in the queue panel.
(() => {
  const { make, say } = window.studio;
  const RING = { width: 7, radius: 26 }; // pixels, in an icon of 64 x 64
  const NOTES = [660, 880]; // hertz
  const LOUDNESS = 0.08;
  const working = (state) => ["loading", "running", "saving", "stopping"].includes(state);
  const open = (state) => state === "waiting" || working(state);
  const wants = (what) => localStorage.getItem(`studio-signal-${what}`) === "on";
  const title = `Z-Image Progressive Studio · ${say("subtitle")}`;
  let icon = "";
  let drawn = "";
  let now = { state: "idle", progress: 0 };
  let unseen = ""; // how the last run ended while the tab was hidden; cleared when it is shown

  // Title and icon

  function draw() {
    const percent = Math.round(100 * now.progress);
    const mark = working(now.state) ? `${percent}% · ` : { done: "✓ ", failed: "✗ " }[unseen] || "";
    if (document.title !== mark + title) document.title = mark + title;
    drawIcon(working(now.state) ? now.progress : null);
  }

  async function drawIcon(progress) {
    const key = progress === null ? unseen : String(Math.round(20 * progress));
    if (key === drawn) return;
    drawn = key;
    const link = document.querySelector("link[rel~=icon]") || document.head.appendChild(make("link"));
    link.rel = "icon";
    icon ||= link.href || "favicon.ico";
    if (!key) {
      link.href = icon;
      return;
    }
    const image = new Image(64, 64);
    image.src = icon;
    if (!(await image.decode().then(() => true, () => false)) || key !== drawn) return;
    const canvas = make("canvas");
    canvas.width = canvas.height = 64;
    const paint = canvas.getContext("2d");
    paint.drawImage(image, 0, 0, 64, 64);
    if (progress === null) drawDot(paint, unseen === "done" ? "#2e9e5b" : "#d92d20");
    else drawRing(paint, progress);
    link.href = canvas.toDataURL();
  }

  function drawDot(paint, colour) {
    paint.fillStyle = colour;
    paint.strokeStyle = "#fff";
    paint.lineWidth = 5;
    paint.beginPath();
    paint.arc(47, 47, 14, 0, 2 * Math.PI);
    paint.fill();
    paint.stroke();
  }

  function drawRing(paint, progress) {
    paint.fillStyle = "rgb(0 0 0 / .45)";
    paint.fillRect(0, 0, 64, 64);
    paint.lineWidth = RING.width;
    for (const [colour, part] of [["rgb(255 255 255 / .35)", 1], ["#fff", Math.max(progress, 0.02)]]) {
      paint.strokeStyle = colour;
      paint.beginPath();
      paint.arc(32, 32, RING.radius, -Math.PI / 2, (2 * part - 0.5) * Math.PI);
      paint.stroke();
    }
  }

  // Notification and sound

  function notify(state) {
    if (!document.hidden || window.Notification?.permission !== "granted") return;
    const note = new Notification(say(state === "done" ? "signal_done" : "signal_failed"), { icon: "favicon.ico", tag: "studio" });
    note.onclick = () => {
      window.focus();
      note.close();
    };
  }

  // Browsers allow sound only after a click or key press, so the context is created by the first click or the switch.
  let sound = null;
  addEventListener("pointerdown", () => wants("sound") && context(), { once: true });

  function context() {
    sound ||= new AudioContext();
    if (sound.state === "suspended") sound.resume();
    return sound;
  }

  function play() {
    const audio = context();
    NOTES.forEach((pitch, place) => {
      const [tone, volume] = [audio.createOscillator(), audio.createGain()];
      const from = audio.currentTime + 0.16 * place;
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0, from);
      volume.gain.linearRampToValueAtTime(LOUDNESS, from + 0.02);
      volume.gain.exponentialRampToValueAtTime(0.0001, from + 0.6);
      tone.connect(volume).connect(audio.destination);
      tone.start(from);
      tone.stop(from + 0.65);
    });
  }

  // The switches

  // Some browsers have these functions but refuse them, as Android does notifications. A user
  // who looks elsewhere is told when the page is shown again.
  function signal(what, act) {
    if (!wants(what)) return;
    try {
      act();
    } catch {
      localStorage.setItem(`studio-signal-${what}`, "");
      const tell = () => window.studio.toast(say(`signal_${what}_fails`));
      if (document.hidden) document.addEventListener("visibilitychange", tell, { once: true });
      else tell();
    }
  }

  const allow = {
    notify: async () => {
      const answer = window.Notification && window.isSecureContext ? await Notification.requestPermission() : "none";
      return answer === "granted" ? "" : say(answer === "none" ? "signal_needs_https" : "signal_denied");
    },
    sound: async () => {
      play();
      return "";
    },
  };

  window.studio.makeSignals = () => {
    const box = make("div", "signals");
    const said = make("p", "said");
    said.setAttribute("role", "status");
    for (const what of Object.keys(allow)) {
      const label = make("label");
      const tick = make("input");
      tick.type = "checkbox";
      tick.checked = wants(what);
      tick.onchange = async () => {
        const refused = tick.checked ? await allow[what]() : "";
        if (refused) tick.checked = false;
        localStorage.setItem(`studio-signal-${what}`, tick.checked ? "on" : "");
        said.textContent = refused;
      };
      label.append(tick, make("span", "", say(`signal_${what}`)));
      box.append(label);
    }
    box.append(said);
    return box;
  };

  window.studio.showTitle = draw;
  document.addEventListener("studio:progress", (event) => {
    const before = now;
    now = event.detail;
    const ended = open(before.state) && ["done", "failed"].includes(now.state);
    if (ended && document.hidden) unseen = now.state;
    if (open(now.state)) unseen = "";
    draw();
    if (!ended) return;
    signal("notify", () => notify(now.state));
    signal("sound", play);
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    unseen = "";
    draw();
  });
})();
