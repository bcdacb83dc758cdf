"""Typed views of a storage that is attached to the host's MetaData; mypy reads this file, too."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hsorm import Entity, Tags
from hsorm.sql import EntityMixin, HistoryMixin, make_tables
from hsorm.sql.views import (
    EntityView,
    bool_tag,
    date_tag,
    datetime_tag,
    entity_view,
    marker_tag,
    number_tag,
    ref_tag,
    ref_to,
    referred_by,
    refs_to,
    string_tag,
)


class Base(DeclarativeBase):
    """The host's own MetaData."""


TABLES = make_tables(Base.metadata, prefix="hs_")


class Site(EntityView, Base):
    """A site."""

    __table__ = entity_view(TABLES, "site", "site")

    dis = string_tag("dis")
    city = string_tag("geoCity")
    area = number_tag("area", "m²")
    built = date_tag("yearBuilt")
    mod = datetime_tag("mod")
    equips: Mapped[list[Equip]] = referred_by(lambda: Equip, "siteRef")
    leases: Mapped[list[Lease]] = relationship(
        lambda: Lease,
        primaryjoin=lambda: Site.id == Lease.site_id,
        foreign_keys=lambda: Lease.site_id,
        overlaps="site",
    )


class Equip(EntityView, Base):
    """A piece of equipment."""

    __table__ = entity_view(TABLES, "equip", "equip")

    site_id = ref_tag("siteRef")
    is_ahu = marker_tag("ahu")
    site: Mapped[Site | None] = ref_to(lambda: Site, "siteRef")
    points: Mapped[list[Point]] = referred_by(lambda: Point, "equipRef")
    heated_by: Mapped[list[Equip]] = refs_to(lambda: Equip, "hotWaterRef")
    heats: Mapped[list[Equip]] = referred_by(lambda: Equip, "hotWaterRef", in_lists=True)


class Point(EntityView, Base):
    """A point."""

    __table__ = entity_view(TABLES, "point", "point")

    enabled = bool_tag("enabled")
    current = number_tag("curVal", "°C", column="live")
    equip: Mapped[Equip | None] = ref_to(lambda: Equip, "equipRef")


class Lease(Base):
    """A row of the host's own, about an entity."""

    __tablename__ = "lease"

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[str] = mapped_column(ForeignKey(TABLES.entities.c.id))
    tenant: Mapped[str]
    site: Mapped[Site] = relationship(
        Site, primaryjoin=lambda: Site.id == Lease.site_id, foreign_keys=site_id, viewonly=True
    )


class Device(EntityMixin, Base):
    """A class of the host's own, with tags in a table of its own: they can be set."""

    __tablename__ = "device"

    serial: Mapped[str]
    area = number_tag("area", "m²")
    dis = string_tag("dis")
    is_ahu = marker_tag("ahu")
    part_of = ref_tag("deviceRef")
    whole: Mapped[Device | None] = ref_to(lambda: Device, "deviceRef")
    parts: Mapped[list[Device]] = referred_by(lambda: Device, "deviceRef")


class Reading(HistoryMixin, Base):
    """History of the host's own."""

    __tablename__ = "reading"


class Room(Base):
    """Keys are numbers, and refs to them are written as such."""

    __tablename__ = "room"

    number: Mapped[int] = mapped_column(primary_key=True)
    props: Mapped[Entity] = mapped_column(Tags())
    area = number_tag("area", "m²", column="props")
    next: Mapped[Room | None] = ref_to(lambda: Room, "nextRef")
