// --- what the page knows ---
import { SLOTS } from "./net.js";
import { hasToken } from "./server.js";
import { t } from "./words.js";

export const the = (id) => document.getElementById(id);
export const fresh = (tag, values = {}, ...inside) => {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...inside);
  return made;
};
export const state = {
  models: [],
  model: null,
  off: new Set(),
  top: 5,
  of: "", // the class whose evidence is shown, and of several labels a picture the one that is followed; "": the answer
  picture: null, // {blob, name, example, url, live}
  asked: 0,
  predicted: null,
  milliseconds: 0, // the last answer took
  whole: null, // what /v1/blocks gave with all blocks on
  now: null, // and with those off
  heat: null,
  names: [], // the class of each colour
};

// --- what is said ---
export const fault = (error) => {
  const wantsToken = error?.wants === "token";
  const words = error instanceof Error ? error.message : error;
  the("fault").textContent = (!wantsToken && words) || "";
  the("fault").hidden = wantsToken || !words;
  if (wantsToken) askForToken();
};
/** The form that takes the token is the one notice then; it says whether one that was given is wrong. */
const askForToken = () => {
  const words = the("token-words");
  words.dataset.t = hasToken() ? "tokenWrong" : "tokenWanted";
  words.textContent = t(words.dataset.t);
  the("asked").hidden = false;
  the("token").select();
};
let working = 0;
const busier = (step) => {
  working += step;
  document.querySelector("main").setAttribute("aria-busy", String(working > 0));
};
/** The work, its fault told to the person; while it goes on the page is busy. */
export const guarded =
  (work) =>
  async (...given) => {
    busier(1);
    try {
      return await work(...given);
    } catch (error) {
      fault(error);
      return undefined;
    } finally {
      busier(-1);
    }
  };
export const byBlock = (found) => (found ? new Map(found.after.map((one) => [one.block, one])) : null);
export const canBeOff = () => state.model.blocks.filter((block) => block.can_be_off);
export const layers = () => state.model.depth - state.off.size * state.model.layers_in_block;

/** What is drawn of a reading: the answer; of several labels a picture that label which is followed. */
export const read = ({ answers, probability }) =>
  state.model.several ? { class: state.whole.of, probability } : answers[0];

// --- colours: the answer's first, then those that came near it; kept while blocks are switched ---
export const colour = (found, anew) => {
  if (state.model.several) {
    state.names = [found.of];
    return;
  }
  const most = new Map();
  for (const { answers } of found.after)
    for (const one of answers) most.set(one.class, Math.max(one.probability, most.get(one.class) ?? 0));
  if (anew) state.names = [found.answers[0].class];
  const wanted = [...most].filter(([, p]) => p > 0.03).toSorted((a, b) => b[1] - a[1]);
  for (const [name] of wanted)
    if (state.names.length < SLOTS && !state.names.includes(name)) state.names.push(name);
  const now = found.answers[0].class;
  if (!state.names.includes(now)) state.names[SLOTS - 1] = now;
};
export const slot = (name) => (state.names.indexOf(name) < 0 ? SLOTS : state.names.indexOf(name));
