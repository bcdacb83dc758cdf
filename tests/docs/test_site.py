"""`make docs` builds the site without a warning, and the site asks nobody for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import hsorm
from scripts.docs_hooks import on_page_markdown
from tests.docs.pages import CHECKOUT

# What a browser would fetch by itself; a link that a reader follows is none of these.
_FETCHED = re.compile(
    r'<(?:script|img|iframe|source)[^>]+src="?(?:https?:)?//|<link[^>]+href="?(?:https?:)?//'
)


def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "properdocs", "build", "-f", "mkdocs.yml", "--site-dir", tmp_path],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    site = {page: page.read_text("utf-8") for page in tmp_path.rglob("*.html")}
    assert [page.name for page, text in site.items() if _FETCHED.search(text)] == []
    described = {
        found.rpartition(".")[2]
        for text in site.values()
        for found in re.findall(r'id="(hsorm\.[\w.]+)"', text)
    }
    assert set(hsorm.__all__) <= described


def test_links_to_files_that_are_no_pages_are_text_in_the_site() -> None:
    docs = CHECKOUT / "docs"
    page = SimpleNamespace(file=SimpleNamespace(abs_src_path=str(docs / "reference" / "sql.md")))
    text = "[`Makefile`](../../Makefile) [a](../cli.md#load) [b](../nowhere.md) [c](kinds.md)"

    shown = on_page_markdown(text, page, {"docs_dir": str(docs)})

    assert shown == "`Makefile` [a](../cli.md#load) [b](../nowhere.md) [c](kinds.md)"


def test_the_reference_says_where_each_public_name_is() -> None:
    page = (CHECKOUT / "docs/reference/hsorm.md").read_text("utf-8")

    assert [name for name in hsorm.__all__ if f"`{name}`" not in page] == []


def test_the_comparison_has_no_figure_that_was_not_measured() -> None:
    page = (CHECKOUT / "docs/comparison.md").read_text("utf-8")
    measured = (CHECKOUT / "docs/benchmarks.md").read_text("utf-8")

    figures = re.findall(r"(?<!Python )(?<![\d.])\d+\.\d\d\b", page)  # no versions

    assert figures
    gone = [figure for figure in figures if f"{figure} ×" not in measured]
    assert gone == [], "measured anew: the comparison has to follow"
