"""The application: devices found by filters, readings kept with rows of its own."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import joinedload

from devices_app.database import make_engine
from devices_app.models import Device, Upload, User
from devices_app.reports import daily_peaks
from devices_app.schemas import DeviceShown, NewDevice, NewUser, Reading, Received, UserShown
from hsorm import MARKER, Number, Ref
from hsorm.codecs import hayson
from hsorm.errors import (
    ConflictError,
    EntityExistsError,
    HsormError,
    StorageError,
    StorageUnavailableError,
    UnknownEntityError,
)
from hsorm.ops.entities import check_entity
from hsorm.storage import StorageAdapter, bind

router = APIRouter()


def make_app(engine: AsyncEngine | None = None) -> FastAPI:
    """Return the application over an engine, which it closes at its end."""
    engine = make_engine() if engine is None else engine

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(title="Devices", lifespan=lifespan)
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    app.add_exception_handler(HsormError, refuse)
    app.add_exception_handler(IntegrityError, refuse_again)
    app.add_exception_handler(RequestValidationError, refuse_request)
    app.include_router(router)
    return app


# ---- what requests have ---------------------------------------------------------------------


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """One session a request, one transaction a session."""
    async with request.app.state.sessions() as session, session.begin():
        yield session


# "function": it commits before the answer is sent, not after.
Session = Annotated[AsyncSession, Depends(get_session, scope="function")]


def get_store(session: Session) -> StorageAdapter:
    """hsorm's storage in the session: what it writes is part of the request's transaction."""
    return bind(session)


Store = Annotated[StorageAdapter, Depends(get_store)]


async def get_user(session: Session, x_user: Annotated[str, Header()]) -> User:
    """Tell who asks. (Do this in a better way.)"""
    found = await session.scalar(select(User).where(User.name == x_user))
    if found is None:
        raise HTTPException(401, f"nobody is called {x_user}")
    return found


CurrentUser = Annotated[User, Depends(get_user)]

Range = Annotated[str, Query(description="A day, two of them, or today, lastWeek and the like")]


# ---- errors ---------------------------------------------------------------------------------

_STATUS: Final = {UnknownEntityError: 404, EntityExistsError: 409, ConflictError: 409}


async def refuse(request: Request, exc: Exception) -> JSONResponse:
    """Say what hsorm says: what is wrong with a filter, an item, an id."""
    if isinstance(exc, StorageUnavailableError):
        return JSONResponse({"detail": "the database cannot be reached: try again later"}, 503)
    if isinstance(exc, StorageError):
        raise exc  # a fault of ours, and for our log
    status = next((code for kind, code in _STATUS.items() if isinstance(exc, kind)), 422)
    return JSONResponse({"detail": str(exc)}, status)


async def refuse_request(request: Request, exc: Exception) -> JSONResponse:
    """Say what FastAPI says, but for what was sent: Python reads NaN in JSON, and writes none."""
    assert isinstance(exc, RequestValidationError)
    told = [{name: error[name] for name in ("type", "loc", "msg")} for error in exc.errors()]
    return JSONResponse({"detail": told}, 422)


async def refuse_again(request: Request, exc: Exception) -> JSONResponse:
    """Say that a name or an id is taken."""
    return JSONResponse({"detail": "there is one already"}, 409)


# ---- routes ---------------------------------------------------------------------------------


@router.post("/users", status_code=201)
async def add_user(new: NewUser, session: Session) -> UserShown:
    """Add somebody."""
    user = User(name=new.name)
    session.add(user)
    await session.flush()
    return UserShown(id=user.id, name=user.name)


@router.post("/devices", status_code=201)
async def add_device(
    new: NewDevice, session: Session, store: Store, user: CurrentUser
) -> DeviceShown:
    """Add a device, and in the same transaction the point that has its power."""
    # As strict as hsorm is with entities of its own: what is an id, a tag's name, a value.
    tags = check_entity({**new.tags, "id": Ref(new.id)})
    del tags["id"]
    device = Device(id=new.id, serial=new.serial, owner_id=user.id, tags=tags)
    session.add(device)
    await store.create(
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


@router.get("/devices")
async def find_devices(
    session: Session,
    filter: Annotated[str | None, Query(examples=['meter and geoCity=="Oslo"'])] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> list[DeviceShown]:
    """Find devices by a Haystack filter over their tags, in a statement of the application's."""
    query = (
        select(Device)
        .options(joinedload(Device.owner))
        .order_by(Device.city, Device.id)
        .limit(limit)
    )
    if filter is not None:
        query = query.where(Device.tags.matches(filter))
    return [shown(device, device.owner) for device in await session.scalars(query)]


@router.post("/devices/{id}/readings", status_code=201)
async def add_readings(
    id: str, readings: list[Reading], session: Session, store: Store, user: CurrentUser
) -> Received:
    """Keep readings, and who sent them: both, or neither."""
    if await session.get(Device, id) is None:
        raise HTTPException(404, f"there is no device {id}")
    session.add(
        Upload(device_id=id, user_id=user.id, readings=len(readings), at=dt.datetime.now(dt.UTC))
    )
    items = [{"ts": reading.ts, "val": Number(reading.kw, "kW")} for reading in readings]
    await store.his_write(f"{id}.power", items)
    return Received(readings=len(items))


@router.get("/devices/{id}/readings")
async def read_readings(id: str, store: Store, range: Range = "today") -> list[Reading]:
    """Read the readings of a day, or of any range that Haystack knows."""
    items = await store.his_read(f"{id}.power", range)
    return [Reading(ts=item["ts"], kw=item["val"].val) for item in items]


@router.get("/peaks")
async def read_peaks(store: Store, range: Range = "today") -> dict[str, dict[str, float]]:
    """Read the greatest power of each device on each day of a range."""
    return await daily_peaks(store, range)


def shown(device: Device, owner: User) -> DeviceShown:
    """Return a device as an answer has it."""
    return DeviceShown(
        id=device.id,
        serial=device.serial,
        city=device.city,
        owner=owner.name,
        tags={name: hayson.encode(val) for name, val in device.tags.items()},
    )
