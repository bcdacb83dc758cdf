"""Hooks of the docs' build: `mkdocs.yml` names them."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

_LINK: Final = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: MutableMapping[str, Any], **_: Any) -> str:
    """Leave of links to files of the checkout that are no pages what they say."""
    folder = Path(page.file.abs_src_path).parent
    docs = Path(config["docs_dir"]).resolve()

    def shown(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        leads_out = target.exists() and not target.is_relative_to(docs)
        return link[1] if leads_out else link[0]

    return _LINK.sub(shown, markdown)
