"""What is known to go wrong: case and verb, and why. Each must fail, or the test says that it is mended.

A name that ends in "*" stands for all cases that begin so.
"""

PICTURES = "not yet read"
ONE_CLASS = "looking at data of one class finds nothing wrong"
STRICT = "a model file is not read strictly"
DIGEST = "settings are not bound to the checkpoint"

FAULTS: dict[tuple[str, str], str] = {
    ("sound: five-megabytes-of-text.png", "predict"): PICTURES,
    ("sound: an-avif-called.jpg", "predict"): PICTURES,
    ("sound: avif.avif", "predict"): PICTURES,
    ("broken: telephone.heic.jpg", "predict"): PICTURES,
    ("folder: one class", "data check"): ONE_CLASS,
    ("table: one class", "data check"): ONE_CLASS,
    ("says: a class twice", "predict with"): STRICT,
    ("resume: settings.seed edited", "resume"): DIGEST,
}
