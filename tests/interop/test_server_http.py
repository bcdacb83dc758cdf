"""What the router makes of HTTP: methods, formats, limits, errors and who may do what."""

from __future__ import annotations

import gzip
import http.client
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from urllib.parse import quote

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hsorm.codecs import hayson, zinc
from hsorm.errors import StorageUnavailableError
from hsorm.interop._formats import JSON as JSON_4
from hsorm.interop._formats import ZINC
from hsorm.interop.server import WRITING_OPS, Authorize, HaystackApi, _written, bearer
from hsorm.kinds import MARKER, Entity, Grid, GridCol, Number, Ref
from hsorm.storage.memory import InMemoryAdapter
from tests.interop.conftest import Served
from tests.interop.serving import BUILDING, Answer, call, points, running

Call = Callable[..., Answer]
JSON = "application/json"


@pytest.fixture
def ask(in_memory: Served) -> Call:
    """Calls an op of the server on memory: its name, maybe a query, the body and headers."""

    def send(op: str, body: bytes | str | None = None, **headers: str) -> Answer:
        token = f"BEARER authToken={in_memory.token}"
        return call(f"{in_memory.uri}/{op}", body, authorization=token, **headers)

    return send


@pytest.fixture
def served_by() -> Iterator[Callable[..., str]]:
    """Serves memory with an `authorize` and options of the test's own."""
    with ExitStack() as stack:

        def serve(authorize: Authorize | None = None, **options: int) -> str:
            store = InMemoryAdapter([*BUILDING, *points("p", "q")])
            app = HaystackApi(store, **options).app(authorize, path="/api")  # type: ignore[arg-type]
            return f"{stack.enter_context(running(app))}/api"

        yield serve


# ---- GET ----------------------------------------------------------------------------------------


def test_get_calls_what_has_no_side_effects(ask: Call) -> None:
    found = ask(f"read?filter={quote('site and area == 9m²')}&limit=1")

    assert found.status == 200
    assert found.headers["content-type"] == "text/zinc; charset=utf-8"
    assert [row["id"] for row in zinc.loads(found.body).rows] == [Ref("site")]
    assert zinc.loads(ask("read?id=@ahu").body).rows[0]["dis"] == "AHU"
    assert zinc.loads(ask("nav?navId=@site").body).rows[0]["navId"] == Ref("ahu")


def test_get_reads_history_by_dates_and_instants(ask: Call, in_memory: Served) -> None:
    in_memory.load(points("his-get"))
    item = 'ver:"3.0" id:@his-get\nts,val\n2024-03-10T05:00:00-04:00 New_York,1kW\n'
    assert "ok" in zinc.loads(ask("hisWrite", item, content_type="text/zinc").body).meta
    ranges = ("2024-03-10", "2024-03-09,2024-03-10", "2024-03-10T05:00:00-04:00 New_York")

    for range in ranges:
        found = ask(f"hisRead?id=@his-get&range={quote(range)}", accept=JSON)

        assert found.json["rows"][0]["val"] == {"_kind": "number", "val": 1, "unit": "kW"}


