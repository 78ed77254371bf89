"""Jinja2 as all pages use it: all text that is filled in is made printable and escaped, and nothing is fetched.

Templates of another package extend `page.html` and use `macros.html` of this one.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from dagan_cli.version import __version__
from dagan_cli.words import printable, printable_lines

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MARK = b'<meta name="generator" content="dagan '  # near the start of every page, to know our own files by


@cache
def environment(*packages: str) -> Environment:
    """Return the environment with the templates of these packages and of this one."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader(package) for package in (*packages, "dagan_cli.pages")]
    made = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["lines"] = _lines
    made.globals["version"] = __version__
    made.globals["source"] = lambda name: _source(made, name)
    made.globals["policy"] = _policy
    return made


def _printable(value: Any) -> Any:
    """Return text of files as one printable line. Text that is markup already stays."""
    return printable(value) if type(value) is str else value


def _lines(text: str) -> Markup:
    """Return text of several lines for <pre>."""
    from markupsafe import Markup, escape

    return Markup(escape(printable_lines(text)))


def _source(made: Environment, name: str) -> Markup:
    """Return a stylesheet or a script as it is, to stand in its element."""
    from markupsafe import Markup

    assert made.loader is not None
    return Markup(made.loader.get_source(made, name)[0])


def _policy(styles: list[str], scripts: list[str]) -> str:
    """Return the Content-Security-Policy that allows these styles and scripts, embedded pictures, and no request."""
    style, script = (" ".join(map(_hash, texts)) or "'none'" for texts in (styles, scripts))
    closed = "default-src 'none'; base-uri 'none'; form-action 'none'"
    return f"{closed}; img-src data:; style-src {style}; script-src {script}"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
