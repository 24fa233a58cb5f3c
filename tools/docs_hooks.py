"""What `mkdocs build` does to pages beside rendering them.

Pages link to files of the repository (`../SECURITY.md`), as one reads them there; on the site such
a link goes to the repository's page on the web.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Called by mkdocs with each page."""
    del files
    return replace_outside_links(markdown, page.file.src_uri, f"{config['repo_url']}/blob/main")


def replace_outside_links(markdown: str, page: str, repository: str) -> str:
    """The page with links to files outside `docs/` as addresses.

    Args:
        page: the page's path below `docs/`.

    Raises:
        FileNotFoundError: a link names a file that the repository does not have.
    """

    def replace_link(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link[1]))
        if target.startswith("docs/"):
            return link[0]
        if not (ROOT / target).exists():
            raise FileNotFoundError(f"docs/{page} links to {link[1]}, which does not exist.")
        return f"]({repository}/{target}{link[2] or ''})"

    return _LINK.sub(replace_link, markdown)
