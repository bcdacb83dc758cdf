"""The application's own tables; one of them has Haystack tags beside its own columns."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import DateTime, ForeignKey, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hsorm import Entity, Tags
from hsorm.sql.views import string_tag


class Base(DeclarativeBase):
    """The application's MetaData."""


class User(Base):
    """Somebody who owns devices."""

    __tablename__ = "user_account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    devices: Mapped[list[Device]] = relationship(back_populates="owner")


class Device(Base):
    """A device, described by tags; refs in them lead to other devices."""

    __tablename__ = "device"
    __table_args__ = (
        Index("device_tags", "tags", postgresql_using="gin").ddl_if(dialect="postgresql"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    serial: Mapped[str]
    owner_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    tags: Mapped[Entity] = mapped_column(Tags())
    city = string_tag("geoCity")
    owner: Mapped[User] = relationship(back_populates="devices")


class Upload(Base):
    """Who has sent readings, and how many: kept with them, or not at all."""

    __tablename__ = "upload"

    id: Mapped[int] = mapped_column(primary_key=True)
    device_id: Mapped[str] = mapped_column(ForeignKey("device.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    readings: Mapped[int]
    at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))
