// The editor for a start picture's mask. Opened by the event studio:mask, whose detail is the page's start picture
// ({picture, mask, extend, feather, differential, paste}) with callbacks: "use" for the changed settings and, if the stages
// get its proportions, the canvas's width and height; "showError" for a message. The mask is the alpha channel of the .paint canvas; it is
// uploaded as a picture that is white where it is painted.
const page = window.studio;
const { make, makeButton, say } = page;
const root = element.querySelector(".mask-editor");
const find = (selector) => root.querySelector(selector);
const [show, sheet, image, halo, canvas, brush] = [".show", ".sheet", "img", "canvas.halo", "canvas.paint", ".brush"].map(find);
const paint = canvas.getContext("2d", { willReadFrequently: true });

const sides = ["left", "top", "right", "bottom"];
const colour = "#c44d30";
const largestSide = 1536; // pixels of a mask; the model works at an eighth of the resolution
const mostUndone = 20;
const usualFeather = 16;
const zooms = { least: 0.05, most: 16, step: 1.25 };

let opener = null;
let tool = "paint";
let size = 60; // of the brush, in pixels of the picture; so are all lengths here without another unit
let extend = [0, 0, 0, 0];
let scale = 1; // pixels of the mask per pixel of the picture
let view = { x: 0, y: 0, zoom: 1 };
let cursor = { x: 0, y: 0 }; // in pixels of the mask
let past = [];
let future = [];
let warned = false; // that Escape would lose what was painted

// The canvas

function channel(which) {
  const { data } = paint.getImageData(0, 0, canvas.width, canvas.height);
  const values = new Uint8Array(data.length / 4);
  for (let place = 0; place < values.length; place += 1) values[place] = data[4 * place + which];
  return values;
}

const alphaOf = () => channel(3);

function putAlpha(alpha) {
  paint.fillStyle = colour;
  paint.fillRect(0, 0, canvas.width, canvas.height);
  const pixels = paint.getImageData(0, 0, canvas.width, canvas.height);
  for (let place = 0; place < alpha.length; place += 1) pixels.data[4 * place + 3] = alpha[place];
  paint.putImageData(pixels, 0, 0);
}

function remember() {
  past = [...past.slice(1 - mostUndone), alphaOf()];
  future = [];
  warned = false;
}

function restore(from, to) {
  if (!from.length) return;
  to.push(alphaOf());
  putAlpha(from.pop());
  drawPainted();
}

function change(act) {
  remember();
  act();
  drawPainted();
}

const invert = () => change(() => putAlpha(alphaOf().map((value) => 255 - value)));
const clear = () => change(() => paint.clearRect(0, 0, canvas.width, canvas.height));

function stroke(from, to) {
  paint.globalCompositeOperation = tool === "erase" ? "destination-out" : "source-over";
  paint.strokeStyle = colour;
  paint.lineWidth = size * scale;
  paint.lineCap = "round";
  paint.beginPath();
  paint.moveTo(from.x, from.y);
  paint.lineTo(to.x + 0.01, to.y); // a line of length 0 would draw nothing
  paint.stroke();
  paint.globalCompositeOperation = "source-over";
}

function drawPainted() {
  drawHalo();
  const alpha = alphaOf();
  const inside = alpha.reduce((sum, value) => sum + value, 0) / 255 / scale ** 2;
  const [width, height] = canvasSize();
  const added = width * height - image.naturalWidth * image.naturalHeight;
  const share = Math.min(1, (inside + added) / (width * height));
  const words = share === 0 ? "mask_nothing" : share > 0.999 ? "mask_everything" : "mask_part";
  find(".state").textContent = say(words, { percent: Math.max(1, Math.round(100 * share)) });
  const [undo, redo] = root.querySelectorAll(".acts button");
  undo.disabled = !past.length;
  redo.disabled = !future.length;
}

function drawHalo() {
  const feather = Number(find(".feather input").value);
  halo.getContext("2d").clearRect(0, 0, halo.width, halo.height);
  halo.getContext("2d").drawImage(canvas, 0, 0);
  halo.style.filter = feather ? `blur(${(feather * scale) / 2}px)` : "";
  find(".feather span").textContent = `${say("mask_feather")}: ${feather}`;
}

// Geometry

const canvasSize = () => [image.naturalWidth + extend[0] + extend[2], image.naturalHeight + extend[1] + extend[3]];

function drawView() {
  sheet.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
}

function arrange() {
  const [width, height] = canvasSize();
  sheet.style.width = `${width * scale}px`;
  sheet.style.height = `${height * scale}px`;
  for (const each of [image, halo, canvas]) {
    each.style.left = `${extend[0] * scale}px`;
    each.style.top = `${extend[1] * scale}px`;
    each.style.width = `${canvas.width}px`;
    each.style.height = `${canvas.height}px`;
  }
  find(".size").textContent = say("mask_canvas", { width, height });
}

