"""Hooks of the docs' build: `mkdocs.yml` names them."""

from __future__ import annotations

import re
from collections.abc import Container, MutableMapping
from pathlib import Path
from typing import Any, Final

# Pages that have their place in the navigation and are not written yet. Any other page that is
# missing fails the build.
TO_COME: Final = frozenset({"embedding.md", "geo.md", "testing.md"})

_LINK: Final = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)(?:#[^)]*)?\)")


def on_config(config: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave the places of pages that are not written yet out of the navigation."""
    there = {path.name for path in Path(config["docs_dir"]).glob("*.md")}
    config["nav"] = _without(config["nav"], TO_COME - there)
    return config


def on_page_markdown(markdown: str, page: Any, config: MutableMapping[str, Any], **_: Any) -> str:
    """Leave of links to files of the checkout that are no pages what they say."""
    folder = Path(page.file.abs_src_path).parent
    docs = Path(config["docs_dir"]).resolve()

    def shown(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        leads_out = target.exists() and not target.is_relative_to(docs)
        return link[1] if leads_out else link[0]

    return _LINK.sub(shown, markdown)


def _without(entry: Any, pages: Container[object]) -> Any:
    """`entry` of the navigation (text, list or dict, as in YAML) without the places of `pages`."""
    if isinstance(entry, dict):
        return {title: _without(inner, pages) for title, inner in entry.items()}
    if isinstance(entry, list):
        return [_without(inner, pages) for inner in entry if not _names(inner, pages)]
    return entry


def _names(entry: Any, pages: Container[object]) -> bool:
    pages_named = entry.values() if isinstance(entry, dict) else [entry]
    return any(isinstance(page, str) and page in pages for page in pages_named)
