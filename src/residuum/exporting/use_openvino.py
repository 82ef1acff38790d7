"""Answers for one picture with OpenVINO: python use_openvino.py PICTURE. Needs openvino, numpy and Pillow."""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image, ImageOps

model = openvino.Core().read_model(Path(__file__).with_name("model.xml"))
about = json.loads(model.get_rt_info("residuum").value)
how = {"INFERENCE_PRECISION_HINT": "f32"}  # bf16: faster, less exact
compiled = openvino.compile_model(model, "CPU", how)

picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")  # upright: the graph does the rest
probabilities = compiled([np.asarray(picture)[None]])["probabilities"]
for number in np.argsort(-probabilities[0])[:5]:
    print(f"{probabilities[0, number]:7.2%}  {about['classes'][number]}")
