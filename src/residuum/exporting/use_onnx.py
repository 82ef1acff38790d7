"""Answers for one picture with onnxruntime: python use_onnx.py PICTURE. Needs onnxruntime, numpy and Pillow."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

options = onnxruntime.SessionOptions()
options.log_severity_level = 3  # errors: else it warns of resize_to, an input that has a default on purpose
session = onnxruntime.InferenceSession(str(Path(__file__).with_name("model.onnx")), options)
about = json.loads(session.get_modelmeta().custom_metadata_map["residuum"])

picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")  # upright: the graph does the rest
probabilities, features = session.run(None, {"pictures": np.asarray(picture)[None]})
for number in np.argsort(-probabilities[0])[:5]:
    print(f"{probabilities[0, number]:7.2%}  {about['classes'][number]}")
