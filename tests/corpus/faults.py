"""What is known to go wrong: case and verb, and why. Each must fail, or the test says that it is mended."""

PICTURES = "not yet read"
SPLITS = "split names in Chinese are taken for classes"
SUBSET = "a split that lacks a class is refused"
PATHS = "a table of paths is not read"
LAYOUT = "not recognised"
TYPES = "an inert type beside the weights is refused"
STRICT = "a model file is not read strictly"
DIGEST = "settings are not bound to the checkpoint"
CONFIG = "a file of settings is not read strictly"

FAULTS: dict[tuple[str, str], str] = {
    ("sound: five-megabytes-of-text.png", "predict"): PICTURES,
    ("sound: an-avif-called.jpg", "predict"): PICTURES,
    ("sound: avif.avif", "predict"): PICTURES,
    ("splits: chinese", "evaluate"): SPLITS,
    ("splits: chinese, all three", "evaluate"): SPLITS,
    ("splits: chinese, short", "evaluate"): SPLITS,
    ("val lacks a class", "train"): SUBSET,
    ("table: paths beside", "evaluate"): PATHS,
    ("table: paths to nothing", "data check"): PATHS,
    ("weights: sharded", "import"): LAYOUT,
    ("weights: head in a Sequential", "import"): LAYOUT,
    ("weights: prefix encoder.", "import"): LAYOUT,
    ("weights: namespace beside", "import"): TYPES,
    ("says: no class", "predict with"): STRICT,
    ("says: too few classes", "predict with"): STRICT,
    ("says: too many classes", "predict with"): STRICT,
    ("says: a class twice", "predict with"): STRICT,
    ("resume: settings.seed edited", "resume"): DIGEST,
    **{(f"config: {name}", "config"): CONFIG
       for name in ("settings is a number", "settings is a list", "a fraction", "deep", "an empty model",
                    "half a squeeze")},
}  # fmt: skip
