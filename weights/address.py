"""Addresses from settings, shown without the user names, passwords and tokens that they may contain."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote

_SHOWN = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?([^/?#\\]*)(.*)", re.DOTALL)
_HOST = re.compile(r"(?:[\w.-]+|\[[\w:.]+\])(?::[0-9]*)?")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_PARTS = re.compile(r"(?:.*?://)?(?:(.*)@)?[^/?#]*(.*)", re.DOTALL)  # of any text: user and password, path and query


def shown(address: str) -> str:
    """Return scheme, host and port of an address, or nothing if it is not certain which part is the host."""
    parts = _SHOWN.fullmatch(address.strip())
    if parts is None:
        return ""
    scheme, place, rest = parts.groups()
    host = place.rpartition("@")[2]
    if "@" in rest or _HOST.fullmatch(host) is None:  # the password may contain a slash
        return ""
    return f"{scheme}://{host}" if scheme else host


def secrets_of_settings() -> set[str]:
    """Return what must not be printed of the addresses in the environment: of the Hub and of proxies."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if name == "HF_ENDPOINT" or (name.lower().endswith("_proxy") and name.lower() != "no_proxy"):
            for login, rest in _PARTS.findall(value.strip())[:1]:
                user, _, password = login.partition(":")
                found |= {user, password, rest.strip("/")}
    return {form for secret in found for form in (secret, unquote(secret)) if form}


def forget_secrets(error: BaseException, secrets: Iterable[str]) -> bool:
    """Take addresses and secrets out of the texts of an error and its causes, which a traceback shows.

    Returns False if a text cannot be changed.
    """
    known = tuple(secrets)
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__]
        text = _without(str(each), known)
        if text != str(each):
            each.args = (text,)
            if str(each) != text:
                return False
    return True


def _without(text: str, secrets: tuple[str, ...]) -> str:
    """Shorten all addresses; a text that still has a secret in it is replaced as a whole."""
    text = _IN_TEXT.sub(lambda match: shown(match[0]) or "(an address)", text)
    return "(not shown: it quotes a secret of the settings)" if any(one in text for one in secrets) else text
