import { bytesOf } from "./link.js";
import { Refused, ask, latest } from "./server.js";
import { show, showHeat, showPicture, showTimes } from "./shown.js";
import { colour, fault, guarded, state, the } from "./state.js";
import { t } from "./words.js";

// --- asking ---
export const model = () => ({ model: state.model.name });
const most = () => Math.max(state.top, Math.min(state.model.classes.length, 10));
/** One label is followed through the blocks where a picture may have several. */
const follow = (of) => (state.model.several ? { of } : {});
const asView = () => (state.whole?.seen ? { view: 1 } : {});

const viewed = () => {
  if (!state.whole?.seen) return state.picture.blob;
  state.picture.view ??= bytesOf(state.whole.seen);
  return state.picture.view;
};
/** The answer to a picture; where there is none, that of the picture before goes. */
const answered = async (blob, still) => {
  try {
    return await ask("/v1/predict", { ...model(), top: most() }, blob, fault);
  } catch (error) {
    if (still()) {
      Object.assign(state, { predicted: null, whole: null, now: null, heat: null });
      the("times").hidden = true;
      show();
    }
    throw error;
  }
};

export const look = guarded(async (blob, name, live = false, example = 0) => {
  const mine = ++state.asked;
  const still = () => mine === state.asked;
  if (!state.model) throw the("asked").hidden ? new Refused(t("offline")) : new Refused("", 401);
  fault("");
  the("source-note").hidden = true;
  if (state.picture?.url) URL.revokeObjectURL(state.picture.url);
  state.picture = { blob, name, example, live, url: URL.createObjectURL(blob) };
  if (!live) Object.assign(state, { predicted: null, whole: null, now: null, heat: null });
  showPicture();
  const { found, milliseconds } = await answered(blob, still);
  if (!still()) return;
  state.predicted = found;
  if (!state.names.includes(found.answers[0].class)) state.names = [found.answers[0].class];
  show();
  showTimes(milliseconds);
  if (state.model.blocks.length) {
    const whole = (await ask("/v1/blocks", { ...model(), top: most(), ...follow(state.of) }, blob)).found;
    if (!still()) return;
    colour(whole, !live || !state.names.length);
    state.whole = whole;
    if (!state.off.size) state.now = whole;
    show();
    if (state.off.size) await answer();
  }
  if (!live && state.model.blocks.length) await explain();
});

export const answer = latest(
  guarded(async () => {
    const off = [...state.off].join(","),
      mine = state.asked;
    if (!state.whole) return;
    if (!off) state.now = state.whole;
    else {
      const asked = { ...model(), off, top: most(), ...follow(state.whole.of), ...asView() };
      const { found } = await ask("/v1/blocks", asked, viewed());
      if (mine !== state.asked) return;
      colour(found, false);
      state.now = found;
    }
    show();
  }),
);

/** The map, or why this server gives none; the next picture asks again. */
const mapped = async () => {
  try {
    const asked = { ...model(), of: state.of, ...asView() };
    return (await ask("/v1/explain", asked, viewed(), undefined, [429])).found;
  } catch (error) {
    if (error.status !== 422 && error.status !== 503) throw error;
    return { refused: error.message };
  }
};
export const explain = guarded(async () => {
  const mine = state.asked;
  const found = await mapped();
  if (mine !== state.asked) return;
  state.heat = found;
  showHeat();
});

export const switched = () => {
  show();
  answer();
};
