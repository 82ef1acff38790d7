// --- the geometry of the drawing: a line from the picture to the answer, an arch for each block, bars below ---
// "along" runs from the picture to the answer, "across" from the arches to the bars; upright, along is down.

const LAID = {
  start: 100,
  end: 178,
  label: 12,
  crest: 44,
  line: 124,
  bars: [158, 318],
  under: 20,
  gap: 8,
  thick: 9,
  least: 14,
  most: 104,
  roomy: 44,
  worded: 58,
};
const UPRIGHT = {
  start: 92,
  end: 20,
  label: 0,
  crest: 26,
  line: 78,
  bars: [104, 0],
  under: 17,
  gap: 26,
  thick: 8,
  least: 25,
  most: 46,
  roomy: 40,
  worded: 40,
};

/** Where everything is, for n blocks in `width` pixels: {upright, columns: [{from, to, at, stage, first}], …}. */
export const layOut = (blocks, width, upright) => {
  const made = { ...(upright ? UPRIGHT : LAID), upright };
  const stages = new Set(blocks.map(({ stage }) => stage)).size;
  const room = upright
    ? blocks.length > 24
      ? 0
      : Infinity
    : width - made.start - made.end - stages * made.gap;
  made.step = Math.max(made.least, Math.min(made.most, room / blocks.length));
  if (upright) made.bars = [made.bars[0], width - 4];
  let along = made.start;
  made.columns = blocks.map(({ stage }, place) => {
    const first = place === 0 || blocks[place - 1].stage !== stage;
    if (first) along += made.gap;
    const from = along;
    along += made.step;
    return { from, to: along, at: from + made.step / 2, stage, first };
  });
  made.stop = along;
  made.long = along + made.end;
  made.deep = upright ? width : made.bars[1] + 30;
  made.size = upright ? [width, made.long] : [made.long, made.deep];
  made.is = { roomy: made.step >= made.roomy, worded: made.step >= made.worded };
  return made;
};

/** Turn (along, across) into "x y". */
const at = (made, along, across) => {
  const [x, y] = made.upright ? [across, along] : [along, across];
  return `${x.toFixed(1)} ${y.toFixed(1)}`;
};
export const place = (made, along, across) => (made.upright ? [across, along] : [along, across]);

const box = (made, from, to, near, far) =>
  `M${at(made, from, near)}L${at(made, to, near)}L${at(made, to, far)}L${at(made, from, far)}Z`;

/** A block's way round: up from the line, over the crest, back to it. */
export const arch = (made, column) => {
  const edge = Math.min(9, made.step * 0.14),
    [from, to, middle] = [column.from + edge, column.to - edge, column.at];
  const bend = (to - from) * 0.42,
    rise = (made.line - made.crest) * 0.2;
  const p = (along, across) => at(made, along, across);
  return (
    `M${p(from, made.line)}C${p(from, made.crest + rise)} ${p(middle - bend * 0.75, made.crest)} ${p(middle, made.crest)}` +
    `C${p(middle + bend * 0.75, made.crest)} ${p(to, made.crest + rise)} ${p(to, made.line)}`
  );
};

/** How thick the line is in a stage: the map halves, and so does what is drawn of it, less strongly. */
const thickness = (made, stage) => Math.max(2.4, made.thick * 0.72 ** (stage - 1));

/** The line itself, thinner from stage to stage, tapering where a block halves the map. */
export const line = (made) => {
  const points = [[made.start - 30, thickness(made, made.columns[0].stage)]];
  made.columns.forEach((column, i) => {
    const before = thickness(made, made.columns[Math.max(0, i - 1)].stage),
      now = thickness(made, column.stage);
    points.push([column.from, before], [column.to, now]);
  });
  points.push([made.upright ? made.stop + 6 : made.stop + 20, points.at(-1)[1]]);
  const side = (sign) => points.map(([along, thick]) => at(made, along, made.line + (sign * thick) / 2));
  return `M${side(-1).join("L")}L${side(1).toReversed().join("L")}Z`;
};

/** The stretch of the line under one block. */
export const stretch = (made, column) => {
  const thick = thickness(made, column.stage) + 2;
  return box(made, column.from, column.to, made.line - thick / 2, made.line + thick / 2);
};

/** For each slot the bars and what flows between them; shares[column] is null or one share for each slot. */
export const flows = (made, shares, slots) => {
  const [near, far] = made.bars,
    half =
      made.is.worded && !made.upright
        ? Math.min(17, made.step * 0.26)
        : made.step * (made.upright ? 0.17 : 0.3);
  const lift = made.upright && made.is.worded ? -9 : 0;
  const across = (share) => (made.upright ? near + share * (far - near) : far - share * (far - near));
  const found = Array.from({ length: slots + 1 }, () => ({ bars: "", ribbons: "" }));
  const sums = shares.map((row) => {
    if (!row) return null;
    const edges = [0];
    for (const share of row) edges.push(Math.min(1, edges.at(-1) + share));
    return [...edges, 1];
  });
  made.columns.forEach((column, i) => {
    const edges = sums[i],
      after = sums[i + 1],
      centre = column.at + lift;
    for (let slot = 0; edges && slot <= slots; slot++) {
      const [low, high] = [across(edges[slot]), across(edges[slot + 1])];
      found[slot].bars += box(made, centre - half, centre + half, low, high);
      if (!after || slot === slots) continue;
      const [from, to] = [centre + half, made.columns[i + 1].at + lift - half],
        middle = (from + to) / 2;
      const [low2, high2] = [across(after[slot]), across(after[slot + 1])];
      found[slot].ribbons +=
        `M${at(made, from, low)}C${at(made, middle, low)} ${at(made, middle, low2)} ${at(made, to, low2)}` +
        `L${at(made, to, high2)}C${at(made, middle, high2)} ${at(made, middle, high)} ${at(made, from, high)}Z`;
    }
  });
  return found;
};

/** A line through one share a column: what the whole net gave. */
export const curve = (made, shares) => {
  const [near, far] = made.bars,
    lift = made.upright && made.is.worded ? -9 : 0;
  const points = made.columns.flatMap((column, i) => {
    if (shares[i] === null) return [];
    const share = shares[i];
    return [
      at(made, column.at + lift, made.upright ? near + share * (far - near) : far - share * (far - near)),
    ];
  });
  return points.length > 1 ? `M${points.join("L")}` : "";
};
