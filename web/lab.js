// Attention thumbnails: drawn from bytes, read by pointing, held by a click.

/** The colours of the sequential scale, as the style sheet has them now. */
function scale() {
  const style = getComputedStyle(document.documentElement);
  return Array.from({ length: 65 }, (_, level) => style.getPropertyValue(`--q${level}`).trim());
}

/** The weight of a query on a key: bytes hold the lower triangle, row by row. */
function weight(bytes, query, key) {
  return key > query ? 0 : bytes[(query * (query + 1)) / 2 + key] / 255;
}

function draw(head, colours) {
  const { canvas, size, bytes } = head;
  const cell = Math.max(1, Math.floor(176 / size));
  canvas.width = canvas.height = cell * size;
  const pen = canvas.getContext("2d");
  for (let query = 0; query < size; query += 1) {
    for (let key = 0; key <= query; key += 1) {
      pen.fillStyle = colours[Math.round(64 * weight(bytes, query, key))];
      pen.fillRect(key * cell, query * cell, cell, cell);
    }
  }
  if (head.query !== null) {
    pen.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ink");
    pen.strokeRect(0.5, head.query * cell + 0.5, (head.query + 1) * cell - 1, cell - 1);
  }
}

/** Shades the strip of tokens by what a query attends to. */
function shade(strip, head) {
  strip.querySelectorAll("li").forEach((token, key) => {
    const value = head === null || key > head.query ? 0 : weight(head.bytes, head.query, key);
    token.className = token.className.replace(/\bq\d+\b|\bquery\b/g, "").trim();
    if (head !== null) token.classList.add(`q${Math.round(20 * value)}`);
    if (head !== null && key === head.query) token.classList.add("query");
  });
}

function startHeads(group, strip) {
  const words = JSON.parse(group.dataset.words);
  const reading = group.querySelector(".reading");
  let held = null;
  const heads = [...group.querySelectorAll("canvas")].map((canvas) => {
    const bytes = Uint8Array.from(atob(canvas.dataset.pattern), (c) => c.charCodeAt(0));
    return { canvas, bytes, size: Number(canvas.dataset.size), query: null, name: canvas.dataset.head };
  });
  const redraw = () => { const colours = scale(); heads.forEach((head) => draw(head, colours)); };
  const show = (head, query) => {
    heads.forEach((other) => { other.query = other === head ? query : null; });
    redraw();
    if (strip) shade(strip, head && { ...head, query });
    if (!head) { reading.textContent = "No head is held."; return; }
    const order = Array.from({ length: query + 1 }, (_, key) => key).sort((a, b) => weight(head.bytes, query, b) - weight(head.bytes, query, a));
    const list = order.slice(0, 4).map((key) => `“${words[key]}” (${key}) ${weight(head.bytes, query, key).toFixed(2)}`);
    const said = `Head ${head.name}${held === head ? ", held" : ""}: “${words[query]}” (${query}) attends to ${list.join(", ")}`;
    reading.textContent = said;
    head.canvas.setAttribute("aria-valuenow", query);
    head.canvas.setAttribute("aria-valuetext", said);
  };
  heads.forEach((head) => {
    const at = (event) => {
      const box = head.canvas.getBoundingClientRect();
      return Math.min(head.size - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * head.size)));
    };
    head.canvas.addEventListener("pointermove", (event) => { if (!held || held === head) show(head, at(event)); });
    head.canvas.addEventListener("pointerleave", () => { if (!held) show(null, 0); });
    head.canvas.addEventListener("click", (event) => { held = held === head ? null : head; show(head, at(event)); });
    head.canvas.addEventListener("focus", () => { if (!held) show(head, head.query ?? head.size - 1); });
    head.canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (step) {
        event.preventDefault();
        show(head, Math.min(head.size - 1, Math.max(0, (head.query ?? head.size - 1) + step)));
      } else if (event.key === "Enter" || event.key === "Escape") {
        held = event.key === "Enter" && held !== head ? head : null;
        show(head, head.query ?? head.size - 1);
      }
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
}

export function startLab(root) {
  const strips = root.querySelectorAll("[data-strip]");
  root.querySelectorAll(".heads").forEach((group, side) => startHeads(group, strips[side]));
}
