// What the model will read, where that isn't the prompt itself: trigger words in front, LoRA tags taken out.
const line = element.querySelector(".reading");
line.querySelector("b").textContent = window.studio.words.reads;

document.addEventListener("studio:reads", (event) => {
  const reads = event.detail;
  line.hidden = !reads;
  if (!reads) return;
  line.querySelector(".text").textContent = reads.text;
  line.querySelector(".tags").textContent = reads.loras.map((use) => `LoRA ${use}`).join(" · ");
});
