"""The host application: devices of its own making, with Haystack tags beside its own columns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hsorm import MARKER, Entity, Number, Ref, Tags


class Base(DeclarativeBase):
    """The host's own MetaData."""


class Tenant(Base):
    """Somebody who owns devices; nothing of ours."""

    __tablename__ = "tenant"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    devices: Mapped[list[Device]] = relationship(back_populates="tenant")


class Device(Base):
    """A device; refs in its tags lead to other devices."""

    __tablename__ = "device"
    __table_args__ = (
        Index("device_tags", "tags", postgresql_using="gin").ddl_if(dialect="postgresql"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    serial: Mapped[int]
    tags: Mapped[Entity] = mapped_column(Tags())
    tenant_id: Mapped[int | None] = mapped_column(ForeignKey("tenant.id"))
    tenant: Mapped[Tenant | None] = relationship(back_populates="devices")


def _device(id: str, serial: int, **tags: Any) -> dict[str, Any]:
    return {"id": id, "serial": serial, "tags": {"id": Ref(id), **tags}}


DEVICES = [
    _device("oslo", 1, site=MARKER, geoCity="Oslo"),
    _device("bergen", 2, site=MARKER, geoCity="Bergen"),
    *(
        _device(
            f"ahu-{i}",
            10 - i,
            ahu=MARKER,
            siteRef=Ref("oslo" if i < 3 else "bergen"),
            area=Number(i * 100, "m²"),
        )
        for i in range(5)
    ),
]
