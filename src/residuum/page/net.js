// --- the net: drawn, and switched ---
import { arch, curve, flows, layOut, line, place, stretch } from "./drawing.js";
import { percent, said, t } from "./words.js";

export const SLOTS = 6;
const SVG = "http://www.w3.org/2000/svg";
const UPRIGHT_BELOW = 640;

const element = (name, values, parent) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  parent.append(made);
  return made;
};
/** How wide the drawing may be, in pixels, so that what holds it need not scroll. */
const roomFor = (box) => {
  const around = getComputedStyle(box.parentElement);
  const padding = parseFloat(around.paddingLeft) + parseFloat(around.paddingRight);
  return Math.max(300, box.parentElement.clientWidth - padding);
};
/** Cut a text to so many letters; one of Chinese is as wide as two. */
const clipped = (text, most) => {
  let wide = 0;
  const letters = [...text];
  const fit = letters.findIndex((letter) => (wide += letter > "\u2e7f" ? 2 : 1) > most);
  return fit < 0 ? text : `${letters.slice(0, Math.max(1, fit - 1)).join("")}…`;
};

/** A drawing in `box`; `flip(name)` is called when a block is to be switched. */
export const drawnNet = (box, flip) => {
  let blocks = [],
    made = null,
    parts = null,
    shown = null,
    current = 0;

  // --- what stands still ---
  const build = () => {
    const width = roomFor(box);
    made = layOut(blocks, width, width < UPRIGHT_BELOW);
    const held = box.contains(document.activeElement);
    box.replaceChildren();
    box.style.width = `${made.size[0]}px`;
    box.style.height = `${made.size[1]}px`;
    const svg = element("svg", { viewBox: `0 0 ${made.size.join(" ")}`, "aria-hidden": "true" }, box);
    parts = { arches: [], stretches: [], switches: [], knobs: [], buttons: [], words: [] };
    const layer = (name) => element("g", { class: name }, svg);
    const [under, lines, over, text] = [layer("under"), layer("lines"), layer("over"), layer("text")];
    parts.ribbons = slots((slot) => element("path", { class: `ribbon s${slot}` }, under));
    parts.bars = slots((slot) => element("path", { class: `share s${slot}` }, under));
    parts.ghost = element("path", { class: "ghost" }, under);
    element("path", { class: "skip-line", d: line(made) }, lines);
    blocks.forEach((block, i) => drawBlock(block, i, lines, over));
    parts.text = text;
    drawEnds(svg, text);
    drawStages(text);
    drawButtons();
    if (held) parts.buttons[current].focus();
  };
  const slots = (make) => Array.from({ length: SLOTS + 1 }, (_, slot) => make(slot));

  const drawBlock = (block, i, lines, over) => {
    const column = made.columns[i];
    parts.stretches.push(element("path", { class: "stretch", d: stretch(made, column) }, lines));
    parts.arches.push(element("path", { class: "arch", d: arch(made, column) }, lines));
    const [x, y] = place(made, column.at, made.crest);
    const group = element("g", { class: "switch", transform: `translate(${x} ${y})` }, over);
    if (made.is.roomy) {
      element("rect", { class: "case", x: -17, y: -10, width: 34, height: 20, rx: 10 }, group);
      parts.knobs.push(element("circle", { class: "knob", r: 7 }, group));
      if (!block.can_be_off)
        element("path", { class: "bolt", d: "M-4 -1h8v6h-8zM-2.5 -1v-2a2.5 2.5 0 0 1 5 0v2" }, group);
      const [px, py] = place(made, column.to - Math.min(9, made.step * 0.14), made.line);
      element("circle", { class: "plus", cx: px, cy: py, r: 5.5 }, over);
      element("path", { class: "plus", d: `M${px - 3} ${py}h6M${px} ${py - 3}v6` }, over);
    } else {
      parts.knobs.push(element("circle", { class: "knob small", r: Math.min(6, made.step * 0.34) }, group));
    }
    parts.switches.push(group);
  };

  const drawEnds = (svg, text) => {
    const side = made.upright ? 64 : 72;
    const [x, y] = made.upright ? [made.line - 38, 4] : [2, made.line - side / 2];
    parts.picture = element("image", { class: "picture", x, y, width: side, height: side }, svg);
    element("rect", { class: "frame", x, y, width: side, height: side, rx: 6 }, svg);
    if (made.upright) {
      parts.final = element("text", { class: "final", x: made.bars[0] + 14, y: 34 }, text);
      parts.share = element("text", { class: "final-share", x: made.bars[0] + 14, y: 58 }, text);
    } else {
      const from = made.stop + 20;
      element("path", { class: "tip", d: `M${from} ${made.line - 7}l12 7l-12 7z` }, svg);
      parts.final = element("text", { class: "final", x: from + 20, y: made.line - 4 }, text);
      parts.share = element("text", { class: "final-share", x: from + 20, y: made.line + 24 }, text);
    }
  };

  const drawStages = (text) => {
    made.columns.forEach((column, i) => {
      if (!column.first) return;
      const wide = made.columns.filter(({ stage }) => stage === column.stage).length * made.step;
      const [x, y] = made.upright ? [made.bars[0], column.from - 7] : [column.from + 2, made.label + 4];
      const values = { number: column.stage, channels: blocks[i].channels };
      const word = wide > 130 || made.upright ? t("stage", values) : wide > 84 ? t("stageShort", values) : "";
      element("text", { class: "stage-name", x, y }, text).textContent = word;
    });
  };

  const drawButtons = () => {
    blocks.forEach((block, i) => {
      const column = made.columns[i],
        button = document.createElement("button");
      button.type = "button";
      button.className = "block";
      button.setAttribute("role", "switch");
      button.tabIndex = i === current ? 0 : -1;
      const reach = made.upright ? made.bars[0] - 8 : made.line + 14;
      const [left, top] = place(made, column.from, made.upright ? 0 : made.label + 8);
      const [wide, high] = place(made, made.step, made.upright ? reach : reach - made.label - 8);
      Object.assign(button.style, {
        left: `${left}px`,
        top: `${top}px`,
        width: `${wide}px`,
        height: `${high}px`,
      });
      if (!block.can_be_off) button.setAttribute("aria-disabled", "true");
      button.addEventListener("click", () => {
        go(i, false);
        if (block.can_be_off) flip(block.name);
      });
      button.addEventListener("keydown", (event) => move(event, i));
      box.append(button);
      parts.buttons.push(button);
    });
  };

  // --- keys: one stop for the tabulator, arrows within ---
  const go = (i, focus = true) => {
    if (!parts.buttons[i]) return;
    parts.buttons[current].tabIndex = -1;
    current = i;
    parts.buttons[i].tabIndex = 0;
    if (focus) {
      parts.buttons[i].focus();
      parts.buttons[i].scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  };
  const move = (event, i) => {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 5, PageUp: -5 };
    const to = { Home: 0, End: blocks.length - 1 }[event.key] ?? i + (steps[event.key] || NaN);
    if (Number.isNaN(to)) return;
    event.preventDefault();
    go(Math.max(0, Math.min(blocks.length - 1, to)));
  };

  // --- what changes ---
  const paint = () => {
    if (!made || !shown) return;
    const { off, now, whole, names, picture, read } = shown;
    blocks.forEach((block, i) => {
      const is = { off: off.has(block.name), fixed: !block.can_be_off };
      for (const part of [parts.arches[i], parts.stretches[i], parts.switches[i], parts.buttons[i]])
        for (const [name, holds] of Object.entries(is)) part.classList.toggle(name, holds);
      if (made.is.roomy) parts.knobs[i].setAttribute("cx", is.off ? -7 : is.fixed ? 0 : 7);
      const reading = now?.get(block.name);
      const answer = reading ? said(read(reading)) : t("noAnswer");
      const key = is.fixed ? "blockFixed" : is.off ? "blockOff" : "blockOn";
      const button = parts.buttons[i];
      button.setAttribute("aria-checked", String(!is.off));
      button.setAttribute("aria-label", t(key, { name: block.name, answer }));
      button.title = t(key, { name: block.name, answer });
    });
    if (picture) parts.picture.setAttribute("href", picture);
    paintShares(off, now, whole, names);
    paintWords(now, names);
  };

  const paintShares = (off, now, whole, names) => {
    const shares = blocks.map(({ name }) => {
      const reading = now?.get(name);
      return reading ? slots((slot) => share(reading, names[slot])).slice(0, SLOTS) : null;
    });
    flows(made, shares, SLOTS).forEach(({ bars, ribbons }, slot) => {
      parts.bars[slot].setAttribute("d", bars);
      parts.ribbons[slot].setAttribute("d", ribbons);
    });
    const before = blocks.map(({ name }) =>
      whole?.has(name) && off.size ? share(whole.get(name), names[0]) : null,
    );
    parts.ghost.setAttribute("d", curve(made, before));
  };
  const share = (reading, name) =>
    [shown.read(reading), ...reading.answers].find((one) => one.class === name)?.probability ?? 0;

  /** Name the answer under each bar, or where there is little room only where it changes. */
  const paintWords = (now, names) => {
    for (const word of parts.words) word.remove();
    parts.words = [];
    let last = null,
      free = -Infinity;
    blocks.forEach(({ name }, i) => {
      const reading = now?.get(name);
      if (!reading) return;
      const first = shown.read(reading);
      const column = made.columns[i],
        changes = first.class !== last;
      last = first.class;
      const long = made.upright ? 30 : made.is.worded ? Math.floor(made.step / 7) : 12;
      const wide = made.upright ? 22 : made.is.worded ? 0 : 7 * Math.min(long, first.class.length) + 8;
      if (!(made.is.worded || changes) || column.at < free) return;
      free = column.at + wide;
      word(column, first, clipped(first.class, long), names.indexOf(first.class));
    });
    const reading = now?.get(blocks.at(-1)?.name);
    const answer = reading && shown.read(reading);
    const slot = answer ? slotOf(names, answer.class) : SLOTS;
    parts.final.textContent = answer ? clipped(answer.class, made.upright ? 20 : 15) : "";
    parts.final.setAttribute("class", `final w${slot}`);
    parts.share.textContent = answer ? percent(answer.probability) : "";
  };
  const word = (column, first, name, slot) => {
    const [x, y] = made.upright
      ? [made.bars[0] + 2, column.at + (made.is.worded ? 15 : 13)]
      : [column.at, made.bars[1] + 14];
    const values = {
      class: `word w${slot < 0 ? SLOTS : slot}${made.upright ? " over" : ""}${made.is.worded ? "" : " dense"}`,
      x,
      y,
    };
    const made_ = element(
      "text",
      made.upright || !made.is.worded ? values : { ...values, "text-anchor": "middle" },
      parts.text,
    );
    made_.textContent = made.upright ? `${name} ${percent(first.probability)}` : name;
    parts.words.push(made_);
    if (!made.upright && made.is.worded) {
      const below = element(
        "text",
        { class: "word quiet", x, y: y + 13, "text-anchor": "middle" },
        parts.text,
      );
      below.textContent = percent(first.probability);
      parts.words.push(below);
    }
  };

  new ResizeObserver(() => {
    if (!blocks.length || !made) return;
    const width = roomFor(box);
    if (made.width === width) return;
    build();
    made.width = width;
    paint();
  }).observe(box.parentElement);

  return {
    /** Show another net: [{name, can_be_off, channels}, …] in order; a plain one has no line past its blocks. */
    begin(wanted, plain) {
      box.classList.toggle("plain", plain);
      blocks = wanted.map((block) => ({ ...block, stage: Number(/^stage(\d+)/.exec(block.name)?.[1] ?? 1) }));
      current = Math.max(
        0,
        blocks.findIndex((block) => block.can_be_off),
      );
      shown = null;
      box.hidden = !blocks.length;
      if (blocks.length) build();
    },
    /** Show {off, now, whole, names, picture, read}: readings by block, the class of each colour, and what is read of a
     * reading: a class and its probability. */
    show(state) {
      shown = state;
      paint();
    },
    again() {
      if (blocks.length) build();
      paint();
    },
  };
};
const slotOf = (names, name) => (names.indexOf(name) < 0 ? SLOTS : names.indexOf(name));