@pytest.mark.parametrize("op", ["hisWrite", "pointWrite", "watchPoll", "close", "load"])
def test_get_calls_nothing_that_has_side_effects(ask: Call, op: str) -> None:
    found = ask(op)

    assert (found.status, found.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("op", ["pointWrite", "load", "invokeAction"])
def test_a_query_changes_nothing_by_post_either(ask: Call, in_memory: Served, op: str) -> None:
    """A page anywhere can have a browser send this here: a form without fields needs no leave."""
    in_memory.load(points("forged"))

    ask(f"{op}?id=@forged&level=8&val=99kW&dis=forged", "")

    found = zinc.loads(ask("read?id=@forged").body).rows[0]
    assert (found["dis"], found.get("writeVal")) == ("Forged", None)


def test_a_query_that_says_a_thing_twice_is_refused(ask: Call) -> None:
    assert ask("read?filter=site&filter=ahu").status == 400
    assert ask("read?filter=%ff").status == 400


# ---- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('ver:"3.0"\nfilter\n"ahu"\n', "text/zinc"),
        ('ver:"3.0"\nfilter\n"ahu"\n', "Text/Zinc; charset=utf-8"),
        ('{"_kind":"grid","cols":[{"name":"filter"}],"rows":[{"filter":"ahu"}]}', JSON),
        ('{"cols":[{"name":"filter"}],"rows":[{"filter":"ahu"}]}', JSON),
        ('{"meta":{"ver":"3.0"},"rows":[{"filter":"ahu"}]}', JSON),
        ('{"filter":"ahu"}', "application/vnd.haystack+json"),
        ('[{"filter":"ahu"}]', "application/vnd.haystack+json;version=4"),
        (
            '{"meta":{"ver":"3.0"},"cols":[{"name":"filter"}],"rows":[{"filter":"s:ahu"}]}',
            "application/vnd.haystack+json; version=3",
        ),
        ('filter: "ahu"\n', "text/trio"),
    ],
)
def test_requests_are_read_in_every_format(ask: Call, body: str, content_type: str) -> None:
    found = ask("read", body, content_type=content_type, accept="text/zinc")

    assert [row["id"] for row in zinc.loads(found.body).rows] == [Ref("ahu")]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/zinc; charset=utf-8"),
        ("*/*", "text/zinc; charset=utf-8"),
        ("text/*", "text/zinc; charset=utf-8"),
        (JSON, JSON),
        ("application/*", JSON),
        ("application/vnd.haystack+json", "application/vnd.haystack+json;version=4"),
        ("text/html, application/json;q=0.5, text/zinc;q=0.9", "text/zinc; charset=utf-8"),
        ("*/*, text/zinc;q=0", JSON),
        ("text/zinc;q=0.1, */*", JSON),
        ("application/json, text/plain, */*", JSON),
        ("text/*;q=0.2, application/json;q=0.1", "text/zinc; charset=utf-8"),
        ("application/*, application/json;q=0.5", "application/vnd.haystack+json;version=4"),
        ("*/*," * 5000 + "a/b;q=0," * 3000 + "text/zinc;q=0", JSON),  # not by each with each
    ],
)
def test_answers_are_in_the_format_that_is_asked_for(
    ask: Call, accept: str, content_type: str
) -> None:
    found = ask("about", accept=accept)

    assert found.headers["content-type"] == content_type
    read = hayson.loads(found.body) if "json" in content_type else zinc.loads(found.body)
    assert read.rows[0]["productName"] == "hsorm"


def test_headers_of_one_name_are_one_list(in_memory: Served) -> None:
    with closing(http.client.HTTPConnection(in_memory.uri.split("/")[2])) as client:
        client.putrequest("GET", "/haystack/about")
        client.putheader("Authorization", f"BEARER authToken={in_memory.token}")
        for accept in ("text/html", JSON):
            client.putheader("Accept", accept)
        client.endheaders()
        with client.getresponse() as found:
            assert (found.status, found.headers["content-type"]) == (200, JSON)


def test_any_format_is_that_of_the_request(ask: Call) -> None:
    assert ask("read", '{"filter":"ahu"}', content_type=JSON).headers["content-type"] == JSON
    v3 = '{"meta":{"ver":"3.0"},"cols":[{"name":"filter"}],"rows":[{"filter":"s:ahu"}]}'
    of_v3 = ask("read", v3, content_type="application/vnd.haystack+json;version=3", accept="*/*")
    assert of_v3.headers["content-type"] == JSON


@pytest.mark.parametrize(
    "accept", ["text/html", "text/trio", "application/json;version=3", "*/*;q=0"]
)
def test_an_answer_in_no_format_of_ours_is_not_acceptable(ask: Call, accept: str) -> None:
    found = ask("about", accept=accept)

    assert found.status == 406
    assert "text/zinc, application/json" in found.text


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "*/*"]
)
def test_a_request_in_no_format_of_ours_is_not_supported(ask: Call, content_type: str) -> None:
    assert ask("read", "filter=site", content_type=content_type).status == 415


def test_a_request_that_is_compressed_is_not_supported(ask: Call) -> None:
    body = gzip.compress(b'ver:"3.0"\nfilter\n"ahu"\n')

    found = ask("read", body, content_type="text/zinc", content_encoding="gzip")

    assert (found.status, "gzip" in found.text) == (415, True)
    assert ask("read", "", content_type="text/zinc", content_encoding="identity").status == 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ("nonsense", "text/zinc"),
        ("{", JSON),
        ("3", JSON),
        ('{"filter": {"_kind": "what"}}', JSON),
        (b'{"filter": "\xff"}', JSON),
        ("[" * 5000 + "]" * 5000, JSON),
    ],
)
def test_a_request_that_cannot_be_read_says_where(
    ask: Call, body: bytes | str, content_type: str
) -> None:
    found = ask("read", body, content_type=content_type)

    assert found.status == 400
    assert found.text.startswith("the request cannot be read: ")
    assert "Traceback" not in found.text


