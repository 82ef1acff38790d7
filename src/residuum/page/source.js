// --- pictures come in: dropped, pasted, chosen, from the camera ---
import { t } from "./words.js";

const EVERY = 500;
const LONG_SIDE = 800;

/**
 * Call `take(blob, name, live)` for every picture; the camera gives one each half second, when the last is answered.
 * `held()` is called when its last picture stays.
 */
export const pictureSource = (stand, { choose, file, camera, video, note }, take, held) => {
  let stream = null;

  const pictures = (items) => [...items].filter((item) => item.type.startsWith("image/"));
  const given = (one) => {
    if (!one) return;
    hold();
    take(one, one.name || t("picture"), false);
  };

  choose.addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    given(file.files[0]);
    file.value = "";
  });
  addEventListener("paste", (event) => {
    const [one] = pictures(event.clipboardData?.files ?? []);
    if (one) event.preventDefault();
    given(one);
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
    addEventListener(kind, (event) => {
      event.preventDefault();
      stand.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") given(event.dataTransfer?.files[0]);
    });

  // --- the camera ---
  const hold = () => {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    video.hidden = true;
    video.srcObject = null;
    camera.setAttribute("aria-pressed", "false");
    camera.dataset.t = "camera";
    camera.textContent = t("camera");
  };
  const frame = async () => {
    const scale = Math.min(1, LONG_SIDE / Math.max(video.videoWidth, video.videoHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(scale * video.videoWidth);
    canvas.height = Math.round(scale * video.videoHeight);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
  };
  const watch = async (mine) => {
    while (stream === mine) {
      const began = performance.now();
      const one = video.videoWidth ? await frame() : null;
      if (one && stream === mine) await take(one, t("camera"), true);
      await new Promise((done) => setTimeout(done, Math.max(50, EVERY - (performance.now() - began))));
    }
  };
  camera.addEventListener("click", async () => {
    if (stream) {
      hold();
      return held();
    }
    note.hidden = true;
    try {
      if (!navigator.mediaDevices) throw new Error(t("noCamera"));
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      note.textContent = navigator.mediaDevices ? t("cameraRefused", { why: error.message }) : error.message;
      note.hidden = false;
      return undefined;
    }
    video.srcObject = stream;
    video.hidden = false;
    camera.setAttribute("aria-pressed", "true");
    camera.dataset.t = "cameraStop";
    camera.textContent = t("cameraStop");
    await video.play();
    watch(stream);
    return undefined;
  });
};
