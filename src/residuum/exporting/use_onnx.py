"""Answers for one picture with onnxruntime: python use_onnx.py PICTURE. Needs onnxruntime, numpy and Pillow."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

if len(sys.argv) != 2:
    sys.exit(__doc__)

options = onnxruntime.SessionOptions()
options.log_severity_level = 3  # errors: else it warns of resize_to, an input that has a default on purpose
session = onnxruntime.InferenceSession(str(Path(__file__).with_name("model.onnx")), options)
about = json.loads(session.get_modelmeta().custom_metadata_map["residuum"])

picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")  # upright: the graph does the rest
probabilities, features = session.run(None, {"pictures": np.asarray(picture)[None]})
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
