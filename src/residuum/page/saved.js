// --- the drawing as a picture, to send ---
const WANTED =
  "display fill fill-opacity font-family font-size font-weight image-rendering opacity paint-order stroke".split(
    " ",
  );
WANTED.push("stroke-dasharray", "stroke-width", "text-anchor");
const [EDGE, ABOVE, BELOW, SHARP] = [28, 62, 20, 2];
const NAMESPACE = "http://www.w3.org/2000/svg";

/** Give every part of `copy` the looks that its twin has on the page: a picture has no style sheet. */
const dressed = (copy, twin) => {
  const looks = getComputedStyle(twin);
  for (const name of WANTED) copy.style.setProperty(name, looks.getPropertyValue(name));
  [...copy.children].forEach((child, i) => dressed(child, twin.children[i]));
  return copy;
};

/** Break a text into lines of a width: between words, or before any letter of Chinese. */
const lines = (text, size, width, family) => {
  const measured = document.createElement("canvas").getContext("2d");
  measured.font = `${size}px ${family}`;
  const found = [""];
  for (const part of text.split(/(?<=\s)|(?=[\u2e80-\uffff])/)) {
    const longer = found.at(-1) + part;
    if (measured.measureText(longer.trimEnd()).width <= width || !found.at(-1))
      found[found.length - 1] = longer;
    else found.push(part);
  }
  return found;
};

const added = (parent, name, values) => {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  parent.append(made);
  return made;
};

/** Return the drawing as a PNG, with what it is called above and where it is from below. */
export const asPicture = async (svg, title, sentence, from) => {
  const [wide, high] = [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height],
    looks = getComputedStyle(document.body),
    family = looks.fontFamily;
  const [said, made] = [lines(sentence, 16, wide, family), lines(from, 12, wide, family)];
  const above = ABOVE + 22 * said.length,
    width = wide + 2 * EDGE,
    height = high + above + BELOW + 17 * made.length;
  const whole = document.createElementNS(NAMESPACE, "svg");
  for (const [key, value] of Object.entries({ width, height, "font-family": family }))
    whole.setAttribute(key, value);
  added(whole, "rect", { width, height, fill: looks.getPropertyValue("--panel") });
  const inside = dressed(svg.cloneNode(true), svg);
  for (const [key, value] of Object.entries({ x: EDGE, y: above, width: wide, height: high }))
    inside.setAttribute(key, value);
  whole.append(inside);
  const word = (text, y, size, kind, weight = 400) => {
    const fill = looks.getPropertyValue(kind);
    added(whole, "text", { x: EDGE, y, fill, "font-size": size, "font-weight": weight }).textContent = text;
  };
  word(title, 44, 24, "--ink", 700);
  said.forEach((text, i) => word(text, 70 + 22 * i, 16, "--ink"));
  made.forEach((text, i) => word(text, above + high + 20 + 17 * i, 12, "--quiet"));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(whole))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [SHARP * width, SHARP * height];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
};