function showAll() {
  const [width, height] = canvasSize().map((side) => side * scale);
  const zoom = Math.min((show.clientWidth - 24) / width, (show.clientHeight - 24) / height);
  view = { zoom, x: (show.clientWidth - width * zoom) / 2, y: (show.clientHeight - height * zoom) / 2 };
  drawView();
}

function zoomBy(factor, at = { x: show.clientWidth / 2, y: show.clientHeight / 2 }) {
  const zoom = Math.min(zooms.most, Math.max(zooms.least, view.zoom * factor));
  const kept = zoom / view.zoom;
  view = { zoom, x: at.x - (at.x - view.x) * kept, y: at.y - (at.y - view.y) * kept };
  drawView();
}

function drawBrush() {
  brush.style.left = `${cursor.x + extend[0] * scale}px`;
  brush.style.top = `${cursor.y + extend[1] * scale}px`;
  brush.style.width = brush.style.height = `${size * scale}px`;
  find(".brush-size span").textContent = `${say("mask_brush")}: ${size}`;
  find(".brush-size input").value = size;
}

// Pointers: one paints or moves, two move and zoom

const pointers = new Map();
let stroking = null;

const inShow = (event) => {
  const box = show.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
};
const inMask = ({ x, y }) => ({
  x: (x - view.x) / view.zoom - extend[0] * scale,
  y: (y - view.y) / view.zoom - extend[1] * scale,
});
const pinchOf = ([one, other]) => ({
  x: (one.x + other.x) / 2,
  y: (one.y + other.y) / 2,
  apart: Math.hypot(one.x - other.x, one.y - other.y) || 1,
});

show.onpointerdown = (event) => {
  show.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, inShow(event));
  cursor = inMask(inShow(event));
  drawBrush();
  if (pointers.size > 1) return cancelStroke();
  if (tool === "move" || event.button) return;
  remember();
  stroking = cursor;
  stroke(cursor, cursor);
};

function cancelStroke() {
  if (stroking) putAlpha(past.pop());
  stroking = null;
}

show.onpointermove = (event) => {
  const before = [...pointers.values()];
  const last = pointers.get(event.pointerId);
  const here = inShow(event);
  if (last) pointers.set(event.pointerId, here);
  cursor = inMask(here);
  drawBrush();
  if (!last) return;
  if (before.length === 2) {
    const [then, now] = [pinchOf(before), pinchOf([...pointers.values()])];
    zoomBy(now.apart / then.apart, now);
    moveBy(now.x - then.x, now.y - then.y);
  } else if (stroking) {
    stroke(stroking, cursor);
    stroking = cursor;
  } else {
    moveBy(here.x - last.x, here.y - last.y);
  }
};

function moveBy(x, y) {
  view = { ...view, x: view.x + x, y: view.y + y };
  drawView();
}

show.onpointerup = show.onpointercancel = (event) => {
  pointers.delete(event.pointerId);
  if (stroking) drawPainted();
  stroking = null;
};
show.oncontextmenu = (event) => event.preventDefault();
show.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoomBy(event.deltaY < 0 ? zooms.step : 1 / zooms.step, inShow(event));
  },
  { passive: false }
);

// Keys

function step(x, y) {
  const distance = Math.max(1, (size * scale) / 4);
  const limit = (value, most) => Math.min(most, Math.max(0, value));
  cursor = { x: limit(cursor.x + x * distance, canvas.width), y: limit(cursor.y + y * distance, canvas.height) };
  drawBrush();
}

function resizeBrush(next) {
  const { min, max } = find(".brush-size input");
  size = Math.min(Number(max), Math.max(Number(min), Math.round(next)));
  drawBrush();
}

const keys = {
  ArrowLeft: () => step(-1, 0),
  ArrowRight: () => step(1, 0),
  ArrowUp: () => step(0, -1),
  ArrowDown: () => step(0, 1),
  " ": () => tool !== "move" && change(() => stroke(cursor, cursor)),
  "[": () => resizeBrush(size / zooms.step),
  "]": () => resizeBrush(size * zooms.step),
  "+": () => zoomBy(zooms.step),
  "-": () => zoomBy(1 / zooms.step),
  0: showAll,
};

show.onkeydown = (event) => {
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
};
root.onkeydown = (event) => {
  event.stopPropagation();
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  if (event.shiftKey) restore(future, past);
  else restore(past, future);
};

// Tools

const button = (name, act) => makeButton(name, say(`mask_${name}`), "", act);

function choose(next) {
  tool = next;
  show.dataset.tool = next;
  for (const each of find(".tools").children) each.setAttribute("aria-pressed", String(each.className === next));
}

