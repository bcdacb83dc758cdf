"""Files of every format: what is read, which format is found, errors that name file and line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.codecs import hayson, trio, zinc
from hsorm.codecs.files import FORMATS, detect_format, read_entities
from hsorm.errors import CodecError
from hsorm.kinds import MARKER, Entity, Grid, Number, Ref, equal
from tests.unit.strategies import entities

if TYPE_CHECKING:
    from pathlib import Path

RECS: list[Entity] = [
    {"id": Ref("a", "Site A"), "site": MARKER, "area": Number(5, "ft²"), "dis": "Blåhaus"},
    {"id": Ref("b"), "equip": MARKER, "siteRef": Ref("a"), "custom": {"x": [Number(1), "y"]}},
]
HAYSON = hayson.encode(RECS)
V3 = {
    "meta": {"ver": "3.0"},
    "cols": [{"name": "id"}],
    "rows": [
        {"id": "r:a Site A", "site": "m:", "area": "n:5 ft²", "dis": "Blåhaus", "x": None},
        {"id": "r:b", "equip": "m:", "siteRef": "r:a", "custom": {"x": [1, "y"]}},
    ],
}
LINES = "\n".join(json.dumps(rec, ensure_ascii=False) for rec in HAYSON)

FILES = [
    ("a.json", hayson.dumps(Grid.of(RECS))),
    ("a.json", hayson.dumps(RECS, indent=2)),
    ("a.json", json.dumps({"meta": {"ver": "3.0"}, "cols": [], "rows": HAYSON})),
    ("a.ndjson", LINES),
    ("a.jsonl", LINES.replace("\n", "\r\n\r\n") + "\r\n"),
    ("a.json", LINES),
    ("a.json", json.dumps(V3)),
    ("a.json", json.dumps(V3["rows"])),
    ("a.json", "\n".join(map(json.dumps, V3["rows"]))),
    ("a.zinc", zinc.dumps(RECS)),
    ("a.trio", trio.dumps(RECS)),
    ("a.trio", "// two\n---\n" + trio.dumps(RECS)),
]


@pytest.mark.parametrize(("name", "text"), FILES)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_each_format_gives_the_same_entities(name: str, text: str, named: bool, bom: bytes) -> None:
    """By extension or by content, with and without byte order mark."""
    recs = read_entities(bom + text.encode(), name=name if named else "-")

    assert equal(recs, RECS)
    assert recs[0]["id"].dis == "Site A"


def test_one_dict_is_one_entity() -> None:
    assert read_entities(json.dumps(HAYSON[0]).encode()) == [RECS[0]]


def test_null_members_are_dropped() -> None:
    """1.1: a null tag is an absent tag."""
    text = '{"id":{"_kind":"ref","val":"a"},"dis":null}'

    assert read_entities(text.encode()) == [{"id": Ref("a")}]
    assert read_entities(b'ver:"3.0"\nid,dis\n@a,N\n') == [{"id": Ref("a")}]


@given(st.lists(entities(), min_size=1, max_size=3))
def test_every_format_is_found_by_content(recs: list[Entity]) -> None:
    for expected, text in [
        ("json", hayson.dumps(Grid.of(recs))),
        ("zinc", zinc.dumps(recs)),
        ("trio", trio.dumps(recs)),
    ]:
        assert detect_format("-", text.encode()) == expected
        assert equal(read_entities(text.encode()), recs)


@pytest.mark.building
def test_the_example_building_is_the_same_in_every_format(building: Path) -> None:
    read = [
        {rec["id"].val: rec for rec in read_entities((building / name).read_bytes(), name=name)}
        for name in ("alpha.json", "alpha.zinc", "alpha.trio")
    ]

    assert [len(recs) for recs in read] == [2032] * 3
    assert equal(read[0], read[1])
    assert equal(read[0], read[2])


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("plant.ZINC", b"", "zinc"), ("plant.trio", b"", "trio"), ("x.json", b"", "json"),
        ("x.json", b'[{"id":"r:a"}]', "json3"), ("x.txt", b' ver:"3.0"', "zinc"),
        ("x", b"\n [", "json"), ("x", b"// note\n---\nid:@a", "trio"), ("x", b"site", "trio"),
        ("x", b'{"id":"r:a","x":"m:"}', "json3"),
    ],
)  # fmt: skip
def test_detected_format(name: str, data: bytes, found: str) -> None:
    assert detect_format(name, data) == found


GOOD = {"id": {"_kind": "ref", "val": "a"}}
BAD: list[tuple[str, bytes, str]] = [
    ("x.json", b"", "x.json: the file is empty"),
    ("x", b" \n", "x: the file is empty"),
    ("x", b"\xef\xbb\xbf", "x: the file is empty"),
    ("x", b"%PDF-1.7", "x: the file is no JSON, Zinc or Trio"),
    ("x.zinc", b'ver:"3.0"\nid\n@a\xff', "x.zinc, line 3, column 3: byte 0xff is no UTF-8"),
    ("x.zinc", b'ver:"3.0"\nid,n\n@a,5..', "x.zinc, line 3, column 4: '5..' is no number"),
    ("x.trio", b'id:@a\ndis:"x', "x.trio, line 2, column 5: a string that is not closed"),
    ("x.json", b'[{"a": x}]', "x.json, line 1, column 8: no JSON"),
    ("x.json", b'{"id": 1,\n  ', "x.json, line 2, column 3: no JSON: the text ends"),
    ("x.json", b'ver:"3.0"\nid\n@a', "but it looks like zinc"),
    ("x.zinc", b"id:@a\nsite\n", "but it looks like trio"),
    ("x.trio", b'{"id":1}', "but it looks like json"),
    ("x.json", json.dumps([GOOD, {"dis": "X"}]).encode(), r"x.json: \[1\]: the entity \(dis 'X'\)"),
    ("x.json", json.dumps([GOOD, {"id": "a"}]).encode(), r"x.json: \[1\]: .* 'id' that is no Ref"),
    ("x.json", json.dumps([GOOD, 5]).encode(), r"x.json: \[1\]: an entity has to be a dict"),
    ("x.json", json.dumps([GOOD, {"a": {"_kind": "q"}}]).encode(), r"\[1\].*unknown _kind 'q'"),
    ("x.json", json.dumps({"_kind": "grid", "rows": [{}]}).encode(), r"rows\[0\]: .* no 'id'"),
    ("x.json", b"5", "x.json: an entity has to be a dict"),
    ("x.json", f'{json.dumps(GOOD)}\n{{"id"\n'.encode(), "x.json, line 2"),
    ("x.json", f'{json.dumps(GOOD)}\n\n{{"dis":"X"}}\n'.encode(), "x.json, line 3: the entity"),
    ("x.json", b'[{"id":"r:a","d":"d:x"}]', r"x.json: \[0\]\.d: 'd:x'"),
    ("x.zinc", b'ver:"3.0"\nid,dis\n@a,\n,"X"\n', r"x.zinc: rows\[1\], line 4: the entity"),
    ("x.trio", b"id:@a\n---\n\ndis:X\n", r"x.trio, line 4: the entity \(dis 'X'\) has no 'id'"),
    ("x.zinc", b'ver:"3.0" err dis:"Boom"\nempty\n', "x.zinc: .* the error of a server: Boom"),
    ("x.json", b'{"_kind":"grid","meta":{"err":{"_kind":"marker"}},"cols":[],"rows":[]}', "server"),
    ("x.json", b'{"meta":{"ver":"3.0","err":"m:"},"cols":[],"rows":[]}', "the error of a server"),
    ("x.trio", b"id:abc\n", "x.trio, line 1: .* 'id' that is no Ref: 'abc'"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD)
def test_a_bad_file_is_one_error_with_its_name(name: str, data: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message) as caught:
        read_entities(data, name=name)

    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


def test_a_format_that_is_told_is_not_guessed() -> None:
    with pytest.raises(CodecError, match="read as trio, but it looks like zinc"):
        read_entities(b'ver:"3.0"\nid\n@a\n@b', format="trio")
    with pytest.raises(CodecError, match="unknown format 'csv'"):
        read_entities(b"id", format="csv")


@given(st.one_of(st.binary(max_size=50), st.text('{}[]":,@-\n:idver_kn0', max_size=30)), st.data())
def test_anything_gives_entities_or_a_codec_error(raw: Any, data: st.DataObject) -> None:
    raw = raw.encode() if isinstance(raw, str) else raw
    format = data.draw(st.sampled_from([None, *FORMATS]))
    try:
        recs = read_entities(raw, name="fuzz", format=format)
    except CodecError as exc:
        assert "fuzz" in str(exc)  # noqa: PT017 - any other error fails the test
    else:
        assert all(isinstance(rec["id"], Ref) for rec in recs)