def test_what_zinc_has_no_form_for_is_an_error_that_names_json(
    ask: Call, in_memory: Served
) -> None:
    in_memory.load([{"id": Ref("odd"), "odd": MARKER, "size": Number(1, "a unit")}])

    found = zinc.loads(ask("read?filter=odd").body)

    assert "err" in found.meta
    assert "Accept: application/json" in str(found.meta["dis"])
    assert ask("read?filter=odd", accept=JSON).json["rows"][0]["size"]["unit"] == "a unit"


async def test_empty_cells_are_too_many_for_zinc_at_some_time() -> None:
    """As of many points with items at instants of their own; JSON is as long as the items."""
    cols = tuple(GridCol(f"v{number}") for number in range(8000))
    grid = Grid({}, cols, ({},) * 8000)

    found = zinc.loads(await _written(grid, ZINC))

    assert "64,000,000 cells" in str(found.meta["dis"])
    assert "Accept: application/json" in str(found.meta["dis"])
    assert hayson.loads(await _written(grid, JSON_4)) == grid


# ---- errors -------------------------------------------------------------------------------------


def test_an_op_that_is_none_is_not_found(ask: Call) -> None:
    assert ask("eval").status == 404
    assert ask("eval", "{}", content_type=JSON).status == 404
    assert ask("read/more").status == 404


@pytest.mark.parametrize(
    ("op", "body", "reason"),
    [
        ("read", "[]", "neither filter nor id"),
        ("read", '{"dis":"x"}', "neither filter nor id"),
        ("read", '{"id":"site"}', "id is a Str, send a Ref"),
        ("read", '{"filter":5}', "send a Str"),
        ("read", '{"filter":"site","limit":"5"}', "send a Number"),
        ("nav", '{"navId":5}', "navId"),
        ("hisRead", "[]", "0 rows"),
        ("hisRead", '{"id":@}', "no range"),
        ("hisWrite", "[]", "id in the meta"),
        ("hisWrite", '{"meta":{"id":@},"cols":[],"rows":[{"val":1}]}', "no column val"),
        ("hisWrite", '{"meta":{"id":@},"cols":[{"name":"val"}],"rows":[{"val":1}]}', "no ts"),
        ("hisWrite", '{"cols":[{"name":"ts"},{"name":"v0"}],"rows":[]}', "v0 has no id"),
        ("pointWrite", "[]", "0 rows"),
        ("pointWrite", '{"id":@,"level":"8"}', "level"),
        ("watchSub", '{"id":@}', "watchDis"),
        ("watchUnsub", "[]", "watchId"),
        ("watchPoll", "[]", "watchId"),
        ("watchPoll", '{"meta":{"watchId":"w-none"},"cols":[{"name":"empty"}]}', "w-none"),
        ("load", '{"dis":"no id"}', "id"),
    ],
)  # fmt: skip
def test_a_request_that_its_op_does_not_take_is_an_error_grid(
    ask: Call, op: str, body: str, reason: str
) -> None:
    body = body.replace("@", '{"_kind":"ref","val":"p"}')

    found = ask(op, body, content_type=JSON, accept=JSON)

    assert found.status == 200
    assert found.json["meta"]["err"] == {"_kind": "marker"}
    assert reason in found.json["meta"]["dis"]
    assert found.json["rows"] == []


def test_an_error_gives_back_text_that_no_format_can_write(ask: Call) -> None:
    body = '{"filter":"site == \\ud800"}'

    found = ask("read", body, content_type=JSON, accept="text/zinc")

    assert found.status in (200, 400)
    assert "Traceback" not in found.text


def test_where_the_database_is_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    class Gone(InMemoryAdapter):
        async def about(self) -> Entity:
            raise StorageUnavailableError("postgresql://db.internal/plant", "no route")

    with running(HaystackApi(Gone()).app(None)) as uri:
        found = call(f"{uri}/haystack/about", accept=JSON)

    assert found.json["meta"]["errType"] == "StorageUnavailableError"
    assert "internal" not in found.text
    assert "postgresql://db.internal/plant" in caplog.text


# ---- limits -------------------------------------------------------------------------------------


