// --- words: English or Chinese, by locale, switchable ---
const WORDS = JSON.parse(document.getElementById("words").textContent);
let language = (navigator.languages || [navigator.language]).find((one) => /^(en|zh)/i.test(one)) || "en";
language = language.slice(0, 2).toLowerCase();

export const t = (key, values = {}) => WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** Write every word that stands still: [data-t] is text, [data-t-label] a name for screen readers. */
export const speak = (wanted) => {
  if (wanted && WORDS[wanted]) language = wanted;
  document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]"))
    node.setAttribute("aria-label", t(node.dataset.tLabel));
};
export const spoken = () => language;
export const inARow = (sentences) => sentences.join(language === "zh" ? "" : " ");

/** A probability as a person reads it: never 100 % or 0 % unless it is. */
export const percent = (p) => {
  if (p >= 1) return "100\u00a0%";
  const shown = Math.min(99.99, 100 * p);
  if (shown > 0 && shown < 0.05) return "<\u00a00.1\u00a0%";
  return `${shown > 99.9 ? shown.toFixed(2) : shown.toFixed(1)}\u00a0%`;
};
export const said = ({ class: name, probability }) => `${name} (${percent(probability)})`;

// --- several labels a picture ---
const CALLED = 0.5;
/** Those of the answers that are called. */
export const called = (answers) => answers.filter(({ probability }) => probability >= CALLED);
/** Whether two nets, or one behind two blocks, call the same labels. */
export const callsAlike = (one, other) => {
  const [names, others] = [one, other].map(({ answers }) => called(answers).map((each) => each.class));
  return names.length === others.length && names.every((name) => others.includes(name));
};
export const saidAll = (answers) =>
  called(answers)
    .map(said)
    .join(language === "zh" ? "、" : ", ") || t("noLabel");
