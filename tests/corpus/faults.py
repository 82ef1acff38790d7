"""What is known to go wrong: case and verb, and why. Each must fail, or the test says that it is mended.

A name that ends in "*" stands for all cases that begin so.
"""

ONE_CLASS = "looking at data of one class finds nothing wrong"
NO_TEXT = "paths in a table that are not UTF-8 end in a traceback"
NO_FILE = "training names what is wrong with the net, but not the file that says so"

FAULTS: dict[tuple[str, str], str] = {
    ("folder: one class", "data check"): ONE_CLASS,
    ("table: one class", "data check"): ONE_CLASS,
    ("table: paths that are no text", "data check"): NO_TEXT,
    ("table: paths that are no text", "train"): NO_TEXT,
    **{
        (f"net: {said}", "train from"): NO_FILE
        for said in (
            "blocks [2]", "blocks []", "blocks [0, 2]", "blocks [-1, 2]", "blocks [2, 2, 2]", "widths [4]",
            "widths [0, 8]", "groups*", "stem_width 0", "dropout -1", "dropout 2", "in_channels 0",
        )
    },
}  # fmt: skip
