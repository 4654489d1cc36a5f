// What every page does: copying, keys, and the parts that pages ask for.
import { startJobs } from "./job.js";
import { startLab } from "./lab.js";
import { startUnit } from "./unit.js";
import { startEdits } from "./edits.js";
import { startTables } from "./table.js";

/** Puts a text on the clipboard and says so on the button. */
async function copy(button) {
  const words = button.textContent;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    window.prompt("Copy this", button.dataset.copy);
  }
  setTimeout(() => { button.textContent = words; }, 1200);
}

/** Arrow keys follow the links that name them; a slash goes to the first field. */
function keys(event) {
  const writing = event.target.closest("input, textarea, select, canvas, .scroll, [contenteditable]");
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
  const field = document.querySelector("main textarea, main input[type=text]");
  if (link) {
    location.href = link.href;
  } else if (event.key === "/" && field) {
    event.preventDefault();
    field.focus();
    field.select();
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
document.addEventListener("keydown", keys);
const poll = document.querySelector("[data-poll]");
if (poll) setTimeout(() => location.reload(), Number(poll.dataset.poll));

startTables(document);
startLab(document);
startUnit(document);
startEdits(document);
startJobs(document);
