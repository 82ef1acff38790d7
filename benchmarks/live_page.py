"""How long from a click on a block to the new answer on the page?

    python benchmarks/live_page.py

A real Chromium, the server, and nets as they are before training, on the same cores. A photograph of 2000×1500 pixels
is dropped on the page; one block stays off, the others are switched by turns. From the click to the frame that shows
the answer. A minute. Needs `chromium`. Writes results/live-page.json.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from figures import asked, spread, write
from PIL import Image
from serve import served

from residuum.data.preprocess import Preprocessing
from residuum.loading import save_classifier
from residuum.models.named import named
from residuum.models.resnet import ResNet
from residuum.records.model import Provenance

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import browser

CLICKS = """(async () => {
  const blocks = [...document.querySelectorAll(".block:not(.fixed)")], took = [];
  const clicked = (block) => new Promise((done) => {
    const began = performance.now(), sentence = document.getElementById("sentence");
    new MutationObserver((_, observer) => {
      observer.disconnect();
      requestAnimationFrame(() => done(performance.now() - began));
    }).observe(sentence, { childList: true });
    block.click();
  });
  await clicked(blocks[0]);
  for (let i = 0; i < COUNT; i++) {
    await new Promise((done) => setTimeout(done, 300));
    took.push(await clicked(blocks[1 + (i % (blocks.length - 1))]));
  }
  return took;
})()"""


def model_file(name: str, folder: Path) -> Path:
    """Write the named net, before training, as it sees CIFAR-10."""
    torch.manual_seed(0)
    spec = named(name)
    how = Preprocessing(32, 32, np.full(3, 120, np.float32), np.full(3, 60, np.float32))
    classes = tuple(f"class {number}" for number in range(10))
    save_classifier(folder / f"{name}.safetensors", ResNet(spec).eval(), spec, classes, how, Provenance())
    return folder / f"{name}.safetensors"


def photograph(folder: Path) -> Path:
    """Write a smooth picture of a photograph's size."""
    pixels = np.random.default_rng(0).integers(0, 256, (15, 20, 3), np.uint8)
    Image.fromarray(pixels).resize((2000, 1500), Image.Resampling.BICUBIC).save(folder / "photograph.jpg")
    return folder / "photograph.jpg"


def clicks(name: str, folder: Path, count: int) -> list[float]:
    """Return the milliseconds that each click took to be answered."""
    server = served(str(model_file(name, folder)), "torch", "float32")
    with server as (port, _), browser(folder / f"profile-{name}") as tab:
        tab.size(1200)
        tab.open(f"http://127.0.0.1:{port}")
        tab.wait("document.getElementById('depth-value')?.textContent")
        tab.drop(photograph(folder))
        tab.wait(
            "document.getElementById('looks').hidden === false && document.querySelector('main').ariaBusy !== 'true'"
        )
        return tab.js(CLICKS.replace("COUNT", str(count)))  # type: ignore[no-any-return]


def main(*, count: int = 40) -> None:
    with tempfile.TemporaryDirectory() as place:
        took = {name: clicks(name, Path(place), count) for name in ("resnet20", "resnet110")}
    found = {
        "written_by": "benchmarks/live_page.py",
        "what": "milliseconds from a click on a block to the frame that shows the new answer",
        "n": count,
        "nets": {name: spread(each) for name, each in took.items()},
    }
    print(found)
    write("live-page", "python benchmarks/live_page.py", found)


if __name__ == "__main__":
    asked(main)
