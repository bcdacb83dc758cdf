"""A made-up office building with history, to try hsorm with: the same one for the same seed.

`building` gives some 500 entities tagged as Haystack 4 does: one site with four floors, air
handlers and VAVs, a chilled and a hot water plant, meters and a weather station. `history` gives
what their `his` points would have logged: schedules, weather and noise, with a few gaps and NAs.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hsorm.kinds import MARKER, NA, Coord, Entity, Kind, Number, Ref, Uri
from hsorm.zones import zone_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["building", "history"]

_ID: Final = "demo"
_NAME: Final = "Harbor House"
_TZ: Final = "New_York"
_SITE: Final = Ref(_ID)
_STATION: Final = Ref(f"{_ID}.weather")

# ---- points of each kind of equip ---------------------------------------------------------------


class _Spec(NamedTuple):
    """A point: the end of its id, its name, its markers, and its unit (or `"Bool"`, `"Str"`)."""

    slug: str
    name: str
    markers: str
    unit: str
    his: bool = False
    enum: str | None = None


_AHU: Final = (
    _Spec("discharge-temp", "Discharge Air Temp", "discharge air temp sensor", "°F", his=True),
    _Spec("discharge-temp-sp", "Discharge Air Temp Setpoint", "discharge air temp sp", "°F"),
    _Spec("return-temp", "Return Air Temp", "return air temp sensor", "°F", his=True),
    _Spec("mixed-temp", "Mixed Air Temp", "mixed air temp sensor", "°F", his=True),
    _Spec("outside-temp", "Outside Air Temp", "outside air temp sensor", "°F", his=True),
    _Spec("discharge-pressure", "Discharge Air Pressure", "discharge air pressure sensor", "inH₂O"),
    _Spec("discharge-pressure-sp", "Discharge Air Pressure Setpoint", "discharge air pressure sp",
        "inH₂O"),
    _Spec("discharge-flow", "Discharge Air Flow", "discharge air flow sensor", "cfm"),
    _Spec("fan-cmd", "Discharge Fan Command", "discharge fan run cmd", "Bool"),
    _Spec("fan-status", "Discharge Fan Status", "discharge fan run sensor", "Bool", his=True),
    _Spec("fan-speed", "Discharge Fan Speed", "discharge fan speed cmd", "%", his=True),
    _Spec("return-fan-cmd", "Return Fan Command", "return fan run cmd", "Bool"),
    _Spec("return-fan-status", "Return Fan Status", "return fan run sensor", "Bool"),
    _Spec("outside-damper", "Outside Air Damper", "outside air damper cmd", "%", his=True),
    _Spec("return-damper", "Return Air Damper", "return air damper cmd", "%"),
    _Spec("exhaust-damper", "Exhaust Air Damper", "exhaust air damper cmd", "%"),
    _Spec("cool-valve", "Chilled Water Valve", "cooling chilled water valve cmd", "%", his=True),
    _Spec("heat-valve", "Hot Water Valve", "heating hot water valve cmd", "%", his=True),
    _Spec("filter-alarm", "Filter Alarm", "air filter alarm sensor", "Bool"),
    _Spec(
        "mode", "Operating Mode", "hvacMode sensor", "Str", his=True,
        enum="off,warmup,heating,economizer,cooling",
    ),
)  # fmt: skip
_VAV: Final = (
    _Spec("zone-temp", "Zone Air Temp", "zone air temp sensor", "°F", his=True),
    _Spec("zone-temp-sp", "Zone Air Temp Setpoint", "zone air temp effective sp", "°F"),
    _Spec("occ-cooling-sp", "Occupied Cooling Setpoint", "zone air temp occ cooling sp", "°F"),
    _Spec("occ-heating-sp", "Occupied Heating Setpoint", "zone air temp occ heating sp", "°F"),
    _Spec("occupied", "Zone Occupied", "zone occupied sensor", "Bool"),
    _Spec("damper", "Damper", "discharge air damper cmd", "%", his=True),
    _Spec("discharge-flow", "Discharge Air Flow", "discharge air flow sensor", "cfm", his=True),
    _Spec("discharge-flow-sp", "Discharge Air Flow Setpoint", "discharge air flow sp", "cfm"),
    _Spec("discharge-temp", "Discharge Air Temp", "discharge air temp sensor", "°F"),
    _Spec("reheat-valve", "Reheat Valve", "heating hot water valve cmd", "%"),
    _Spec("zone-co2", "Zone CO₂", "zone air co2 concentration sensor", "ppm"),
)
_CHILLED_PLANT: Final = (
    _Spec("supply-temp", "Supply Temp", "leaving chilled water temp sensor", "°F", his=True),
    _Spec("supply-temp-sp", "Supply Temp Setpoint", "leaving chilled water temp sp", "°F"),
    _Spec("return-temp", "Return Temp", "entering chilled water temp sensor", "°F", his=True),
    _Spec("flow", "Flow", "leaving chilled water flow sensor", "gal/min"),
)
_CHILLER: Final = (
    _Spec("cmd", "Command", "run cmd", "Bool"),
    _Spec("status", "Status", "run sensor", "Bool", his=True),
    _Spec("leaving-temp", "Leaving Temp", "leaving chilled water temp sensor", "°F"),
    _Spec("entering-temp", "Entering Temp", "entering chilled water temp sensor", "°F"),
    _Spec("leaving-temp-sp", "Leaving Temp Setpoint", "leaving chilled water temp sp", "°F"),
    _Spec("condenser-leaving-temp", "Condenser Leaving Temp",
        "leaving condenser water temp sensor", "°F"),
    _Spec("condenser-entering-temp", "Condenser Entering Temp",
        "entering condenser water temp sensor", "°F"),
    _Spec("power", "Power", "elec active power sensor", "kW", his=True),
    _Spec("alarm", "Alarm", "alarm sensor", "Bool"),
)  # fmt: skip
_TOWER: Final = (
    _Spec("fan-cmd", "Fan Command", "fan run cmd", "Bool"),
    _Spec("fan-status", "Fan Status", "fan run sensor", "Bool"),
    _Spec("fan-speed", "Fan Speed", "fan speed cmd", "%"),
    _Spec("leaving-temp", "Leaving Temp", "leaving condenser water temp sensor", "°F"),
)
_HOT_PLANT: Final = (
    _Spec("supply-temp", "Supply Temp", "leaving hot water temp sensor", "°F", his=True),
    _Spec("supply-temp-sp", "Supply Temp Setpoint", "leaving hot water temp sp", "°F"),
    _Spec("return-temp", "Return Temp", "entering hot water temp sensor", "°F", his=True),
    _Spec("flow", "Flow", "leaving hot water flow sensor", "gal/min"),
)
_BOILER: Final = (
    _Spec("cmd", "Command", "run cmd", "Bool"),
    _Spec("status", "Status", "run sensor", "Bool", his=True),
    _Spec("leaving-temp", "Leaving Temp", "leaving hot water temp sensor", "°F"),
    _Spec("entering-temp", "Entering Temp", "entering hot water temp sensor", "°F"),
    _Spec("firing-rate", "Firing Rate", "heating load cmd", "%", his=True),
    _Spec("alarm", "Alarm", "alarm sensor", "Bool"),
)
_PUMP: Final = (
    _Spec("cmd", "Command", "run cmd", "Bool"),
    _Spec("status", "Status", "run sensor", "Bool"),
    _Spec("speed", "Speed", "speed cmd", "%"),
    _Spec("power", "Power", "elec active power sensor", "kW"),
)
_FAN: Final = (
    _Spec("cmd", "Fan Command", "exhaust fan run cmd", "Bool"),
    _Spec("status", "Fan Status", "exhaust fan run sensor", "Bool"),
)
_LIGHTS: Final = (
    _Spec("cmd", "Command", "run cmd", "Bool"),
    _Spec("status", "Status", "run sensor", "Bool"),
    _Spec("level", "Level", "light level cmd", "%"),
)
_ELEC_METER: Final = (
    _Spec("power", "Power", "elec active power sensor", "kW", his=True),
    _Spec("energy", "Energy", "elec active energy sensor", "kWh", his=True),
    _Spec("power-factor", "Power Factor", "elec pf sensor", "pf"),
)
_GAS_METER: Final = (
    _Spec("volume", "Volume", "naturalGas volume sensor", "ft³", his=True),
    _Spec("flow", "Flow", "naturalGas flow sensor", "ft³/h"),
)
_WATER_METER: Final = (
    _Spec("volume", "Volume", "domestic water volume sensor", "gal", his=True),
    _Spec("flow", "Flow", "domestic water flow sensor", "gal/min"),
)
_WEATHER: Final = (
    _Spec("temp", "Temp", "weather air temp sensor", "°F", his=True),
    _Spec("humidity", "Humidity", "weather air humidity sensor", "%RH", his=True),
    _Spec("wind-speed", "Wind Speed", "weather wind speed sensor", "mph"),
    _Spec("solar", "Solar Irradiance", "weather solar irradiance sensor", "W/m²", his=True),
    _Spec("daytime", "Daytime", "weather daytime sensor", "Bool"),
    _Spec(
        "cond", "Condition", "weather weatherCond sensor", "Str", his=True,
        enum="clear,partlyCloudy,cloudy,rain,snow",
    ),
)  # fmt: skip

# ---- the building -------------------------------------------------------------------------------


def building(seed: int = 1) -> list[Entity]:
    """Return the entities of the demo building, the site first.

    Args:
        seed: Chooses sizes: areas, air flows, rated powers.
    """
    rng = Random(seed)  # noqa: S311 - made-up data
    return [
        *_site(rng),
        *_floors(rng),
        *_weather(),
        *_air_handlers(rng),
        *_vavs(rng),
        *_chilled_plant(),
        *_hot_plant(),
        *_fans_and_lights(),
        *_meters(),
    ]


def _marked(markers: str) -> dict[str, Kind]:
    return dict.fromkeys(markers.split(), MARKER)


def _ref(slug: str) -> Ref:
    return Ref(f"{_ID}.{slug}")


def _site(rng: Random) -> Iterator[Entity]:
    yield {
        "id": _SITE,
        "dis": _NAME,
        "site": MARKER,
        "tz": _TZ,
        "area": Number(rng.randrange(78_000, 92_000, 100), "ft²"),
        "yearBuilt": Number(rng.randrange(1985, 2015)),
        "primaryFunction": "Office",
        "occupiedStartTime": dt.time(8),
        "occupiedEndTime": dt.time(18),
        "commissioningDate": dt.date(2019, 5, 20),
        "geoAddr": "12 Long Wharf, Boston, MA 02110",
        "geoStreet": "12 Long Wharf",
        "geoCity": "Boston",
        "geoState": "MA",
        "geoCountry": "US",
        "geoPostalCode": "02110",
        "geoCoord": Coord(42.3602, -71.0499),
        "geoElevation": Number(4, "m"),
        "website": Uri("https://harbor-house.example/"),
        "weatherStationRef": _STATION,
    }


_FLOORS: Final = (1, 2, 3, 4)
_ROOMS: Final = ("Lobby", "Open Office", "Meeting Room", "Corner Office", "Kitchen", "Workshop")


def _floors(rng: Random) -> Iterator[Entity]:
    for floor in _FLOORS:
        yield {
            "id": _ref(f"floor-{floor}"),
            "dis": f"{_NAME} Floor {floor}",
            "navName": f"Floor {floor}",
            **_marked("floor space"),
            "floorNum": Number(floor - 1),
            "siteRef": _SITE,
        }
        for number, use in enumerate(_ROOMS, 1):
            yield {
                "id": _ref(f"room-{floor}-{number}"),
                "dis": f"{_NAME} Floor {floor} {use}",
                "navName": use,
                **_marked("room hvac zone space"),
                "area": Number(rng.randrange(900, 3_600, 10), "ft²"),
                "siteRef": _SITE,
                "spaceRef": _ref(f"floor-{floor}"),
            }


def _weather() -> Iterator[Entity]:
    yield {
        "id": _STATION,
        "dis": "Boston, MA",
        "weatherStation": MARKER,
        "tz": _TZ,
        "geoCity": "Boston",
        "geoState": "MA",
        "geoCountry": "US",
        "geoCoord": Coord(42.3601, -71.0589),
    }
    for spec in _WEATHER:
        yield {
            **_point(_STATION.val, "Boston, MA", spec),
            "weatherStationRef": _STATION,
        }


def _point(parent: str, parent_dis: str, spec: _Spec) -> Entity:
    """Return a point without its refs."""
    kind = spec.unit if spec.unit in ("Bool", "Str") else "Number"
    point: Entity = {
        "id": Ref(f"{parent}.{spec.slug}"),
        "dis": f"{parent_dis} {spec.name}",
        "navName": spec.name,
        **_marked(f"{spec.markers} point cur"),
        "kind": kind,
        "tz": _TZ,
    }
    if kind == "Number":
        point["unit"] = spec.unit
    if spec.enum:
        point["enum"] = spec.enum
    if spec.his:
        point["his"] = MARKER
    if "cmd" in point or "sp" in point:
        point["writable"] = MARKER
    return point


def _equip(
    slug: str, name: str, markers: str, specs: Iterable[_Spec], **tags: Kind
) -> Iterator[Entity]:
    """Return an equip and its points."""
    ref = _ref(slug)
    equip: Entity = {
        "id": ref,
        "dis": f"{_NAME} {name}",
        "navName": name,
        **_marked(f"{markers} equip"),
        "siteRef": _SITE,
        **tags,
    }
    yield equip
    refs: Entity = {tag: equip[tag] for tag in ("siteRef", "spaceRef") if tag in equip}
    for spec in specs:
        yield {**_point(ref.val, equip["dis"], spec), **refs, "equipRef": ref}


def _air_handlers(rng: Random) -> Iterator[Entity]:
    for number, floor in ((1, 1), (2, 3)):
        yield from _equip(
            f"ahu-{number}",
            f"AHU-{number}",
            "ahu hvac elec singleDuct vavZone chilledWaterCooling hotWaterHeating",
            _AHU,
            spaceRef=_ref(f"floor-{floor}"),
            chilledWaterRef=_ref("chw"),
            hotWaterRef=_ref("hw"),
            elecRef=_ref("elec-hvac"),
            airFlowMax=Number(rng.randrange(14_000, 20_000, 100), "cfm"),
        )


def _vavs(rng: Random) -> Iterator[Entity]:
    for floor in _FLOORS:
        ahu = _ref("ahu-1" if floor <= 2 else "ahu-2")
        for number in range(1, len(_ROOMS) + 1):
            yield from _equip(
                f"vav-{floor}-{number}",
                f"VAV {floor}-{number}",
                "vav hvac singleDuct hotWaterHeating",
                _VAV,
                spaceRef=_ref(f"room-{floor}-{number}"),
                equipRef=ahu,
                ahuRef=ahu,
                airRef=ahu,
                hotWaterRef=_ref("hw"),
                airFlowMax=Number(rng.randrange(600, 1_800, 10), "cfm"),
            )


def _chilled_plant() -> Iterator[Entity]:
    plant = _ref("chw")
    yield from _equip(
        "chw", "Chilled Water Plant", "chilled water plant hvac elec", _CHILLED_PLANT,
        elecRef=_ref("elec-hvac"),
    )  # fmt: skip
    for number in (1, 2):
        yield from _equip(
            f"chiller-{number}", f"Chiller {number}", "chiller hvac elec waterCooling", _CHILLER,
            equipRef=plant, chilledWaterRef=plant, coolingCapacity=Number(120, "tonref"),
        )  # fmt: skip
        yield from _equip(
            f"tower-{number}", f"Cooling Tower {number}", "coolingTower hvac elec", _TOWER,
            equipRef=plant,
        )  # fmt: skip
        yield from _equip(
            f"chw-pump-{number}", f"CHW Pump {number}", "pump chilled water hvac elec", _PUMP,
            equipRef=plant, chilledWaterRef=plant,
        )  # fmt: skip


def _hot_plant() -> Iterator[Entity]:
    plant = _ref("hw")
    yield from _equip("hw", "Hot Water Plant", "hot water plant hvac", _HOT_PLANT)
    for number in (1, 2):
        yield from _equip(
            f"boiler-{number}", f"Boiler {number}", "boiler hot water hvac", _BOILER,
            equipRef=plant, hotWaterRef=plant, naturalGasRef=_ref("gas-main"),
        )  # fmt: skip
        yield from _equip(
            f"hw-pump-{number}", f"HW Pump {number}", "pump hot water hvac elec", _PUMP,
            equipRef=plant, hotWaterRef=plant,
        )  # fmt: skip


def _fans_and_lights() -> Iterator[Entity]:
    for floor in _FLOORS:
        space = _ref(f"floor-{floor}")
        yield from _equip(
            f"exhaust-{floor}", f"Exhaust Fan {floor}", "fan exhaust air hvac elec", _FAN,
            spaceRef=space, elecRef=_ref("elec-hvac"),
        )  # fmt: skip
        yield from _equip(
            f"lights-{floor}", f"Lights {floor}", "lighting elec", _LIGHTS,
            spaceRef=space, elecRef=_ref("elec-lighting"),
        )  # fmt: skip


def _meters() -> Iterator[Entity]:
    main = _ref("elec-main")
    yield from _equip("elec-main", "Main Elec Meter", "elec meter siteMeter ac", _ELEC_METER)
    for load, name in (("hvac", "HVAC"), ("lighting", "Lighting"), ("plug", "Plug Load")):
        yield from _equip(
            f"elec-{load}", f"{name} Elec Meter", f"elec meter ac {load}", _ELEC_METER,
            submeterOf=main,
        )  # fmt: skip
    yield from _equip("gas-main", "Main Gas Meter", "naturalGas meter siteMeter", _GAS_METER)
    yield from _equip(
        "water-main", "Main Water Meter", "domestic water meter siteMeter", _WATER_METER
    )


# ---- what drives the history --------------------------------------------------------------------

_STEP: Final = dt.timedelta(minutes=15)
_STEP_HOURS: Final = 0.25
_STEPS_A_DAY: Final = 96


class _Scene(NamedTuple):
    """The days that all points of a zone live through, one number for each step."""

    ts: list[dt.datetime]
    hour: list[float]  # local time of day
    people: list[float]  # 0 to 1: how many of those who work here are in
    fans: list[bool]  # air handlers run from two hours before work until an hour after it
    outside: list[float]  # °F
    cloud: list[float]  # 0 clear to 1 overcast, one value a day
    sun: list[float]  # 0 to 1
    cooling: list[float]  # 0 to 1: how hard the plant has to work
    heating: list[float]


def _scene(end: dt.datetime, days: int, zone: ZoneInfo, seed: int) -> _Scene:
    last = end.astimezone(dt.UTC)
    last -= (last - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) % _STEP
    ts = [last - _STEP * back for back in range(days * _STEPS_A_DAY - 1, -1, -1)]
    local = [step.astimezone(zone) for step in ts]
    hour = [wall.hour + wall.minute / 60 for wall in local]
    noons = _Noons(seed)
    cloud = [noons[wall.date()][1] for wall in local]
    outside = [
        noons.mean(wall) + (10 - 5 * dull) * math.sin((at - 9) / 12 * math.pi)
        for wall, at, dull in zip(local, hour, cloud, strict=True)
    ]
    workday = [wall.weekday() < 5 for wall in local]
    people = [_presence(at) * (1 if work else 0.04) for at, work in zip(hour, workday, strict=True)]
    fans = [work and 6 <= at < 19 for at, work in zip(hour, workday, strict=True)]
    sun = [
        max(0.0, math.sin((at - 6) / 12 * math.pi)) * (1 - 0.75 * dull)
        for at, dull in zip(hour, cloud, strict=True)
    ]
    return _Scene(
        ts, hour, people, fans, outside, cloud, sun,
        cooling=[
            _clamp((temp - 58) / 35 + 0.15 * here) if fan else 0.0
            for temp, here, fan in zip(outside, people, fans, strict=True)
        ],
        heating=[
            _clamp((60 - temp) / 50) * (1.0 if fan else 0.45)
            for temp, fan in zip(outside, fans, strict=True)
        ],
    )  # fmt: skip


class _Noons(dict[dt.date, tuple[float, float]]):
    """Each day's mean temperature in °F and its clouds, whatever window it is seen through."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def __missing__(self, day: dt.date) -> tuple[float, float]:
        rng = Random(f"{self._seed}:{day}")  # noqa: S311 - made-up data
        season = -math.cos((day.timetuple().tm_yday - 20) / 365 * 2 * math.pi)
        self[day] = found = 52 + 22 * season + rng.gauss(0, 4), rng.random() ** 1.5
        return found

    def mean(self, wall: dt.datetime) -> float:
        """Return the mean temperature, which goes in a line from one noon to the next."""
        share = (wall.hour + wall.minute / 60) / 24 - 0.5
        day = wall.date()
        other = day + dt.timedelta(days=1 if share > 0 else -1)
        return self[day][0] + abs(share) * (self[other][0] - self[day][0])


