"""What the distribution is called on the package index, and its version, which pyproject.toml takes from here."""

NAME = "residuum-nets"
"""`residuum` there is another project, of chemistry."""
VERSION = "0.2.0.dev0"


def installing(extra: str) -> str:
    """Return the command that installs residuum with one of its extras, from where it was installed if that is here."""
    return f"pip install '{_origin() or NAME}[{extra}]'"


def _origin() -> str:
    """Return the folder or file that it was installed from by pip, if it is still there; else ""."""
    import json  # not for --help, as the rest
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        url = json.loads(distribution(NAME).read_text("direct_url.json") or "{}").get("url", "")
    except (PackageNotFoundError, ValueError):
        return ""
    path = url2pathname(urlsplit(url).path) if url.startswith("file:") else ""
    return path if path and Path(path).exists() else ""
