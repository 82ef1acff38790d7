"""Answers for one picture with torch: python use_torch.py PICTURE. Needs torch, numpy and Pillow.

torch.export.load may run code that a file holds: load only files that you made, or whose maker you trust.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

metadata = {"residuum": ""}
program = torch.export.load(Path(__file__).with_name("model.pt2"), extra_files=metadata)
about = json.loads(metadata["residuum"])

picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")  # upright: the program does the rest
with torch.no_grad():
    probabilities, features = program.module()(torch.from_numpy(np.array(picture))[None])
for number in probabilities[0].argsort(descending=True)[:5].tolist():
    print(f"{probabilities[0, number]:7.2%}  {about['classes'][number]}")