def test_an_answer_is_never_a_part_of_what_was_asked_for(served_by: Callable[..., str]) -> None:
    uri = served_by(max_rows=2)
    items = "".join(f"2024-03-10T0{hour}:00:00Z UTC,{hour}kW\n" for hour in range(3))
    call(f"{uri}/hisWrite", f'ver:"3.0" id:@p\nts,val\n{items}', content_type="text/zinc")
    ids = ",".join(f'{{"id":{{"_kind":"ref","val":"{id}"}}}}' for id in "pq")
    too_many = f"[{ids},{ids}]"
    both = f'{{"meta":{{"range":"2024-03-09"}},"cols":[{{"name":"id"}}],"rows":[{ids}]}}'

    everything = call(f"{uri}/read?filter=id", accept=JSON)
    some = call(f"{uri}/read?filter=id&limit=2", accept=JSON)
    history = call(f"{uri}/hisRead?id=@p&range=2024-03-09,2024-03-10", accept=JSON)
    batch = call(f"{uri}/hisRead", both, content_type=JSON)
    by_id = call(f"{uri}/read", too_many, content_type=JSON)

    assert "more than 2 rows" in everything.json["meta"]["dis"]
    assert len(some.json["rows"]) == 2
    assert "shorter range" in history.json["meta"]["dis"]
    assert "more than 1 items" in batch.json["meta"]["dis"]
    assert "fewer ids" in by_id.json["meta"]["dis"]


def test_a_request_has_a_size(served_by: Callable[..., str]) -> None:
    uri = served_by(max_body=1000)

    assert call(f"{uri}/read", b" " * 1001, content_type=JSON).status == 413
    assert call(f"{uri}/about", b" " * 1000, content_type=JSON, accept=JSON).status == 200


def test_limits_of_a_read(ask: Call) -> None:
    for limit, count in (("-1", 0), ("0", 0), ("1", 1), ("1e300", 1), ("INF", 1)):
        found = zinc.loads(ask(f"read?filter=site&limit={limit}").body)
        assert len(found.rows) == count, limit
    assert "NaN" in ask("read?filter=site&limit=NaN").text


# ---- who may do what ----------------------------------------------------------------------------


def test_a_token_lets_in(served_by: Callable[..., str]) -> None:
    uri = served_by(bearer("a!b=/+"))

    assert call(f"{uri}/about", authorization="Bearer a!b=/+").status == 200
    for given in ("Bearer a", "Bearer a!b=/+ x", "", "Basic x", "BEARER authToken=b"):
        assert call(f"{uri}/about", authorization=given).status == 401


@pytest.mark.parametrize("token", ["", "a b", "a,b", '"a"', "é", "a\n"])
def test_a_token_that_no_header_can_have_is_refused(token: str) -> None:
    """Or nobody would ever get in."""
    with pytest.raises(ValueError, match="token"):
        bearer(token)


def test_a_token_for_reading(served_by: Callable[..., str]) -> None:
    uri = served_by(bearer("t0ken=", read_only=True))

    for given in ("Bearer t0ken=", "bearer t0ken=", "BEARER authToken=t0ken="):
        assert call(f"{uri}/read?filter=site", authorization=given).status == 200
    for op in WRITING_OPS:
        found = call(f"{uri}/{op}", "{}", content_type=JSON, authorization="Bearer t0ken=")
        assert found.status == 403
    missing = call(f"{uri}/eval")
    assert (missing.status, missing.headers["www-authenticate"]) == (401, "Bearer")


def test_the_host_decides_by_request_and_op(served_by: Callable[..., str]) -> None:
    async def authorize(request: Request, op: str) -> str | Response | None:
        if op == "about":
            return Response("its own", 418)
        if request.headers.get("x-user") is None:
            raise HTTPException(403)
        return request.headers["x-user"]

    uri = served_by(authorize)
    read = '{"id":{"_kind":"ref","val":"p"}}'
    level = f'{read[:-1]},"level":10,"val":1}}'

    assert call(f"{uri}/about").status == 418
    assert call(f"{uri}/read?filter=site").status == 403
    call(f"{uri}/pointWrite", level, content_type=JSON, x_user="ben")
    array = call(f"{uri}/pointWrite", read, content_type=JSON, x_user="ben")
    assert array.json["rows"][9]["who"] == "Haystack.pointWrite | ben"


def test_what_is_no_name_lets_nobody_in(
    served_by: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    """A hook that returns whether somebody may, by mistake: `False` is not nobody in particular."""

    async def may(request: Request, op: str) -> bool:
        return False

    assert call(f"{served_by(may)}/read?filter=site").status == 500


def test_load_is_only_there_where_it_is_asked_for(served_by: Callable[..., str]) -> None:
    assert call(f"{served_by()}/load", "[]", content_type=JSON).status == 404


# ---- the package --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "module", "extra"),
    [("starlette", "server", "server"), ("hs_py", "haystack_py", "haystack-py")],
)
def test_a_missing_package_is_named_with_its_extra(missing: str, module: str, extra: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import hsorm.interop.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert f'pip install "hsorm[{extra}]"' in done.stderr
