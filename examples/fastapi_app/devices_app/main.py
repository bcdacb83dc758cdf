"""The application: devices found by filters, readings kept with rows of its own."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import joinedload

from devices_app.models import Device, Upload, User
from devices_app.reports import daily_peaks
from hsorm import MARKER, Number, Ref
from hsorm.codecs import hayson
from hsorm.errors import HsormError, UnknownEntityError
from hsorm.storage import bind


class NewUser(BaseModel):
    name: str


class NewDevice(BaseModel):
    id: str
    serial: str
    tags: dict[str, Any] = {}


class Reading(BaseModel):
    ts: dt.datetime
    kw: float


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """One session a request, one transaction a session."""
    async with request.app.state.sessions() as session, session.begin():
        yield session


# "function": it commits before the answer is sent, not after.
Session = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_user(session: Session, x_user: Annotated[str, Header()]) -> User:
    """Tell who asks. (Do this in a better way.)"""
    found = await session.scalar(select(User).where(User.name == x_user))
    if found is None:
        raise HTTPException(401, f"nobody is called {x_user}")
    return found


CurrentUser = Annotated[User, Depends(get_user)]


def make_app(engine: AsyncEngine) -> FastAPI:
    """Return the application over an engine."""
    app = FastAPI(title="Devices")
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    app.add_exception_handler(HsormError, refuse)
    app.add_exception_handler(IntegrityError, refuse_again)
    app.post("/users", status_code=201)(add_user)
    app.post("/devices", status_code=201)(add_device)
    app.get("/devices")(find_devices)
    app.post("/devices/{id}/readings", status_code=201)(add_readings)
    app.get("/devices/{id}/readings")(read_readings)
    app.get("/peaks")(read_peaks)
    return app


async def refuse(request: Request, exc: Exception) -> JSONResponse:
    """Say what hsorm says: what is wrong with a filter, an item, an id."""
    status = 404 if isinstance(exc, UnknownEntityError) else 422
    return JSONResponse({"detail": str(exc)}, status)


async def refuse_again(request: Request, exc: Exception) -> JSONResponse:
    """Say that a name or an id is taken."""
    return JSONResponse({"detail": "there is one already"}, 409)


async def add_user(new: NewUser, session: Session) -> dict[str, Any]:
    """Add somebody."""
    user = User(name=new.name)
    session.add(user)
    await session.flush()
    return {"id": user.id, "name": user.name}


async def add_device(new: NewDevice, session: Session, user: CurrentUser) -> dict[str, Any]:
    """Add a device, and in the same transaction the point that has its power."""
    device = Device(
        id=new.id, serial=new.serial, owner_id=user.id, tags=hayson.decode_entity(new.tags)
    )
    session.add(device)
    await bind(session).create(
        {
            "id": Ref(f"{new.id}.power"),
            "dis": f"{new.serial} power",
            "point": MARKER,
            "his": MARKER,
            "kind": "Number",
            "unit": "kW",
            "tz": "UTC",
        }
    )
    return shown(device, user)


async def find_devices(session: Session, filter: str = "id or not id") -> list[dict[str, Any]]:
    """Find devices by a Haystack filter over their tags, in a statement of the application's."""
    query = (
        select(Device)
        .where(Device.tags.matches(filter))
        .options(joinedload(Device.owner))
        .order_by(Device.city, Device.id)
    )
    return [shown(device, device.owner) for device in await session.scalars(query)]


async def add_readings(
    id: str, readings: list[Reading], session: Session, user: CurrentUser
) -> dict[str, Any]:
    """Keep readings, and who sent them: both, or neither."""
    if await session.get(Device, id) is None:
        raise HTTPException(404, f"there is no device {id}")
    session.add(
        Upload(device_id=id, user_id=user.id, readings=len(readings), at=dt.datetime.now(dt.UTC))
    )
    items = [{"ts": reading.ts, "val": Number(reading.kw, "kW")} for reading in readings]
    await bind(session).his_write(f"{id}.power", items)
    return {"readings": len(items)}


async def read_readings(id: str, session: Session, range: str = "today") -> list[dict[str, Any]]:
    """Read the readings of a day, or of any range that Haystack knows."""
    items = await bind(session).his_read(f"{id}.power", range)
    return [{"ts": item["ts"], "kw": item["val"].val} for item in items]


async def read_peaks(session: Session, range: str = "today") -> dict[str, dict[str, float]]:
    """Read the greatest power of each device on each day of a range."""
    return await daily_peaks(bind(session), range)


def shown(device: Device, owner: User) -> dict[str, Any]:
    """Return a device as JSON."""
    return {
        "id": device.id,
        "serial": device.serial,
        "city": device.city,
        "owner": owner.name,
        "tags": {name: hayson.encode(val) for name, val in device.tags.items()},
    }
