// --- the page: how it begins, and what a person does ---
import { explain, look, switched } from "./asking.js";
import { bytesOf, copy, fromLink, inLink } from "./link.js";
import { drawnNet } from "./net.js";
import { ask, askForPicture, useToken } from "./server.js";
import { drawIn, show, showHeat, showTimes } from "./shown.js";
import { asPicture } from "./saved.js";
import { pictureSource } from "./source.js";
import { canBeOff, fault, fresh, guarded, state, the } from "./state.js";
import { inARow, speak, spoken, t } from "./words.js";

const HALF_A_SECOND = 500;

const net = drawnNet(the("drawing"), (name) => {
  if (!state.off.delete(name)) state.off.add(name);
  switched();
});
drawIn(net);

// --- beginning ---
const example = guarded(async (place) => {
  const { name, url } = state.model.examples[place];
  await look(await askForPicture(url), name, false, place + 1);
});
const offered = ({ name, url }, place) => {
  const label = t("example", { name });
  const shown = fresh("img", { alt: label });
  const button = fresh("button", { type: "button", title: name }, shown);
  button.addEventListener("click", () => example(place));
  guarded(async () => (shown.src = URL.createObjectURL(await askForPicture(url))))();
  return fresh("li", {}, button);
};

const begin = (chosen) => {
  Object.assign(state, { model: chosen, off: new Set(), names: [], of: "" });
  Object.assign(state, { predicted: null, whole: null, now: null, heat: null });
  document.title = `${chosen.name} · residuum`;
  the("name").textContent = chosen.name;
  the("model").value = chosen.name;
  the("evidence").replaceChildren(
    fresh("option", { value: "", textContent: t(chosen.several ? "theLikeliest" : "theAnswer") }),
    ...chosen.classes.map((name) => fresh("option", { value: name, textContent: name })),
  );
  the("shown").max = Math.min(20, chosen.classes.length);
  the("shown").value = Math.min(state.top, chosen.classes.length);
  the("examples-part").hidden = !chosen.examples.length;
  the("examples").replaceChildren(...chosen.examples.map(offered));
  the("net").hidden = the("evidence").parentElement.hidden = !chosen.blocks.length; // what an engine makes of a net
  const lead = t(chosen.shortcut === "none" ? "netLeadPlain" : "netLead");
  the("net-lead").textContent = chosen.several ? inARow([lead, t("netFollows")]) : lead;
  net.begin(chosen.blocks, chosen.shortcut === "none");
  show();
};

const restore = guarded(async () => {
  const link = fromLink();
  begin(state.models.find((one) => one.name === link.model) ?? state.models[0]);
  const free = new Set(canBeOff().map((block) => block.name));
  state.off = new Set((link.off ?? "").split(",").filter((name) => free.has(name)));
  const { examples } = state.model;
  if (link.seen) return look(bytesOf(`data:image/png;base64,${link.seen}`), t("picture"));
  const wanted = Number(link.picture) - 1;
  if (examples.length) return example(examples[wanted] ? wanted : 0);
  return show();
});

const start = guarded(async () => {
  state.models = (await ask("/v1/models")).found;
  the("asked").hidden = true;
  fault("");
  the("models").hidden = state.models.length < 2;
  the("model").replaceChildren(
    ...state.models.map(({ name }) => fresh("option", { value: name, textContent: name })),
  );
  await restore();
});

// --- what a person does ---
let waiting = 0;
const soon = (work) => {
  clearTimeout(waiting);
  waiting = setTimeout(work, HALF_A_SECOND);
};
const again = guarded(async () => {
  if (state.picture) await look(state.picture.blob, state.picture.name, false, state.picture.example);
});

the("model").addEventListener("change", () => {
  const picture = state.picture;
  begin(state.models.find((one) => one.name === the("model").value));
  state.picture = picture;
  soon(again);
});
the("shown").addEventListener("input", () => {
  state.top = Math.max(1, Math.min(Number(the("shown").max), Math.round(Number(the("shown").value)) || 1));
  soon(again);
});
the("evidence").addEventListener("change", () => {
  state.of = the("evidence").value;
  soon(state.model.several ? again : explain);
});
the("depth").addEventListener("input", () => {
  stop();
  const goes = canBeOff().toSorted((a, b) => a.goes - b.goes);
  state.off = new Set(goes.slice(0, goes.length - Number(the("depth").value)).map((block) => block.name));
  switched();
});
the("all-on").addEventListener("click", () => {
  stop();
  state.off.clear();
  switched();
});

let taking = 0;
const stop = () => {
  clearInterval(taking);
  taking = 0;
  the("apart").textContent = t("takeApart");
};
the("apart").addEventListener("click", () => {
  if (taking) return stop();
  const goes = canBeOff().toSorted((a, b) => a.goes - b.goes);
  state.off.clear();
  switched();
  the("apart").textContent = t("stop");
  taking = setInterval(
    () => {
      const next = goes.find((block) => !state.off.has(block.name));
      if (!next) return stop();
      state.off.add(next.name);
      return switched();
    },
    Math.max(120, Math.min(700, 12000 / goes.length)),
  );
  return undefined;
});

the("link").addEventListener("click", async () => {
  const done = await copy(location.href.split("#")[0] + inLink());
  const brings = /[#&](picture|seen)=/.test(inLink()) || !state.picture;
  the("link-note").textContent =
    `${done ? `${t("linkCopied")}. ` : ""}${t(brings ? "linkNote" : "linkNoPicture")}`;
});
the("save").addEventListener(
  "click",
  guarded(async () => {
    const svg = the("drawing").querySelector("svg");
    const picture = await asPicture(svg, state.model.name, the("sentence").textContent, t("madeBy"));
    const link = fresh("a", { href: URL.createObjectURL(picture), download: `${state.model.name}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }),
);
for (const button of document.querySelectorAll("[data-copy]"))
  button.addEventListener("click", async () => {
    const code = the(button.dataset.copy);
    button.textContent = t((await copy(code.textContent, code)) ? "copied" : "selected");
    setTimeout(() => (button.textContent = t("copy")), 2000);
  });
the("language").addEventListener("click", () => {
  speak(spoken() === "zh" ? "en" : "zh");
  const { model: chosen, off, names, predicted, whole, now, heat, of } = state;
  if (!chosen) return;
  begin(chosen);
  Object.assign(state, { off, names, predicted, whole, now, heat, of });
  the("evidence").value = of;
  show();
  showHeat();
  if (predicted) showTimes(state.milliseconds);
});
the("asked").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(the("token").value);
  start();
});
the("skip").addEventListener("click", (event) => {
  event.preventDefault();
  the("net").scrollIntoView();
  the("drawing").querySelector("button[tabindex='0']")?.focus();
});
addEventListener("hashchange", restore);
pictureSource(
  the("stand"),
  {
    choose: the("choose"),
    file: the("file"),
    camera: the("camera"),
    video: the("video"),
    note: the("source-note"),
  },
  look,
  () => {
    if (!state.picture) return;
    state.picture.live = false;
    show();
    explain();
  },
);
speak();
start();
