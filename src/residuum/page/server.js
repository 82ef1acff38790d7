// --- asking the server ---
import { inARow, t } from "./words.js";

let token = "";
try {
  token = sessionStorage.getItem("residuum-token") || "";
} catch {
  // a browser that keeps nothing asks again
}
export const useToken = (given) => {
  token = given;
  try {
    sessionStorage.setItem("residuum-token", given);
  } catch {
    // see above
  }
};
export const hasToken = () => token !== "";

/** What the server refused, by HTTP's number: `wants` is "token" where it wants one. */
export class Refused extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
    this.wants = status === 401 ? "token" : "";
  }
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** Ask; a server that is busy, by these statuses, is asked again when it says. Answers {json, milliseconds on the way and back}. */
export const ask = async (path, values = {}, picture = null, tell = () => {}, busy = [429, 503]) => {
  const query = new URLSearchParams(
    Object.entries(values).filter(([, value]) => value !== "" && value !== null),
  );
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (picture) headers["Content-Type"] = typeOf(picture);
  for (let tries = 0; ; tries++) {
    const began = performance.now();
    let reply;
    try {
      const how = picture ? { method: "POST", body: picture, headers } : { headers };
      reply = await fetch(`${path}${query.size ? `?${query}` : ""}`, how);
    } catch {
      throw new Refused(t("offline"));
    }
    if (busy.includes(reply.status) && tries < 5) {
      const seconds = Math.min(10, Number(reply.headers.get("Retry-After")) || 1);
      tell(t("busy", { seconds }));
      await pause(seconds);
      continue;
    }
    if (!reply.ok) throw await refusal(reply);
    return { found: await reply.json(), milliseconds: performance.now() - began };
  }
};

/** What a file is called: one of another kind than a picture is sent all the same, for the server says what it is. */
const typeOf = ({ type }) => (type.startsWith("image/") ? type : "application/octet-stream");

/** A picture that the server has, with the token if it wants one. */
export const askForPicture = async (path) => {
  const reply = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
  if (!reply.ok) throw await refusal(reply);
  return reply.blob();
};

/** The sentence with a capital, unless it begins with a name or a command. */
const begun = (words) =>
  /^(?!residuum\b)[a-z]+[ ,]/.test(words) ? words[0].toUpperCase() + words.slice(1) : words;

const refusal = async (reply) => {
  let said = {};
  try {
    said = await reply.json();
  } catch {
    // no JSON: the status has to do
  }
  const { what, why, mend } = said.error ?? said;
  const forPrograms = /\bcurl\b/.test(mend); // how a program sends a picture; here a person chooses another
  const words = [what, why, forPrograms ? "" : mend].filter(Boolean).map(begun).join(". ");
  const whole = words ? `${words}.` : `${reply.status} ${reply.statusText}`;
  return new Refused(forPrograms ? inARow([whole, t("takePicture")]) : whole, reply.status);
};

/** One question at a time: while one is asked, only the newest of those that come waits. */
export const latest = (work) => {
  let busy = false,
    waiting = false;
  return async () => {
    waiting = true;
    if (busy) return;
    busy = true;
    try {
      while (waiting) {
        waiting = false;
        await work();
      }
    } finally {
      busy = false;
    }
  };
};
