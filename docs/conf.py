"""Build of the documentation site: `make docs`, or `sphinx-build -W --keep-going -n docs build/docs`.

Nothing is fetched while it is built, and the pages load nothing from other servers.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from dagan_cli.version import __version__  # noqa: E402

project = "dagan"
author = copyright = "the dagan contributors"
version = release = __version__

extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["gpu"]
suppress_warnings = ["toc.not_included"]  # experiments and decisions are listed by their own pages, not in the sidebar
source_suffix = {".md": "markdown"}
root_doc = "index"
myst_heading_anchors = 4  # a heading can be linked to as on GitHub
highlight_language = "text"

html_theme = "furo"
html_title = f"dagan {__version__}"
html_show_copyright = html_show_sphinx = html_copy_source = False
html_theme_options = {"footer_icons": []}
