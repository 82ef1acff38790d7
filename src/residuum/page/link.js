import { hasToken } from "./server.js";
import { state } from "./state.js";

const MOST_IN_LINK = 6000;

// --- the link: all of it behind the #, which no browser sends ---
export const inLink = () => {
  const { model, off, picture, whole } = state;
  const parts = [`model=${encodeURIComponent(model.name)}`];
  if (off.size) parts.push(`off=${[...off].join(",")}`);
  if (picture?.example) parts.push(`picture=${picture.example}`);
  else if (whole?.seen?.length < MOST_IN_LINK)
    parts.push(`seen=${encodeURIComponent(whole.seen.split(",")[1])}`);
  return `#${parts.join("&")}`;
};

export const fromLink = () => {
  const parts = location.hash.slice(1).split("&");
  try {
    return Object.fromEntries(parts.map((part) => part.split("=").map(decodeURIComponent)));
  } catch {
    return {}; // a % that stands for nothing
  }
};

/** The bytes of a data URI, without asking anybody. */
export const bytesOf = (uri) => {
  const [head, data] = uri.split(",");
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  return new Blob([bytes], { type: /:(.*?)[;,]/.exec(head)[1] });
};

// --- the request, to copy ---
/** What asks the same, as {curl, python}. */
export const request = () => {
  const off = [...state.off].join(",");
  const values = new URLSearchParams({ model: state.model.name, ...(off ? { off } : {}), top: state.top });
  const query = values.toString().replaceAll("%2C", ",");
  const address = `${location.origin}/v1/${off ? "blocks" : "predict"}?${query}`;
  const bearer = hasToken() ? ' -H "Authorization: Bearer $RESIDUUM_TOKEN"' : "";
  const header = hasToken() ? ', "Authorization": "Bearer " + os.environ["RESIDUUM_TOKEN"]' : "";
  const curl = `curl${bearer} -H "Content-Type: image/jpeg" --data-binary @PICTURE.jpg '${address}'`;
  const python = [
    `import json${hasToken() ? ", os" : ""}, pathlib, urllib.request`,
    "",
    `address = ${JSON.stringify(address)}`,
    'picture = pathlib.Path("PICTURE.jpg").read_bytes()',
    `request = urllib.request.Request(address, picture, {"Content-Type": "image/jpeg"${header}})`,
    "with urllib.request.urlopen(request) as reply:",
    `    print(json.load(reply)["${state.model.several && !off ? "labels" : "answers"}"])`,
  ].join("\n");
  return { curl, python };
};

/** Copy a text; where that is not allowed select the node that holds it. */
export const copy = async (text, node) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    if (node) getSelection().selectAllChildren(node);
    return false;
  }
};