find(".tools").append(...["paint", "erase", "move"].map((name) => button(name, () => choose(name))));
find(".acts").append(
  button("undo", () => restore(past, future)),
  button("redo", () => restore(future, past)),
  button("invert", invert),
  button("clear", clear)
);
find(".zooms").append(
  button("zoom_out", () => zoomBy(1 / zooms.step)),
  button("whole", showAll),
  button("zoom_in", () => zoomBy(zooms.step))
);
find(".extend").append(
  ...sides.map((side, place) => {
    const label = make("label", side, say(`mask_${side}`));
    const input = make("input");
    Object.assign(input, { type: "number", min: 0, max: props.bounds.extend, step: 16 });
    input.onchange = () => (input.value = extend[place]);
    input.oninput = () => {
      extend[place] = Math.min(props.bounds.extend, Math.max(0, Math.round(Number(input.value) || 0)));
      arrange();
      showAll();
      drawPainted();
    };
    label.append(input);
    return label;
  })
);
find(".brush-size input").oninput = (event) => resizeBrush(Number(event.target.value));
find(".feather input").max = props.bounds.feather;
find(".feather input").oninput = drawHalo;
find(".shape").onclick = () => {
  setShaping(!shaping());
  find(".state").textContent = shaping() ? say("mask_shaped") : "";
};
const shaping = () => find(".shape").getAttribute("aria-pressed") === "true";
const setShaping = (on) => find(".shape").setAttribute("aria-pressed", String(on));
find(".cancel").onclick = () => root.close();
find(".apply").onclick = apply;
root.oncancel = (event) => {
  if (!past.length || warned) return;
  event.preventDefault();
  warned = true;
  find(".state").textContent = say("mask_escape");
};

// Opening and using

async function loadImage(source) {
  const picture = new Image();
  picture.src = source;
  await picture.decode();
  return picture;
}

async function takeMask(digest) {
  paint.drawImage(await loadImage(`inputs/${digest}`), 0, 0, canvas.width, canvas.height);
  // As on the server, what is transparent is redrawn; a mask without transparency is grey, so any channel will do.
  const opaque = alphaOf();
  putAlpha(opaque.some((value) => value < 255) ? opaque.map((value) => 255 - value) : channel(1));
}

async function open(detail) {
  opener = detail;
  const { start } = detail;
  [past, future] = [[], []];
  warned = false;
  find(".problem").textContent = "";
  image.src = `inputs/${start.picture}`;
  try {
    await image.decode();
    scale = Math.min(1, largestSide / Math.max(image.naturalWidth, image.naturalHeight));
    canvas.width = halo.width = Math.round(image.naturalWidth * scale);
    canvas.height = halo.height = Math.round(image.naturalHeight * scale);
    if (start.mask) await takeMask(start.mask);
  } catch {
    return detail.showError(say("start_gone"));
  }
  extend = [...(start.extend || extend.map(() => 0))];
  const isNew = !start.mask && extend.every((side) => !side);
  root.querySelectorAll(".extend input").forEach((input, place) => (input.value = extend[place]));
  find(".feather input").value = isNew ? usualFeather : start.feather || 0;
  find(".differential input").checked = typeof start.differential === "number";
  find(".paste input").checked = start.paste !== false;
  setShaping(false);
  choose("paint");
  resizeBrush(Math.max(image.naturalWidth, image.naturalHeight) / 12);
  cursor = { x: canvas.width / 2, y: canvas.height / 2 };
  root.showModal();
  arrange();
  showAll();
  drawBrush();
  drawPainted();
}

function asPicture() {
  const copy = make("canvas");
  Object.assign(copy, { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d");
  context.drawImage(canvas, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, copy.width, copy.height);
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "#000";
  context.fillRect(0, 0, copy.width, copy.height);
  return new Promise((done) => copy.toBlob(done, "image/png"));
}

async function apply() {
  const mine = opener;
  const isPainted = alphaOf().some((value) => value > 0);
  find(".apply").disabled = true;
  const answer = isPainted ? await page.uploadPicture(await asPicture(), "mask.png") : { picture: null };
  find(".apply").disabled = false;
  // Drop the answer if the editor was left meanwhile.
  if (!root.open || mine !== opener) return;
  find(".problem").textContent = answer.error || "";
  if (answer.error) return;
  const keeps = isPainted || extend.some((side) => side);
  const differential = find(".differential input").checked ? opener.start.differential || 1 : null;
  const changes = {
    mask: answer.picture,
    extend: [...extend],
    feather: keeps ? Number(find(".feather input").value) : 0,
    differential: keeps ? differential : null,
    paste: find(".paste input").checked,
  };
  opener.use(changes, shaping() ? canvasSize() : null);
  root.close();
}

// Words

find("h2").textContent = say("mask_title");
root.setAttribute("aria-label", say("mask_title"));
show.setAttribute("aria-label", say("mask_surface"));
find(".tools").setAttribute("aria-label", say("mask_title"));
find(".extend legend").textContent = say("mask_extend");
find(".extend").title = say("mask_extend_help");
find(".apply").textContent = say("mask_apply");
find(".cancel").textContent = say("mask_cancel");
find(".shape").textContent = say("mask_shape");
for (const field of ["feather", "differential", "paste"]) {
  find(`.${field} span`).textContent = say(`mask_${field}`);
  find(`.${field}`).title = say(`mask_${field}_help`);
}

document.addEventListener("studio:mask", (event) => open(event.detail));
