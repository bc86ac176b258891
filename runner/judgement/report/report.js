// Comfort only: the page says everything without it. Remembers the colours; a slider reads all series at one moment.
"use strict";
(() => {
  const store = (act) => { try { return act(window.localStorage); } catch { return null; } };
  const themes = document.querySelectorAll("input[name=theme]");
  const chosen = store((kept) => kept.getItem("runner-report-theme"));
  for (const theme of themes) {
    if (theme.value === chosen) theme.checked = true;
    theme.addEventListener("change", () => store((kept) => kept.setItem("runner-report-theme", theme.value)));
  }

  // A link to a record that lies in a closed part opens it.
  const open = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    for (let part = target && target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    if (target && target.closest("details")) target.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();

  const timeline = document.querySelector(".timeline");
  if (!timeline) return;
  const end = Number(timeline.dataset.end);
  const COLUMNS = 1000, HEIGHT = 100;
  const rows = [...timeline.querySelectorAll(".series")].map((row) => {
    const low = Number(row.dataset.low), high = Number(row.dataset.high);
    const at = new Map(); // column → the lowest and highest value in it
    for (const [, x, y] of row.querySelector("path").getAttribute("d").matchAll(/(\d+) (\d+)/g)) {
      const value = high - (Number(y) * (high - low)) / HEIGHT;
      const seen = at.get(Number(x)) || [value, value];
      at.set(Number(x), [Math.min(seen[0], value), Math.max(seen[1], value)]);
    }
    return { at, unit: row.dataset.unit, said: row.querySelector("output") };
  });
  const short = (value) => Number(value.toPrecision(3)).toString();
  const near = (at, x) => {
    for (let off = 0; off <= 8; off++) for (const place of [x - off, x + off]) if (at.has(place)) return at.get(place);
    return null;
  };

  const cursor = Object.assign(document.createElement("div"), { className: "cursor", hidden: true });
  const slider = Object.assign(document.createElement("input"), { type: "range", min: 0, max: COLUMNS - 1, value: 0, className: "scrub" });
  const label = Object.assign(document.createElement("label"), { className: "name", textContent: "Read at " });
  const moment = document.createElement("output");
  const holder = Object.assign(document.createElement("div"), { className: "row scrubber" });
  slider.id = "scrub";
  label.htmlFor = "scrub";
  label.append(moment);
  holder.append(label, slider);
  timeline.prepend(holder);
  timeline.append(cursor);

  const show = (x) => {
    const plot = timeline.querySelector(".plot").getBoundingClientRect();
    const seconds = ((x + 0.5) / COLUMNS) * end;
    slider.value = x;
    slider.setAttribute("aria-valuetext", seconds.toFixed(1) + " s");
    moment.textContent = seconds.toFixed(1) + " s";
    cursor.hidden = false;
    cursor.style.left = plot.left - timeline.getBoundingClientRect().left + ((x + 0.5) / COLUMNS) * plot.width + "px";
    for (const { at, unit, said } of rows) {
      const found = near(at, x);
      said.textContent = !found ? "no sample" : (found[0] === found[1] ? short(found[0]) : short(found[0]) + "–" + short(found[1])) + " " + unit;
    }
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  timeline.addEventListener("pointermove", (event) => {
    const plot = timeline.querySelector(".plot").getBoundingClientRect();
    const share = (event.clientX - plot.left) / plot.width;
    if (share >= 0 && share <= 1 && event.target !== slider) show(Math.min(COLUMNS - 1, Math.floor(share * COLUMNS)));
  });
})();
