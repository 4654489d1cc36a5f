// The page of a unit: a token that is pointed at shows its value in the histogram.

function light(bars, value) {
  for (const bar of bars) {
    const [low, high] = [Number(bar.dataset.low), Number(bar.dataset.high)];
    const last = bar === bars[bars.length - 1];
    bar.classList.toggle("lit", value !== null && value >= low && (value < high || (last && value <= high)));
  }
}

export function startUnit(root) {
  const bars = [...root.querySelectorAll(".density rect")];
  if (!bars.length) return;
  const value = (target) => {
    const example = target.closest("[data-value]");
    if (example && example.tagName === "MARK") return Number(example.dataset.value);
    const token = target.closest(".tested dd span, .tested dd mark");
    return token ? Number(token.title.replaceAll("−", "-")) : null;
  };
  root.addEventListener("pointerover", (event) => {
    const found = value(event.target);
    light(bars, Number.isFinite(found) ? found : null);
  });
}
