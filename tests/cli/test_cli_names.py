"""Several storages in one database: `?prefix=` and `?schema=` of a URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Hsorm


@pytest.fixture
def urls(url: str) -> tuple[str, str]:
    """The URLs of two storages in one database, on each backend."""
    if url.startswith("redis"):
        return f"{url}-a", f"{url}-b"
    if url.startswith("postgres"):
        return f"{url}?prefix=hs_", f"{url}?prefix=hs_&schema=plant"
    return url, f"{url}?prefix=hs_"


def test_a_url_names_one_of_several_storages(
    hsorm: Hsorm, urls: tuple[str, str], files: dict[str, Path]
) -> None:
    one, other = urls
    assert hsorm("-u", one, "db", "upgrade").code == 0
    assert hsorm("-u", other, "load", files["json"]).code == 0

    assert hsorm("-u", one, "read", "site", "--count").out == "0\n"
    assert hsorm("-u", other, "read", "site", "--count").out == "1\n"
    assert hsorm("-u", one, "db", "status").code == 0
    assert hsorm("-u", other, "db", "status").code == 0


def test_what_to_run_names_it_too(hsorm: Hsorm, urls: tuple[str, str]) -> None:
    """Without its prefix the command would make other tables."""
    result = hsorm("-u", urls[1], "db", "status")

    _, _, names = urls[1].partition("?")
    (told,) = (line for line in result.out.splitlines() if line.startswith("Behind"))
    assert result.code == 1
    assert f"?{names}' db upgrade`" in told
    assert f"?{names}" in hsorm("-u", urls[1], "read", "site").err or "sqlite" in urls[1]
