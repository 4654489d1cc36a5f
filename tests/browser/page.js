// What the tests measure in a page. Each function is called by its name.
const measures = {
  // Every drawing: its marks with a size, its texts that stick out, its labels that run into each other.
  charts: () => [...document.querySelectorAll("svg.chart")].map(svg => {
    const frame = svg.getBoundingClientRect();
    const marks = [...svg.querySelectorAll(".dots circle, .quiet circle, .line, .bar, .heat rect, .band, .interval")];
    const painted = mark => {
      const style = getComputedStyle(mark), box = mark.getBoundingClientRect();
      return box.width + box.height > 0 && (style.fill !== "none" || style.stroke !== "none");
    };
    const texts = [...svg.querySelectorAll("text")].map(t => [t, t.getBoundingClientRect()]);
    const out = texts.filter(([, b]) => b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1);
    const level = texts.filter(([t]) => !t.hasAttribute("transform"));
    const meet = (a, b) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom;
    const clash = level.filter(([, a], i) => level.some(([, b], j) => j > i && meet(a, b)));
    return {
      name: svg.getAttribute("aria-label"),
      marks: marks.length,
      unpainted: marks.filter(m => !painted(m)).length,
      colours: new Set(marks.map(m => getComputedStyle(m).fill)).size,
      sticking_out: out.map(([t]) => t.textContent),
      clashing: clash.map(([t]) => t.textContent),
    };
  }),
  // Marks that the pointer cannot reach, of those that say a value.
  unreachable: () => [...document.querySelectorAll("svg.chart")].flatMap(svg => {
    const marks = [...svg.querySelectorAll("circle, .bar, .heat rect")].filter(m => m.querySelector("title"));
    const some = marks.filter((_, i) => i % Math.ceil(marks.length / 10) === 0);
    return some.filter(mark => {
      mark.scrollIntoView({ block: "center", behavior: "instant" });
      const b = mark.getBoundingClientRect();
      const hit = document.elementFromPoint(b.left + b.width / 2, b.top + b.height / 2);
      return !hit || !hit.querySelector("title");
    }).map(m => m.querySelector("title").textContent);
  }),
  // Every text whose colour is too near to its ground, and how many texts there are.
  contrast: () => {
    const parse = c => c.match(/[\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => {
      const f = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
    };
    const ground = e => {
      for (; e; e = e.parentElement) {
        const c = parse(getComputedStyle(e).backgroundColor);
        if (c.length < 4 || c[3] === 1) return c;
        if (c[3] > 0) throw new Error("half transparent ground");
      }
      return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let seen = 0;
    const faint = [];
    while (walker.nextNode()) {
      const e = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
      if (!text || e.closest("title") || !e.getClientRects().length) continue;
      seen += 1;
      const style = getComputedStyle(e);
      const [a, b] = [luminance(parse(e.closest("svg") ? style.fill : style.color)), luminance(ground(e))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (ratio < 4.5) faint.push([text, ratio]);
    }
    return { seen, faint, page: luminance(ground(document.body)) };
  },
  // By how much the page is wider than the window.
  overflow: () => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth,
};
return measures[arguments[0]]();
