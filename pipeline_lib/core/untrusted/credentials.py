"""Show addresses without what gives access: user, password and query.

Whatever is stored, logged or printed of an address goes through here: settings and records are
published, and logs are pasted. Only what opens a connection reads the address itself.
"""

import re

# Stands for a query. An address with another query, or with none, is another address.
HIDDEN = "?…"

_DIGEST = re.compile(r"#sha256=[0-9a-f]{64}\Z")
# Their addresses hold no user; @ stands before the revision of a repository.
_BUNDLES = ("https", "hf")
_USER = re.compile(r"(?<=://)[^\s/?#@]+@")
_QUERY = re.compile(r"\?\S+")


def show_address(text: str) -> str:
    """Return an address without user, password and query; a path or a name as it is.

    Parameters
    ----------
    text
        Such as ``https://host/file?token=…#sha256=…``, of which ``https://host/file?…#sha256=…`` is
        left. What is shown of that is itself.
    """
    scheme, found, rest = text.partition("://")
    if not found:
        return text
    digest = _DIGEST.search(rest)
    kept = digest[0] if digest else ""
    rest = rest.removesuffix(kept)
    if scheme not in _BUNDLES:
        # Passwords of cameras may hold any sign.
        rest = rest.rpartition("@")[2]
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = place.partition("/")
    hidden = HIDDEN if place != rest else ""
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}{hidden}{kept}"


def hide_credentials(text: str) -> str:
    """Return a message without the users, passwords and queries of the addresses in it."""
    return _QUERY.sub(HIDDEN, _USER.sub("", text))
