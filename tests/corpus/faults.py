"""What is known to go wrong: case and verb, and why. Each must fail, or the test says that it is mended.

A name that ends in "*" stands for all cases that begin so.
"""

ONE_CLASS = "looking at data of one class finds nothing wrong"

FAULTS: dict[tuple[str, str], str] = {
    ("folder: one class", "data check"): ONE_CLASS,
    ("table: one class", "data check"): ONE_CLASS,
}
