"""Changes inside a dict of tags are seen by the unit of work, in any depth."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from hsorm import MARKER, Entity, Number, Ref, Tags
from hsorm.sql.mutable import MutableTags


class Base(DeclarativeBase):
    pass


class Room(Base):
    __tablename__ = "room"
    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[Entity] = mapped_column(MutableTags.as_mutable(Tags()))


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        tags = {"room": MARKER, "custom": {"a": {"b": 1}}, "refs": [Ref("x"), {"deep": [1]}]}
        opened.add(Room(id=1, tags=tags))
        opened.commit()
        yield opened
    engine.dispose()


ONE = Number(1)
CHANGES: dict[str, Callable[[Any], object]] = {
    "set": lambda tags: tags.__setitem__("area", Number(3)),
    "delete": lambda tags: tags.__delitem__("room"),
    "update": lambda tags: tags.update(area=ONE),
    "or": lambda tags: tags.__ior__({"area": ONE}),
    "setdefault": lambda tags: tags.setdefault("area", ONE),
    "pop": lambda tags: tags.pop("room"),
    "popitem": lambda tags: tags.popitem(),
    "clear": lambda tags: tags.clear(),
    "nested dict": lambda tags: tags["custom"]["a"].__setitem__("c", ONE),
    "nested update": lambda tags: tags["custom"].update(z={"y": ONE}),
    "list append": lambda tags: tags["refs"].append(Ref("y")),
    "list set": lambda tags: tags["refs"].__setitem__(0, Ref("y")),
    "list slice": lambda tags: tags["refs"].__setitem__(slice(0, 1), [Ref("y"), Ref("z")]),
    "list delete": lambda tags: tags["refs"].__delitem__(0),
    "list extend": lambda tags: tags["refs"].extend([ONE]),
    "list add": lambda tags: tags["refs"].__iadd__([ONE]),
    "list times": lambda tags: tags["refs"].__imul__(2),
    "list insert": lambda tags: tags["refs"].insert(0, {"k": ONE}),
    "list pop": lambda tags: tags["refs"].pop(),
    "list remove": lambda tags: tags["refs"].remove(Ref("x")),
    "list clear": lambda tags: tags["refs"].clear(),
    "list reverse": lambda tags: tags["refs"].reverse(),
    "list sort": lambda tags: tags["refs"].sort(key=str, reverse=True),
    "list in dict in list": lambda tags: tags["refs"][1]["deep"].append(ONE),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_change_inside_is_written(change: Callable[[Any], object], session: Session) -> None:
    room = session.get_one(Room, 1)
    before = copy.deepcopy(room.tags)

    change(room.tags)
    dirty = room in session.dirty
    changed = copy.deepcopy(room.tags)
    session.commit()

    assert dirty
    assert room.tags == changed
    assert changed != before


def test_what_is_put_in_later_is_tracked_too(session: Session) -> None:
    room = session.get_one(Room, 1)
    room.tags["custom"] = {"new": {"list": []}}
    session.commit()

    room.tags["custom"]["new"]["list"].append("x")
    session.commit()

    assert room.tags["custom"] == {"new": {"list": ["x"]}}


def test_reading_changes_nothing(session: Session) -> None:
    room = session.get_one(Room, 1)

    assert room.tags.setdefault("room") is MARKER
    assert room.tags.get("custom") == {"a": {"b": Number(1)}}
    assert room not in session.dirty


def test_a_copy_is_a_plain_dict(session: Session) -> None:
    tags = session.get_one(Room, 1).tags["custom"]

    assert type(copy.deepcopy(tags)) is type(pickle.loads(pickle.dumps(tags))) is dict  # noqa: S301


def test_a_mapped_object_can_be_pickled(session: Session) -> None:
    """As for a cache or another process; back in a session, its changes are seen."""
    room = session.get_one(Room, 1)
    before = copy.deepcopy(dict(room.tags))
    pickled = pickle.dumps(room)
    session.expunge_all()

    again = pickle.loads(pickled)  # noqa: S301 - our own
    session.add(again)
    assert again.tags == before
    assert again not in session.dirty
    again.tags["custom"]["a"]["b"] = ONE

    assert again in session.dirty


def test_what_is_no_dict_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="does not accept objects of type"):
        session.get_one(Room, 1).tags = ["a"]  # type: ignore[assignment]
