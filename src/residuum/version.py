"""What the distribution is called on the package index, and its version, which pyproject.toml takes from here."""

NAME = "residuum-nets"
"""`residuum` there is another project, of chemistry."""
VERSION = "0.2.0.dev0"


def installing(extra: str) -> str:
    """Return the command that installs residuum with one of its extras."""
    return f"pip install '{NAME}[{extra}]'"
