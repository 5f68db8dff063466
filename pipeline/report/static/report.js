"use strict";

// Script of a report page: draws charts in the colors of the theme, sorts tables, and marks the
// current section. It makes no requests.

const root = document.documentElement;
const content = JSON.parse(document.getElementById("report-data").textContent);
const drawn = new Map();

/** Returns the color of a style sheet property in the current theme. */
function color(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Replaces color names such as "$series0" by colors. */
function painted(value) {
  if (Array.isArray(value)) return value.map(painted);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, painted(inner)]));
  }
  return typeof value === "string" && /^\$[a-z]+\d?$/.test(value) ? color(value.slice(1)) : value;
}

function theme() {
  const [ink, muted, hairline] = ["ink", "muted", "hairline"].map(color);
  const font = getComputedStyle(document.body).fontFamily;
  return {
    background: null,
    font,
    view: { stroke: null },
    axis: {
      labelColor: muted, titleColor: muted, labelFontSize: 11, titleFontSize: 11,
      titleFontWeight: 400, gridColor: hairline, domainColor: hairline, tickColor: hairline,
    },
    axisX: { grid: false },
    axisY: { ticks: false, domain: false },
    legend: {
      orient: "top", labelColor: ink, labelFontSize: 12, symbolStrokeWidth: 2.5, symbolOpacity: 1, offset: 6,
      labelLimit: 240, columnPadding: 16,
    },
    point: { opacity: 1 },
    text: { fontSize: 11 },
    line: { strokeWidth: 2, strokeJoin: "round" },
    rule: { color: muted },
  };
}

async function draw(place) {
  const spec = painted(content.specs[place.dataset.chart]);
  drawn.get(place)?.finalize();
  const whole = {
    ...spec,
    datasets: painted(content.data),
    width: "container",
    autosize: { type: "fit-x", contains: "padding" },
    config: theme(),
  };
  // `ast` interprets expressions; the content security policy forbids eval().
  const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true };
  drawn.set(place, await vegaEmbed(place, whole, options));
}

/** Draws charts when they come near the viewport; in collapsed details they have no width. */
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting && !drawn.has(target)) {
      drawn.set(target, undefined);
      draw(target);
    }
  }
}, { rootMargin: "800px" });
document.querySelectorAll("[data-chart]").forEach((place) => near.observe(place));

function redraw() {
  for (const place of drawn.keys()) draw(place);
}
const systemDark = matchMedia("(prefers-color-scheme: dark)");
systemDark.addEventListener("change", redraw);
addEventListener("beforeprint", () => {
  document.querySelectorAll("[data-chart]").forEach((place) => drawn.has(place) || draw(place));
});

const toggle = document.getElementById("theme");
function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
}
function nameToggle() {
  toggle.textContent = isDark() ? "Light" : "Dark";
  toggle.setAttribute("aria-label", `Switch to the ${isDark() ? "light" : "dark"} theme`);
}
toggle.hidden = false;
toggle.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  nameToggle();
  redraw();
});
systemDark.addEventListener("change", nameToggle);
nameToggle();

/** Sorts rows by number or text; empty cells stay last. */
function sort(heading) {
  const row = heading.parentElement;
  const index = heading.cellIndex;
  const down = heading.getAttribute("aria-sort") === "ascending";
  const key = (line) => {
    const cell = line.cells[index];
    return cell.dataset.value === undefined ? cell.textContent.trim() : Number(cell.dataset.value);
  };
  const body = heading.closest("table").tBodies[0];
  const lines = [...body.rows].map((line) => [key(line), line]);
  lines.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = typeof a === "number" && typeof b === "number"
      ? a - b
      : String(a).localeCompare(String(b), undefined, { numeric: true });
    return down ? -order : order;
  });
  for (const other of row.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  body.append(...lines.map(([, line]) => line));
}
document.querySelectorAll("thead th").forEach((heading) => {
  heading.querySelector("button").addEventListener("click", () => sort(heading));
});

const sections = [...document.querySelectorAll("main > section")];
const links = sections.map((section) => document.querySelector(`nav a[href="#${section.id}"]`));

/** Marks the last section that starts above the upper third of the viewport. */
function mark() {
  const begun = sections.filter((s) => s.getBoundingClientRect().top < innerHeight / 3).length;
  links.forEach((link, index) => {
    const here = index === Math.max(0, begun - 1);
    if (here === link.hasAttribute("aria-current")) return;
    link.toggleAttribute("aria-current", here);
    if (!here) return;
    link.setAttribute("aria-current", "true");
    const list = link.closest("nav");
    list.scrollTo({ left: link.offsetLeft - (list.clientWidth - link.offsetWidth) / 2 });
  });
}
addEventListener("scroll", () => requestAnimationFrame(mark), { passive: true });
mark();
