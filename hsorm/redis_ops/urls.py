"""Redis URLs: what people write, and what may be shown of them. Nothing here needs the driver."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from hsorm.errors import StorageUrlError

__all__ = ["DEFAULT_PREFIX", "Target", "check_prefix", "is_redis", "safe_url", "target_of"]

DEFAULT_PREFIX: Final = "hsorm"

_SCHEMES: Final = ("redis", "rediss")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:\-]{1,100}")


class Target(NamedTuple):
    """A URL, taken apart.

    Attributes:
        url: What the driver is given: without our own parameters.
        prefix: The prefix of the storage's keys, None where the URL does not say.
    """

    url: str
    prefix: str | None


def target_of(url: str) -> Target:
    """Return what a URL says: `redis://user:password@host:6379?prefix=plant`, `rediss://…`.

    Other parameters (`protocol=2`, `socket_timeout=5`, `ssl_ca_certs=…`) are the driver's.

    Raises:
        StorageUrlError: It is no URL of Redis, or names a database that cannot be searched.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in _SCHEMES and parts.port != 0
    except ValueError:  # whose text may hold a part of the password
        known = False
    if not known or "@" in parts.path + parts.query + parts.fragment:
        # A password with one of the signs of a URL, which has to be written as %2F and so on.
        raise StorageUrlError(safe_url(url), "no URL of Redis, such as redis://localhost:6379")
    query = parse_qs(parts.query, keep_blank_values=True)
    (prefix,) = query.pop("prefix", [None])[-1:]
    if parts.path not in ("", "/", "/0") or query.get("db", ["0"]) != ["0"]:
        # RediSearch refuses to index any other.
        raise StorageUrlError(safe_url(url), "only database 0 can be searched: leave it out")
    if prefix is not None:
        try:
            check_prefix(prefix)
        except ValueError as exc:
            raise StorageUrlError(safe_url(url), str(exc)) from None
    return Target(urlunsplit(parts._replace(query=urlencode(query, doseq=True))), prefix)


def safe_url(url: str, prefix: str = DEFAULT_PREFIX) -> str:
    """Return a URL without its password, and of parameters with the prefix alone, for messages."""
    # A password that spoils a URL may hold any of its signs: then leave out all before the host.
    plain = re.sub(r"(?<=://)[^@/?#]*[/?#].*@", "***@", url, flags=re.DOTALL)
    try:
        parts = urlsplit(plain)
        user, host = parts.username, parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition("://")[0] + "://…"
    shown = f"{user}:***@{host}" if parts.password else (f"{user}@{host}" if user else host)
    query = "" if prefix == DEFAULT_PREFIX else urlencode({"prefix": prefix})
    return urlunsplit((parts.scheme, shown, parts.path, query, ""))


def check_prefix(prefix: str) -> str:
    """Return a prefix that keys may have.

    Raises:
        ValueError: It has other characters than letters, digits and `_ . : -`, or none.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"{prefix!r} is no prefix of keys: letters, digits and _ . : - only")
    return prefix


def is_redis(url: str) -> bool:
    """Tell whether a URL is one of Redis."""
    return url.partition("://")[0] in _SCHEMES
