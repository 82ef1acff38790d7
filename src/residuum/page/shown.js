import { inLink, request } from "./link.js";
import { SLOTS } from "./net.js";
import { byBlock, canBeOff, fresh, layers, read, slot, state, the } from "./state.js";
import { called, callsAlike, inARow, percent, said, saidAll, t } from "./words.js";

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
    showBars(answers ? shownOf(answers) : [], state.off.size ? whole : null);
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
    read,
  });
  the("classes").replaceChildren(...legend());
  showPicture();
  const { curl, python } = request();
  the("curl").textContent = curl;
  the("python").textContent = python;
  clearTimeout(remembering);
  remembering = setTimeout(remember, 250);
};
/** What each colour of the drawing stands for. */
const legend = () => {
  const { now, whole, names, model } = state;
  const has = (name) => now?.after.some((one) => one.answers.some((o) => o.class === name));
  const keys = model.several
    ? names.filter(() => now).map((name) => key("s0", t("isShown", { name })))
    : names.filter(has).map((name) => key(`s${slot(name)}`, name));
  if (keys.length && (model.several || names.length < model.classes.length))
    keys.push(key(`s${SLOTS}`, t(model.several ? "isNotShown" : "others")));
  if (state.off.size && whole) keys.push(key("ghost-key", `${names[0]}: ${t("intact")}`));
  return keys;
};
const key = (kind, name) =>
  fresh("li", {}, fresh("i", { className: `swatch-box ${kind}` }), fresh("bdi", { textContent: name }));
const seen = () => state.whole?.seen ?? state.picture?.url;

/** The likeliest answers, and all labels that are called. */
const shownOf = (answers) =>
  answers.slice(0, state.model.several ? Math.max(state.top, called(answers).length) : state.top);

const showBars = (answers, whole) => {
  const { several } = state.model;
  const isCalled = (one) => called([one]).length > 0;
  const rows = answers.map((one) => {
    const before = whole?.answers.find((each) => each.class === one.class)?.probability;
    const kind = several ? (isCalled(one) ? 0 : SLOTS) : slot(one.class);
    const bar = fresh("span", { className: "bar-of" }, fresh("i", { className: `s${kind}` }));
    bar.firstChild.style.width = `${100 * one.probability}%`;
    if (whole) {
      const mark = fresh("u");
      mark.style.left = `${100 * (before ?? 0)}%`;
      bar.append(mark);
    }
    return fresh(
      "li",
      several ? { className: isCalled(one) ? "called" : "uncalled" } : {},
      fresh("bdi", { textContent: one.class }),
      bar,
      fresh("b", { textContent: percent(one.probability) }),
    );
  });
  the("bars").replaceChildren(...rows);
  the("bars").classList.toggle("several", several);
  the("called").hidden = !several || !rows.length;
  the("called").textContent = t(answers.some(isCalled) ? "calledNote" : "noneCalled");
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
  const { now, whole, off, model } = state,
    all = model.blocks.length;
  if (!now || !whole) return "";
  if (model.several) return sentenceOfSeveral(now, whole, { on: all - off.size, all, layers: layers() });
  const [answer, before] = [now.answers[0], whole.answers[0]];
  if (!off.size) {
    const settled = settledFrom((one) => one.answers[0].class === answer.class);
    return inARow([t("said", { answer: said(answer) }), settled]);
  }
  const values = { on: all - off.size, all, layers: layers(), answer: said(answer), was: said(before) };
  if (answer.class === before.class) return t("still", { ...values, before: percent(before.probability) });
  return t("changed", values);
};

const sentenceOfSeveral = (now, whole, counts) => {
  const labels = saidAll(now.answers);
  const calls = called(now.answers).length ? "calls" : "callsNone";
  if (!state.off.size) return inARow([t(calls, { labels }), settledFrom((one) => callsAlike(one, now))]);
  const name = callsAlike(now, whole) ? "stillCalls" : "callsNow";
  return t(name, { ...counts, labels, were: saidAll(whole.answers) });
};
/** Say from which block on the answers behind a block are the net's. */
const settledFrom = (isAlike) => {
  const { now, model } = state,
    all = model.blocks.length;
  const last = now.after.findLastIndex((one) => !isAlike(one)) + 1;
  const block = now.after[last].block,
    place = model.blocks.findIndex((each) => each.name === block) + 1;
  return t(last === 0 ? "settledAll" : place === all ? "settledLast" : "settled", { block, place, all });
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
  state.milliseconds = milliseconds;
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
  const said_ = state.model.several ? saidAll : (answers) => said(answers[0]);
  const whole = state.whole && state.off.size ? t("heatWhole", { answer: said_(state.whole.answers) }) : "";
  the("heat-note").textContent = whole ? `${note} ${whole}` : note;
};