def _presence(hour: float) -> float:
    """Return the share of people in at a time of day: they come by nine, lunch, leave by six."""
    if not 7 <= hour < 19:
        return 0.0
    there = min(1.0, (hour - 7) / 2, (19 - hour) / 2)
    return there * (0.75 if 12 <= hour < 13 else 1.0)


def _clamp(val: float, low: float = 0.0, high: float = 1.0) -> float:
    return low if val < low else min(high, val)


# ---- what a point logs --------------------------------------------------------------------------

_Model = Callable[[_Scene, Mapping[str, Any], Random], "list[Any]"]


def _noisy(values: Iterable[float], rng: Random, spread: float, digits: int = 1) -> list[float]:
    gauss = rng.gauss
    return [round(val + gauss(0, spread), digits) for val in values]


def _percent(shares: Iterable[float], rng: Random, spread: float = 2.0) -> list[float]:
    # A closed valve reads zero, not noise around it.
    return [
        round(_clamp(100 * share + rng.gauss(0, spread), 0, 100), 1) if share else 0.0
        for share in shares
    ]


def _follow(targets: Iterable[float], start: float, speed: float) -> Iterator[float]:
    """Yield a value that goes a share of the way to its target at each step."""
    val = start
    for target in targets:
        val += (target - val) * speed
        yield val


