"""What is known to go wrong: case and verb, and why. Each must fail, or the test says that it is mended.

A name that ends in "*" stands for all cases that begin so.
"""

ONE_CLASS = "looking at data of one class finds nothing wrong"
NO_TEXT = "paths in a table that are not UTF-8 end in a traceback"

FAULTS: dict[tuple[str, str], str] = {
    ("folder: one class", "data check"): ONE_CLASS,
    ("table: one class", "data check"): ONE_CLASS,
    ("table: paths that are no text", "data check"): NO_TEXT,
    ("table: paths that are no text", "train"): NO_TEXT,
}
