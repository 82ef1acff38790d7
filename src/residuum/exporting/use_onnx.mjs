// Answers for one picture with onnxruntime: node use_onnx.mjs PICTURE.ppm, after `npm install onnxruntime-node`.
// In a page: onnxruntime-web has the same calls, and a canvas has the pixels (drop every fourth, the opacity).
// It never says "unsure", as use_onnx.py does.
import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-node";

const SEVERAL = false; // whether a picture may have several labels: then those are called that reach a half

if (process.argv.length !== 3) {
  console.error("node use_onnx.mjs PICTURE.ppm");
  process.exit(2);
}

/** A binary PPM (P6, 8 bits): its sides and its pixels, red, green, blue. */
function readPPM(path) {
  const bytes = readFileSync(path);
  const head = bytes.subarray(0, 100).toString("latin1");
  const [all, width, height] = head.match(/^P6\s+(\d+)\s+(\d+)\s+255\s/);
  return { width: Number(width), height: Number(height), pixels: new Uint8Array(bytes.subarray(all.length)) };
}

const folder = new URL(".", import.meta.url);
// Errors alone: else it warns of resize_to, an input that has a default on purpose.
const session = await ort.InferenceSession.create(new URL("model.onnx", folder).pathname, {
  logSeverityLevel: 3,
});
const classes = readFileSync(new URL("classes.txt", folder), "utf8").trimEnd().split("\n");
const { width, height, pixels } = readPPM(process.argv[2]);
const pictures = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
const { probabilities } = await session.run({ pictures });
const answers = [...probabilities.data].map((share, number) => [share, classes[number]]);
answers.sort((one, other) => other[0] - one[0]);
const answered = SEVERAL ? answers.filter(([share]) => share >= 0.5) : answers.slice(0, 5);
for (const [share, name] of answered) {
  console.log(`${(100 * share).toFixed(2).padStart(6)}%  ${name}`);
}
if (!answered.length) console.log("no label is called: none is at least as likely as not");
