"""What requests and answers look like, for FastAPI to check and to show at /docs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field, FiniteFloat

Name = Annotated[str, Field(min_length=1, max_length=100)]

Tags = Annotated[
    dict[str, Any],
    Field(
        description="Haystack tags, in Hayson (JSON v4)",
        examples=[{"meter": {"_kind": "marker"}, "geoCity": "Oslo"}],
    ),
]


class NewUser(BaseModel):
    name: Name


class UserShown(BaseModel):
    id: int
    name: str


class NewDevice(BaseModel):
    id: Name
    serial: Name
    tags: Tags = {}


class DeviceShown(BaseModel):
    id: str
    serial: str
    city: str | None
    owner: str
    tags: Tags


class Reading(BaseModel):
    ts: AwareDatetime
    kw: FiniteFloat


class Received(BaseModel):
    readings: int