def _zone_temp(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    setpoint, leak = rng.uniform(70.5, 73.5), rng.uniform(0.08, 0.16)
    targets = [
        setpoint + 1.2 * here + 0.8 * sun
        if fan
        else setpoint + _clamp((temp - setpoint) * leak, -8, 6)
        for fan, here, sun, temp in zip(
            scene.fans, scene.people, scene.sun, scene.outside, strict=True
        )
    ]
    return _noisy(_follow(targets, setpoint, 0.12), rng, 0.12)


def _opening(scene: _Scene, rng: Random) -> list[float]:
    """Return how far a VAV is open, 0 to 1: the same for its damper and its air flow."""
    own = rng.uniform(-0.1, 0.1)
    return [
        _clamp(0.25 + own + 0.45 * cool + 0.2 * here, 0.15) if fan else 0.0
        for cool, here, fan in zip(scene.cooling, scene.people, scene.fans, strict=True)
    ]


def _damper(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    return _percent(_opening(scene, rng), rng)


def _air_flow(scene: _Scene, equip: Mapping[str, Any], rng: Random) -> list[float]:
    rated = equip.get("airFlowMax", Number(1_000)).val
    return [float(round(rated * share / 100)) for share in _percent(_opening(scene, rng), rng, 1.5)]


def _discharge_temp(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    targets = [
        (55.0 + 8 * (1 - cool) if cool > heat else 66 + 14 * heat) if fan else 71.0
        for cool, heat, fan in zip(scene.cooling, scene.heating, scene.fans, strict=True)
    ]
    return _noisy(_follow(targets, 70, 0.5), rng, 0.3)


def _return_temp(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    return _noisy((73 + 1.5 * here + 0.5 * sun for here, sun in _pairs(scene)), rng, 0.15)


def _pairs(scene: _Scene) -> Iterable[tuple[float, float]]:
    return zip(scene.people, scene.sun, strict=True)


def _economizer(scene: _Scene) -> Iterator[float]:
    """Yield how far the outside air damper is open: free cooling when it is mild outside."""
    for fan, temp in zip(scene.fans, scene.outside, strict=True):
        yield 0.0 if not fan else 1.0 if 52 <= temp <= 66 else 0.2


def _mixed_temp(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    mixed = (
        share * temp + (1 - share) * 73.5
        for share, temp in zip(_economizer(scene), scene.outside, strict=True)
    )
    return _noisy(_follow(mixed, 72, 0.6), rng, 0.4)


def _mode(scene: _Scene, _: Mapping[str, Any], __: Random) -> list[str]:
    return [
        "off"
        if not fan
        else "warmup"
        if hour < 7 and temp < 60
        else "economizer"
        if 52 <= temp <= 66
        else "cooling"
        if temp > 66
        else "heating"
        for fan, hour, temp in zip(scene.fans, scene.hour, scene.outside, strict=True)
    ]


def _cond(scene: _Scene, _: Mapping[str, Any], __: Random) -> list[str]:
    def text(cloud: float, temp: float) -> str:
        if cloud > 0.75:
            return "snow" if temp < 32 else "rain"
        return "cloudy" if cloud > 0.5 else "partlyCloudy" if cloud > 0.2 else "clear"

    return [text(cloud, temp) for cloud, temp in zip(scene.cloud, scene.outside, strict=True)]


def _plant_temp(at_rest: float, at_work: float, load: str) -> _Model:
    """Return the model of a water temperature that the plant pulls one way under load."""

    def model(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
        targets = (
            at_work if share > 0.02 else at_rest + (temp - 60) * 0.05
            for share, temp in zip(getattr(scene, load), scene.outside, strict=True)
        )
        return _noisy(_follow(targets, at_rest, 0.25), rng, 0.3)

    return model


def _load_of(scene: _Scene, equip: Mapping[str, Any]) -> list[float]:
    """Return the share of the plant's load that a chiller or boiler carries: the second helps."""
    total = scene.heating if "boiler" in equip else scene.cooling
    if str(equip.get("navName", "")).endswith("2"):
        return [_clamp(2 * (share - 0.5)) if share > 0.5 else 0.0 for share in total]
    return [_clamp(2 * share) if share > 0.02 else 0.0 for share in total]


def _run_status(scene: _Scene, equip: Mapping[str, Any], _: Random) -> list[bool]:
    if "chiller" in equip or "boiler" in equip:
        return [share > 0 for share in _load_of(scene, equip)]
    return list(scene.fans)


# What a load draws in kW at night, with everybody in, and at full cooling.
_DRAWS: Final = {
    "lighting": (6.0, 58.0, 0.0),
    "plug": (14.0, 42.0, 0.0),
    "hvac": (9.0, 30.0, 170.0),
}


def _draw(scene: _Scene, load: str, rng: Random) -> list[float]:
    base, busy, hot = _DRAWS[load]
    return [
        base + busy * here + hot * cool + abs(rng.gauss(0, 1.2))
        for here, cool in zip(scene.people, scene.cooling, strict=True)
    ]


def _power(scene: _Scene, equip: Mapping[str, Any], rng: Random) -> list[float]:
    if "chiller" in equip:
        return [round(82 * s + rng.gauss(0, 0.8), 1) if s else 0.0 for s in _load_of(scene, equip)]
    # The site's meter sees all loads; each submeter, its own.
    loads = [load for load in _DRAWS if load in equip] or list(_DRAWS)
    draws = [_draw(scene, load, rng) for load in loads]
    return [round(sum(step), 2) for step in zip(*draws, strict=True)]


def _meter(amounts: Iterable[float], rng: Random, digits: int) -> list[float]:
    """Return the readings of a meter that has counted for years before."""
    start = float(rng.randrange(100_000, 900_000))
    return [round(val, digits) for val in accumulate(amounts, initial=start)][1:]


def _energy(scene: _Scene, equip: Mapping[str, Any], rng: Random) -> list[float]:
    return _meter((kw * _STEP_HOURS for kw in _power(scene, equip, rng)), rng, 2)


def _gas_volume(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    return _meter((900 * heat * rng.uniform(0.9, 1.1) for heat in scene.heating), rng, 1)


def _water_volume(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    return _meter((55 * here * rng.uniform(0.5, 1.5) for here in scene.people), rng, 1)


def _fan_speed(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    speeds = (
        0.45 + 0.4 * cool + 0.1 * here if fan else 0.0
        for cool, here, fan in zip(scene.cooling, scene.people, scene.fans, strict=True)
    )
    return _percent(speeds, rng, 1.0)


def _running(load: str) -> _Model:
    """Return the model of a valve that follows a load while the fans run."""

    def model(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
        loads = zip(getattr(scene, load), scene.fans, strict=True)
        return _percent((share if fan else 0.0 for share, fan in loads), rng)

    return model


def _outside_temp(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    return _noisy(scene.outside, rng, 0.25)


def _humidity(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    damp = (
        _clamp(62 + 25 * cloud - 0.5 * (temp - 52), 25, 97)
        for cloud, temp in zip(scene.cloud, scene.outside, strict=True)
    )
    return _noisy(damp, rng, 0.6)


def _solar(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    return [float(round(940 * sun * rng.uniform(0.92, 1))) for sun in scene.sun]


def _any_number(scene: _Scene, _: Mapping[str, Any], rng: Random) -> list[float]:
    return _noisy((50 + 20 * here for here in scene.people), rng, 1.0)


def _any_text(scene: _Scene, _: Mapping[str, Any], __: Random) -> list[str]:
    return ["busy" if here > 0.5 else "idle" for here in scene.people]


# The first line whose kind and markers the point has decides.
_MODELS: Final[tuple[tuple[str, str, _Model], ...]] = (
    ("Bool", "", _run_status),
    ("Str", "hvacMode", _mode),
    ("Str", "weatherCond", _cond),
    ("Str", "", _any_text),
    ("Number", "power", _power),
    ("Number", "energy", _energy),
    ("Number", "naturalGas volume", _gas_volume),
    ("Number", "water volume", _water_volume),
    ("Number", "weather temp", _outside_temp),
    ("Number", "humidity", _humidity),
    ("Number", "irradiance", _solar),
    ("Number", "outside temp", _outside_temp),
    ("Number", "zone temp", _zone_temp),
    ("Number", "discharge temp", _discharge_temp),
    ("Number", "return air temp", _return_temp),
    ("Number", "mixed temp", _mixed_temp),
    ("Number", "leaving chilled temp", _plant_temp(62, 44, "cooling")),
    ("Number", "entering chilled temp", _plant_temp(63, 54, "cooling")),
    ("Number", "leaving hot temp", _plant_temp(90, 160, "heating")),
    ("Number", "entering hot temp", _plant_temp(88, 140, "heating")),
    ("Number", "fan speed", _fan_speed),
    ("Number", "outside damper", lambda scene, _, rng: _percent(_economizer(scene), rng)),
    ("Number", "damper", _damper),
    ("Number", "flow air", _air_flow),
    ("Number", "cooling valve", _running("cooling")),
    ("Number", "heating valve", _running("heating")),
    ("Number", "load", lambda scene, equip, rng: _percent(_load_of(scene, equip), rng)),
    ("Number", "", _any_number),
)


def _model_of(point: Entity) -> _Model | None:
    for kind, markers, model in _MODELS:
        if point.get("kind") == kind and all(name in point for name in markers.split()):
            return model
    return None


# ---- history ------------------------------------------------------------------------------------


def history(
    entities: Iterable[Entity], *, end: dt.datetime, days: int = 30, seed: int = 1
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield what the historized points have logged, one point after the other.

    Args:
        entities: The building; its points with `his` and the kind Number, Bool or Str log.
        end: The last moment, aware; the last item lies on the quarter of an hour at or before it.
        days: How far back the history goes, 96 items a day, but for the gaps.
        seed: Chooses weather and noise; one seed gives the same values for the same `end`.

    Yields:
        The point's id and its `{"ts", "val"}` items, ascending, in UTC and in the point's unit.

    Raises:
        ValueError: `end` is naive.
    """
    if end.utcoffset() is None:
        raise ValueError("end is naive: give an aware datetime, such as datetime.now(UTC)")
    by_id = {entity["id"].val: entity for entity in entities}
    scenes: dict[str, _Scene] = {}
    for id, point in by_id.items():
        model = _model_of(point)
        if model is None or not ("point" in point and "his" in point):
            continue
        tz = point["tz"]
        if tz not in scenes:
            scenes[tz] = _scene(end, days, zone_of(tz), seed)
        equip_id = point["equipRef"].val if "equipRef" in point else ""
        # A meter's power and its energy tell of the same load, a VAV's damper and flow of one zone.
        noise = f"{seed}:{equip_id or id}"
        values = model(scenes[tz], by_id.get(equip_id, {}), Random(noise))  # noqa: S311 - made-up
        yield id, _items(scenes[tz], values, point, Random(f"{seed}:{id}"))  # noqa: S311 - made-up


def _items(scene: _Scene, values: list[Any], point: Entity, rng: Random) -> list[dict[str, Any]]:
    """Put values and instants together, in the point's unit, with a few gaps and NAs."""
    if point["kind"] == "Number":
        unit = point.get("unit")
        values = [Number(val, unit) for val in values]
    for _ in range(_rarely(len(values), rng)):
        values[rng.randrange(len(values))] = NA
    lost: set[int] = set()
    for _ in range(_rarely(len(values), rng)):
        start = rng.randrange(len(values))
        lost.update(range(start, start + rng.randrange(2, 25)))
    steps = enumerate(zip(scene.ts, values, strict=True))
    return [{"ts": ts, "val": val} for step, (ts, val) in steps if step not in lost]


def _rarely(steps: int, rng: Random) -> int:
    """Return how often something goes wrong: once in ten days or so."""
    return sum(rng.random() < 0.1 for _ in range(steps // _STEPS_A_DAY))
