// --- the drawing as a picture, to send ---
const WANTED =
  "display fill fill-opacity font-family font-size font-weight image-rendering opacity paint-order stroke".split(
    " ",
  );
WANTED.push("stroke-dasharray", "stroke-width", "text-anchor");
const [EDGE, ABOVE, BELOW, SHARP] = [28, 92, 34, 2];
const NAMESPACE = "http://www.w3.org/2000/svg";

/** Give every part of `copy` the looks that its twin has on the page: a picture has no style sheet. */
const dressed = (copy, twin) => {
  const looks = getComputedStyle(twin);
  for (const name of WANTED) copy.style.setProperty(name, looks.getPropertyValue(name));
  [...copy.children].forEach((child, i) => dressed(child, twin.children[i]));
  return copy;
};

const words = (text, x, y, size, kind, width) => {
  const made = document.createElementNS(NAMESPACE, "text");
  const looks = getComputedStyle(document.body);
  made.textContent = text;
  for (const [name, value] of Object.entries({ x, y, "font-size": size, "font-family": looks.fontFamily }))
    made.setAttribute(name, value);
  made.setAttribute("fill", looks.getPropertyValue(kind));
  if (kind === "--ink" && size > 20) made.setAttribute("font-weight", 700);
  if (text.length * size * 0.5 > width) {
    made.setAttribute("textLength", width);
    made.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
  return made;
};

/** Return the drawing as a PNG, with what it is called above and where it is from below. */
export const asPicture = async (svg, title, sentence, from) => {
  const [wide, high] = [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height];
  const [width, height] = [wide + 2 * EDGE, high + ABOVE + BELOW];
  const whole = document.createElementNS(NAMESPACE, "svg"),
    inside = dressed(svg.cloneNode(true), svg);
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` }))
    whole.setAttribute(name, value);
  for (const [name, value] of Object.entries({ x: EDGE, y: ABOVE, width: wide, height: high }))
    inside.setAttribute(name, value);
  const paper = document.createElementNS(NAMESPACE, "rect");
  paper.setAttribute("width", width);
  paper.setAttribute("height", height);
  paper.setAttribute("fill", getComputedStyle(document.body).getPropertyValue("--panel"));
  whole.append(paper, inside, words(title, EDGE, 40, 24, "--ink", wide));
  whole.append(
    words(sentence, EDGE, 66, 16, "--ink", wide),
    words(from, EDGE, height - 14, 12, "--quiet", wide),
  );
  const text = new XMLSerializer().serializeToString(whole);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [SHARP * width, SHARP * height];
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
};
