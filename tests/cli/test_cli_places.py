"""`hsorm read --near` and `--within`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Hsorm

_SITES = """id: @oslo
site
geoCoord: C(59.9139,10.7522)
---
id: @bergen
site
geoCoord: C(60.3913,5.3221)
---
id: @suva
site
geoCoord: C(-18.1248,178.4501)
---
id: @van
van
lastSeen: C(59.91,10.75)
---
id: @nowhere
site
"""

_ASKED = [
    (("--near", "59.9,10.7,5km"), {"oslo"}),
    (("--near", "59.9, 10.7, 200mile"), {"oslo", "bergen"}),
    (("--near", "-18,178,100000"), {"suva"}),
    (("--near=-18.,+178,100km",), {"suva"}),
    (("--within", "59,5 61,11"), {"oslo", "bergen"}),
    (("--within", "59,10 61,10  60,12"), {"oslo"}),
    (("--within", "-30,170 0,-170"), {"suva"}),
    (("--near", "59.91,10.75,1km", "--geo-tag", "lastSeen"), {"van"}),
]


def test_places_are_asked_for_on_every_backend(hsorm: Hsorm, url: str, tmp_path: Path) -> None:
    (tmp_path / "sites.trio").write_text(_SITES, "utf-8")
    assert hsorm("load", "sites.trio", "-u", url).code == 0

    for options, expected in _ASKED:
        csv = hsorm("read", "id", *options, "--csv", "--cols", "id", "-u", url).out.split()
        assert {id.removeprefix("@") for id in csv[1:]} == expected, options
        assert hsorm("read", "id", *options, "--count", "-u", url).out == f"{len(expected)}\n"
        assert hsorm("read", "van", *options, "--explain", "-u", url).code == 0


def test_places_in_files(hsorm: Hsorm, tmp_path: Path) -> None:
    (tmp_path / "sites.trio").write_text(_SITES, "utf-8")

    result = hsorm("read", "site", "--near", "60.4,5.3,50km", "--from", "sites.trio")

    assert "@bergen" in result.out
    assert "@oslo" not in result.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--near", "oslo"), "--near: 'oslo': write LAT,LNG,DISTANCE, as in 59.91,10.75,5km"),
        (("--near", "59.9,10.7"), "--near: '59.9,10.7': write LAT,LNG,DISTANCE"),
        (("--near", "59.9,10.7,far"), '--near: far given: expected a distance such as "5km"'),
        (("--near", "59.9,10.7,-5km"), "--near: -5km given: expected a distance"),
        (("--near", "99,10.7,5km"), "--near: C(99.0,10.7) is no place"),
        (("--near", "nan,10.7,5km"), "--near: 'nan,10.7,5km': write"),
        (("--within", "59,5"), "--within: 1 corners given: expected 2 for a box"),
        (("--within", ""), "--within: 0 corners given"),
        (("--within", "61,5 59,11"), "expected a box has its south-western corner first"),
        (("--within", "59,5 61;11"), "--within: '61;11': write corners as LAT,LNG with blanks"),
        (("--near", "1,2,3", "--within", "59,5 61,11"), "--near and --within: give one of them"),
        (("--geo-tag", "lastSeen"), "--geo-tag is of --near or --within"),
        (("--near", "1,2,3", "--geo-tag", "Last seen"), "expected the name of a tag"),
        (("--near", "1,2,3", "--geo-tag", "curVal"), "expected a tag that is no live one"),
    ],
)
def test_what_is_no_area_is_one_line(
    hsorm: Hsorm, plant: str, options: tuple[str, ...], says: str
) -> None:
    result = hsorm("read", "site", *options, "-u", plant)

    assert (result.code, result.out) == (2, "")
    assert says in result.err
    assert result.err.count("\n") == 1
