"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- sorting: missing values stay last, equal ones keep their order ---
  const collator = new Intl.Collator(undefined, { numeric: true });
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent.trim() : Number(cell.dataset.v || NaN);
  };
  const empty = (value) => value === "–" || Number.isNaN(value);
  const order = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));

  for (const button of all("th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th"),
        table = head.closest("table"),
        column = head.cellIndex;
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
      rows.sort(([a], [b]) => empty(a) - empty(b) || (empty(a) ? 0 : sign * order(a, b)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  }

  // --- filtering a long list of classes ---
  for (const input of all("[data-filter]")) {
    input.closest(".filter").hidden = false;
    input.addEventListener("input", () => {
      const wanted = input.value.toLowerCase();
      for (const row of document.getElementById(input.dataset.filter).tBodies[0].rows)
        row.hidden = !row.cells[1].textContent.toLowerCase().includes(wanted);
    });
  }

  // --- copying the command ---
  for (const button of all("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected: press Ctrl+C";
      }
    });
  }

  // --- reading the confusion map: point, tap or use the arrow keys ---
  for (const box of all(".heat")) {
    const svg = box.querySelector("svg"),
      cursor = svg.querySelector(".cursor");
    const readout = box.parentElement.querySelector(".readout");
    const names = JSON.parse(box.dataset.names),
      pictures = JSON.parse(box.dataset.pictures);
    const rows = JSON.parse(box.dataset.cells).map((row) => {
      const found = new Map();
      for (let i = 0; i < row.length; i += 2) found.set(row[i], row[i + 1]);
      return found;
    });
    const cell = Number(svg.dataset.cell),
      edge = Number(svg.dataset.edge);
    let at = [0, 0];
    const go = (i, j) => {
      if (!(i >= 0 && j >= 0 && i < names.length && j < names.length)) return;
      at = [i, j];
      cursor.setAttribute("x", edge + j * cell - 0.5);
      cursor.setAttribute("y", edge + i * cell - 0.5);
      cursor.classList.add("on");
      const total = pictures[i],
        n = rows[i].get(j) || 0;
      const share = total ? ` (${((100 * n) / total).toFixed(1)} %)` : "";
      readout.textContent =
        "several" in box.dataset
          ? `${names[j]} called for ${n} of ${total} pictures that show ${names[i]}${share}`
          : `${names[i]} called ${names[j]}: ${n} of ${total} pictures${share}`;
    };
    const point = (event) => {
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      go(Math.floor((place.y - edge) / cell), Math.floor((place.x - edge) / cell));
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("click", point);
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    box.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      go(at[0] + move[0], at[1] + move[1]);
    });
    readout.textContent = "Point at a cell, or use the arrow keys, to read it.";
  }

  // --- a link into a folded part opens it; printing opens everything ---
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target) target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  if (location.hash) unfold();
  addEventListener("beforeprint", () =>
    all("details").forEach((part) => {
      part.open = true;
    }),
  );
})();
