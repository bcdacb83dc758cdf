"""What a host's type checker sees of sessions and views; nothing here is run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import assert_type

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, selectinload

from hsorm import Entity, Ref, SqliteAdapter, TimescaleAdapter
from hsorm.ops.watch import WatchRows
from hsorm.storage import StorageAdapter, SyncStorage, bind
from hsorm.storage.protocol import HisItem
from tests.embedding.buildings import TABLES, Device, Equip, Point, Site


def attributes(site: Site, equip: Equip, point: Point, device: Device) -> None:
    assert_type(site.id, str)
    assert_type(site.tags, Entity)
    assert_type(site.live, Entity | None)
    assert_type(site.city, str | None)
    assert_type(site.area, float | None)
    assert_type(site.built, dt.date | None)
    assert_type(site.mod, dt.datetime | None)
    assert_type(site.equips, list[Equip])
    assert_type(equip.is_ahu, bool)
    assert_type(equip.site, Site | None)
    assert_type(equip.heated_by, list[Equip])
    assert_type(point.enabled, bool | None)
    assert_type(point.equip, Equip | None)
    device.area = 3.5
    device.area = None
    device.area = "3"  # type: ignore[assignment]  # what a checker is for


def queries() -> None:
    large: ColumnElement[bool] = Site.area > 1_000
    select(Point).options(selectinload(Point.equip).selectinload(Equip.site)).where(large)
    select(Site).where(Site.tags.matches("geoCity")).order_by(Site.area)
    select(Point.id).join(Point.equip).where(Equip.is_ahu)


async def sessions(session: AsyncSession, connection: AsyncConnection) -> None:
    assert_type(bind(session), StorageAdapter)
    assert_type(bind(connection, tables=TABLES), StorageAdapter)
    assert_type(TimescaleAdapter(session=session), TimescaleAdapter)
    assert_type(SqliteAdapter(session=session), SqliteAdapter)
    assert_type(SqliteAdapter("x.db").bind(session), SqliteAdapter)
    assert_type(await bind(session).read("ahu"), list[Entity])


def sync_sessions(session: Session) -> None:
    store = bind(session)
    assert_type(store, SyncStorage)
    assert_type(store.read("ahu", limit=3, sort="dis"), list[Entity])
    assert_type(store.read_by_ids([Ref("a")]), list[Entity | None])
    assert_type(store.read_by_id("a"), Entity)
    assert_type(store.his_read_iter("a", "today"), Iterator[HisItem])
    assert_type(store.load_entities([]), int)
    assert_type(store.watch_poll("w", refresh=True), WatchRows)
    store.read(5)  # type: ignore[arg-type]  # what a checker is for
