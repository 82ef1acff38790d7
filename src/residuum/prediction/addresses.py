"""A picture from the network, only where that was asked for: http and https alone, with bounds on size and time."""

import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from residuum.errors import UserError

MOST_BYTES = 100_000_000
SECONDS = 30.0
"""In all: for the name, the answer, its redirections and its last byte."""
_SCHEMES = {"http", "https"}
_BLOCK = 1 << 16


def fetched(url: str, most: int = MOST_BYTES, seconds: float = SECONDS) -> bytes:
    """Return what lies at an address.

    Raises:
        UserError: it cannot be had, is larger than `most` bytes, takes longer than `seconds`, or leads elsewhere than
            to http and https.
    """
    got: list[bytes | Exception] = []

    def fetch() -> None:
        try:
            got.append(_read(url, most, seconds))
        except Exception as error:  # whatever the network or a hostile answer brings up
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            got.append(error)

    waiting = threading.Thread(target=fetch, daemon=True)  # one that drips its headers could go on for hours
    waiting.start()
    waiting.join(seconds)
    if got and isinstance(got[0], bytes):
        return got[0]
    cause = str(got[0]) or type(got[0]).__name__ if got else f"it did not arrive within {seconds:g} seconds"
    raise UserError(f"cannot fetch the picture {url}", cause, "check the address, or save the picture to a file")


def _read(url: str, most: int, seconds: float) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "residuum", "Accept": "image/*"})
    parts, size = [], 0
    with _opener().open(request, timeout=seconds) as response:
        while block := response.read1(_BLOCK):
            parts.append(block)
            size += len(block)
            if size > most:
                raise ValueError(f"it is larger than {most / 1e6:g} MB")
        missing = response.length
    if missing:
        raise ValueError(f"it broke off: {missing:,} bytes are missing")
    return b"".join(parts)


class _SameKind(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to http and https, and never from https to http."""

    def redirect_request(self, request: Any, file: Any, code: int, message: str, headers: Any, url: str) -> Any:
        scheme = urlsplit(url).scheme.lower()
        if scheme not in _SCHEMES or (request.type == "https" and scheme != "https"):
            file.close()
            raise ValueError(f"it leads on to an address of another kind, {scheme}:")
        return super().redirect_request(request, file, code, message, headers, url)


def _opener() -> urllib.request.OpenerDirector:
    """Return what opens http and https, and no file, FTP server or data: address, which urllib's own would."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _SameKind(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
