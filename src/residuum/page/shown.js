import { inLink, request } from "./link.js";
import { SLOTS } from "./net.js";
import { byBlock, canBeOff, fresh, layers, slot, state, the } from "./state.js";
import { percent, said, spoken, t } from "./words.js";

// --- drawing what was answered ---
/** Keep the address as the link; seldom, for browsers count how often that is asked. */
const remember = () => {
  const link = inLink();
  if (link !== location.hash) history.replaceState(null, "", link);
};
let remembering = 0;

let drawing = null;
/** Say where the net is drawn. */
export const drawIn = (drawn) => {
  drawing = drawn;
};

export const show = () => {
  const { now, whole, predicted } = state;
  const answered =
    !now || (now.off.length === state.off.size && now.off.every((name) => state.off.has(name)));
  if (answered) {
    const answers = state.off.size && now ? now.answers : (predicted?.answers ?? whole?.answers);
    showBars(answers?.slice(0, state.top) ?? [], state.off.size ? whole : null);
    the("sentence").textContent = sentence();
  }
  showDoubt(predicted);
  showDepth();
  showHeat();
  drawing.show({
    off: state.off,
    now: byBlock(now),
    whole: byBlock(whole),
    names: state.names,
    picture: seen(),
  });
  const legend = state.names.filter((name) =>
    now?.after.some((one) => one.answers.some((o) => o.class === name)),
  );
  const keys = legend.map((name) => key(`s${slot(name)}`, name));
  if (keys.length && state.names.length < state.model.classes.length)
    keys.push(key(`s${SLOTS}`, t("others")));
  if (state.off.size && whole) keys.push(key("ghost-key", `${state.names[0]}: ${t("intact")}`));
  the("classes").replaceChildren(...keys);
  showPicture();
  const { curl, python } = request();
  the("curl").textContent = curl;
  the("python").textContent = python;
  clearTimeout(remembering);
  remembering = setTimeout(remember, 250);
};
const key = (kind, name) =>
  fresh("li", {}, fresh("i", { className: `swatch-box ${kind}` }), fresh("bdi", { textContent: name }));
const seen = () => state.whole?.seen ?? state.picture?.url;

const showBars = (answers, whole) => {
  const rows = answers.map((one) => {
    const before = whole?.answers.find((each) => each.class === one.class)?.probability;
    const bar = fresh("span", { className: "bar-of" }, fresh("i", { className: `s${slot(one.class)}` }));
    bar.firstChild.style.width = `${100 * one.probability}%`;
    if (whole) {
      const mark = fresh("u");
      mark.style.left = `${100 * (before ?? 0)}%`;
      bar.append(mark);
    }
    return fresh(
      "li",
      {},
      fresh("bdi", { textContent: one.class }),
      bar,
      fresh("b", { textContent: percent(one.probability) }),
    );
  });
  the("bars").replaceChildren(...rows);
  the("waiting").hidden = rows.length > 0;
  the("choices").hidden = !rows.length;
};

/** What a net that does not know which pictures it was trained on never says is said, too. */
const showDoubt = (predicted) => {
  const known = predicted?.unsure ?? null,
    part = the("unsure");
  part.hidden = !predicted || known === false;
  part.className = known ? "warn" : "note";
  part.textContent = t(known ? "unsure" : "neverUnsure", { reason: predicted?.reason });
};

const showDepth = () => {
  const all = state.model.blocks.length,
    most = canBeOff().length;
  const values = { layers: layers(), on: all - state.off.size, all };
  the("depth").max = most;
  the("depth").value = most - state.off.size;
  the("depth").disabled = !most;
  the("depth").setAttribute("aria-valuetext", t("depthValue", values));
  the("depth-value").textContent = t("depthValue", values);
  the("all-on").disabled = !state.off.size;
};

const sentence = () => {
  const { now, whole, off } = state,
    all = state.model.blocks.length;
  if (!now || !whole) return "";
  const [answer, before] = [now.answers[0], whole.answers[0]];
  if (!off.size) {
    const last = now.after.findLastIndex((one) => one.answers[0].class !== answer.class) + 1;
    const from = now.after[last].block,
      place = state.model.blocks.findIndex((block) => block.name === from) + 1;
    const name = last === 0 ? "settledAll" : place === all ? "settledLast" : "settled";
    const parts = [t("said", { answer: said(answer) }), t(name, { block: from, place, all })];
    return parts.join(spoken() === "zh" ? "" : " ");
  }
  const values = { on: all - off.size, all, layers: layers(), answer: said(answer), was: said(before) };
  if (answer.class === before.class) return t("still", { ...values, before: percent(before.probability) });
  return t("changed", values);
};

export const showPicture = () => {
  const { picture } = state;
  the("hint").hidden = Boolean(picture);
  the("seen").hidden = !picture || picture.live;
  if (!picture) return;
  the("seen").src = seen();
  the("seen").alt = t("seen", { name: picture.name });
};

export const showTimes = (milliseconds) => {
  const spent = state.predicted.milliseconds;
  const parts = { decoding: spent.decoding, net: spent.net, rest: spent.rest };
  parts.way = Math.max(0, milliseconds - parts.decoding - parts.net - parts.rest);
  const shown = Object.entries(parts).map(([name, value], i) => [name, value, `p${i}`]);
  const words = (name, value) => `${t(name)} ${value.toFixed(1)} ms`;
  the("split").replaceChildren(
    ...shown.map(([, value, kind]) => {
      const part = fresh("i", { className: kind });
      part.style.flexGrow = value;
      return part;
    }),
  );
  the("split").setAttribute("aria-label", shown.map(([name, value]) => words(name, value)).join(", "));
  the("split-legend").replaceChildren(...shown.map(([name, value, kind]) => key(kind, words(name, value))));
  the("total").textContent = `${milliseconds.toFixed(0)} ms`;
  const { engine, precision } = state.predicted;
  const other = state.model.blocks.length && !(engine === "torch" && precision === "float32");
  the("engine").textContent = engine ? t(other ? "engineThenNet" : "engine", { engine, precision }) : "";
  the("times").hidden = false;
};

export const showHeat = () => {
  const { heat } = state,
    name = heat?.of ?? heat?.answers?.[0].class ?? "";
  the("looks").hidden = !heat;
  if (!heat) return;
  the("heat").hidden = !heat.heat;
  if (heat.refused) {
    the("heat-note").textContent = t("heatRefused", { why: heat.refused });
    return;
  }
  if (heat.heat) the("heat").src = heat.heat;
  the("heat").alt = t("heatAlt", { name });
  const note = t(heat.heat ? "heatNote" : "heatNone", { name });
  const whole = state.whole && state.off.size ? t("heatWhole", { answer: said(state.whole.answers[0]) }) : "";
  the("heat-note").textContent = whole ? `${note} ${whole}` : note;
};
