"""Answers for one picture with torch: python use_torch.py PICTURE. Needs torch, numpy and Pillow.

torch.export.load may run code that a file holds: load only files that you made, or whose maker you trust.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

if len(sys.argv) != 2:
    sys.exit(__doc__)

metadata = {"residuum": ""}
program = torch.export.load(Path(__file__).with_name("model.pt2"), extra_files=metadata)
about = json.loads(metadata["residuum"])

picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")  # upright: the program does the rest
with torch.no_grad():
    probabilities, features = (x.numpy() for x in program.module()(torch.from_numpy(np.array(picture))[None]))
order = np.argsort(-probabilities[0])
answered = order[probabilities[0, order] >= 0.5] if about.get("several") else order[:5]  # several labels: those called
for number in answered:
    print(f"{probabilities[0, number]:7.2%}  {about['classes'][number]}")
if not len(answered):
    print("no label is called: none is at least as likely as not")

beside, likeness = Path(__file__).with_name("likeness.safetensors"), about.get("likeness")
if likeness and beside.is_file():  # how far the picture is from those trained on: one float16 tensor behind a head
    content, D = beside.read_bytes(), features.shape[1]
    kept = np.frombuffer(content[8 + int.from_bytes(content[:8], "little") :], np.float16).reshape(-1, D)
    apart = np.sort(1 - kept.astype(np.float32) @ (features[0] / np.linalg.norm(features[0])))
    if apart[: likeness["neighbours"]].mean() > likeness["threshold"]:
        print("unsure: unlike the training pictures")
