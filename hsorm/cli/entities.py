"""`hsorm read`, `get`, `nav`, `tree`, `refs` and `about`: looking at entities."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypedDict

import typer

from hsorm.cli._command import command, report
from hsorm.cli._output import (
    CsvOption,
    JsonOption,
    TrioOption,
    ZincOption,
    chosen_format,
    grid_of,
    write_grid,
)
from hsorm.cli._places import GeoTagOption, NearOption, WithinOption, area_of
from hsorm.cli._session import Session, UsageError
from hsorm.errors import UnknownEntityError
from hsorm.kinds import Entity, as_ref, is_tag_name
from hsorm.ops.search import search_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text
    from rich.tree import Tree

    from hsorm.ops.geo import Area
    from hsorm.storage.protocol import StorageAdapter

__all__ = ["add_to", "check_filter", "chosen_columns", "show_entities", "show_tree"]

TABLE_ROWS = 50
"""How many rows a table shows where no limit is given."""

FromOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Query this file in memory, without a database; may be repeated.",
        show_default=False,
    ),
]


async def read(
    session: Session,
    filter: Annotated[str, typer.Argument(metavar="FILTER", help="A Haystack filter.")],
    count: Annotated[bool, typer.Option("--count", "-c", help="Only say how many match.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=0, help="At most so many.", show_default=False),
    ] = None,
    sort: Annotated[Literal["id", "dis"], typer.Option("--sort", help="The order.")] = "id",
    search: Annotated[
        str | None,
        typer.Option(
            "--search",
            "-s",
            metavar="WORDS",
            help="Only those with all of these words, or their beginnings, in their texts.",
            show_default=False,
        ),
    ] = None,
    near: NearOption = None,
    within: WithinOption = None,
    geo_tag: GeoTagOption = None,
    cols: Annotated[
        str | None,
        typer.Option(
            "--cols", metavar="A,B,C", help="These tags, in this order.", show_default=False
        ),
    ] = None,
    json: JsonOption = False,
    zinc: ZincOption = False,
    trio: TrioOption = False,
    csv: CsvOption = False,
    source: FromOption = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show what the database is asked, and its plan; read nothing."
        ),
    ] = False,
) -> None:
    """Find the entities that match a filter.

    A table shows the tags that tell the most, and 50 rows unless there is a limit; the other
    outputs always hold everything.
    """
    format = chosen_format(json=json, zinc=zinc, trio=trio, csv=csv)
    names = chosen_columns(cols)
    if count and (limit is not None or cols or sort != "id"):
        raise UsageError("--count counts all that match: it goes with no limit, order or columns")
    check_filter(filter)
    search_words(search)
    besides: _Besides = {"search": search, "geo": area_of(near, within, geo_tag)}
    async with session.storage_or(source or ()) as store:
        if explain:
            await _explain(session, store, filter, limit, besides)
            return
        if count:
            session.write(str(await store.read_count(filter, **besides)))
            return
        if format is not None:
            found = await store.read(filter, limit, sort=sort, **besides)
            write_grid(session, grid_of(found, names), format)
            return
        most = TABLE_ROWS + 1 if limit is None else limit
        found = await store.read(filter, most, sort=sort, **besides)
        cut = limit is None and len(found) > TABLE_ROWS
        # With a limit of 0 nothing is found, however many match.
        total = await store.read_count(filter, **besides) if cut or limit == 0 else len(found)
    show_entities(session, found[:TABLE_ROWS] if cut else found, total, cols=names)


class _Besides(TypedDict):
    """What is asked for besides the filter."""

    search: str | None
    geo: Area | None


async def _explain(
    session: Session, store: StorageAdapter, filter: str, limit: int | None, besides: _Besides
) -> None:
    from hsorm.storage.protocol import Explainer

    if not isinstance(store, Explainer):
        raise UsageError("--explain: a storage in memory has no SQL and no plan")
    session.write(str(await store.explain(filter, limit, **besides)))


def check_filter(filter: str) -> None:
    """Refuse a bad filter before any storage is opened: it is wrong on each of them."""
    from hsorm.filter import parse

    parse(filter)


def chosen_columns(cols: str | None) -> list[str] | None:
    """Return the names of `--cols`, each once; None where the option is not given.

    Raises:
        UsageError: One is no name of a tag.
    """
    if cols is None:
        return None
    names = [name.strip() for name in cols.split(",")]
    for name in names:
        if not is_tag_name(name):
            raise UsageError(f"--cols: {name!r} is no tag name: --cols id,dis,area")
    return list(dict.fromkeys(names))


def show_entities(
    session: Session, entities: Sequence[Entity], total: int, *, cols: Sequence[str] | None = None
) -> None:
    """Print entities as a table, and below it what it leaves out."""
    if not entities:
        session.say("Nothing matches." if total == 0 else f"0 of {total:,} entities.")
        return
    from hsorm.cli._table import entity_table

    table, hidden = entity_table(session.out, entities, cols)
    session.show(table)
    rows = f"{total:,} {'entity' if total == 1 else 'entities'}"
    if total > len(entities):
        rows = f"The first {len(entities):,} of {rows}; all: --limit {total}, or --json, --csv"
    columns = f"{hidden} more {'tag' if hidden == 1 else 'tags'}: --cols a,b, --json"
    note = f"{rows} · {columns}" if hidden and cols is None else rows
    session.say(note, style="dim")


# ---- get ----------------------------------------------------------------------------------------


async def get(
    session: Session,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids, with or without @.")],
    json: JsonOption = False,
    zinc: ZincOption = False,
    trio: TrioOption = False,
    source: FromOption = None,
) -> None:
    """Show entities by id, with all their tags."""
    format = chosen_format(json=json, zinc=zinc, trio=trio)
    async with session.storage_or(source or ()) as store:
        answers = await store.read_by_ids(ids)
    found = [entity for entity in answers if entity is not None]
    if format is not None:
        write_grid(session, grid_of(found, None), format)
    else:
        for number, entity in enumerate(found):
            _show_entity(session, entity, first=number == 0)
    for id, answer in zip(ids, answers, strict=True):
        if answer is None:
            report(UnknownEntityError(as_ref(id).val))
            session.exit_code = 1


def _show_entity(session: Session, entity: Entity, *, first: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from hsorm.cli._values import text_of
    from hsorm.kinds import MARKER
    from hsorm.ops.display import dis_of

    if not first:
        session.out.print()
    title = Text(text_of(entity["id"]), style="bold cyan")
    title.append(f"  {text_of(dis_of(entity))}", style="bold not cyan")
    session.out.print(title, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    markers = [name for name in sorted(entity) if entity[name] is MARKER]
    if markers:
        table.add_row("markers", Text(" ".join(markers)))
    for name in sorted(entity):
        if name not in ("id", *markers):
            table.add_row(Text(name), Text(text_of(entity[name])))
    session.show(table)


# ---- nav ----------------------------------------------------------------------------------------


async def nav(
    session: Session,
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Where to begin; else at the sites.")
    ] = None,
    depth: Annotated[int, typer.Option("--depth", "-d", min=1, help="How many levels.")] = 2,
    source: FromOption = None,
) -> None:
    """Show the navigation tree: sites, their equips, their points."""
    async with session.storage_or(source or ()) as store:
        await show_tree(session, store, id, depth)


async def show_tree(
    session: Session,
    store: StorageAdapter,
    id: str | None,
    depth: int,
    *,
    most: int | None = None,
) -> None:
    """Print the tree below an entity, or below the sites.

    Args:
        session: Where to print.
        store: What to walk.
        id: The root; None for the sites (or what stands in their place).
        depth: How many levels to show below the root.
        most: How many children of one entity to show at the most.
    """
    from rich.tree import Tree

    if id is not None:
        root = await store.read_by_id(id)
        roots = [(root, Tree(_label(root, full=True), guide_style="dim"))]
    else:
        top = await store.nav()
        if not top:
            session.say("Nothing here yet: `hsorm load FILE…` brings entities in.")
            return
        depth -= 1
        roots = [(entity, Tree(_label(entity, full=True), guide_style="dim")) for entity in top]
    for entity, tree in roots:
        await _grow(store, entity, tree, depth, most, frozenset())
        session.out.print(tree, soft_wrap=not session.out.is_terminal)


async def _grow(
    store: StorageAdapter,
    entity: Entity,
    tree: Tree,
    depth: int,
    most: int | None,
    above: frozenset[str],
) -> None:
    id = entity["id"].val
    # An entity that is its own site would be below itself for ever.
    if depth <= 0 or id in above or "point" in entity:
        return
    children = await store.nav(id)
    shown = children if most is None or len(children) <= most + 1 else children[:most]
    for child in shown:
        branch = tree.add(_label(child))
        await _grow(store, child, branch, depth - 1, most, above | {id})
    if len(shown) < len(children):
        from rich.text import Text

        tree.add(Text(f"… {len(children) - len(shown)} more", style="dim"))


def _label(entity: Entity, *, full: bool = False) -> Text:
    """Name an entity; below others its `navName` does, for its full name repeats theirs."""
    from rich.text import Text

    from hsorm.cli._values import text_of
    from hsorm.ops.display import dis_of

    own = entity.get("navName")
    name = own if isinstance(own, str) and not full else dis_of(entity)
    label = Text(text_of(name) or "—", no_wrap=True, overflow="ellipsis")
    label.append(f"  {text_of(entity['id'])}", style="cyan")
    about = entity.get("unit") or entity.get("kind") if "point" in entity else None
    if about is not None:
        label.append(f"  {text_of(about)}", style="dim")
    return label


# ---- tree ---------------------------------------------------------------------------------------


async def tree(
    session: Session,
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Where to begin; else at all roots.")
    ] = None,
    points: Annotated[bool, typer.Option("--points/--no-points", help="Show points.")] = True,
    source: FromOption = None,
) -> None:
    """Show the whole tree: sites, spaces and floors, equips and their parts, points."""
    from rich.tree import Tree

    async with session.storage_or(source or ()) as store:
        roots = await store.nav_tree(id, points=points)
    if not roots:
        session.say("Nothing here yet: `hsorm load FILE…` brings entities in.")
    for root in roots:
        shown = Tree(_label(root.entity, full=True), guide_style="dim")
        # No recursion: what is below what may be as deep as the data wants.
        open = [(root, shown)]
        while open:
            node, branch = open.pop()
            open += [(child, branch.add(_label(child.entity))) for child in node.children]
        session.out.print(shown, soft_wrap=not session.out.is_terminal)


# ---- refs ---------------------------------------------------------------------------------------


async def refs(session: Session, json: JsonOption = False, source: FromOption = None) -> None:
    """Find refs that lead to no entity; the exit code is 1 where there are any."""
    from rich.text import Text

    from hsorm.cli._table import plain_table
    from hsorm.cli._values import text_of

    async with session.storage_or(source or ()) as store:
        found = await store.check_refs()
    session.exit_code = 1 if found else 0
    if json:
        rows: list[Entity] = [{"id": one.id, "tag": one.tag, "ref": one.ref} for one in found]
        write_grid(session, grid_of(rows, ["id", "tag", "ref"]), "json")
        return
    if not found:
        session.say("Every ref leads to an entity.")
        return
    table = plain_table(session.out, ["id", "tag", "ref"])
    for column in table.columns:
        column.overflow = "fold"
    for one in found:
        table.add_row(*(Text(text_of(value)) for value in (one.id, one.tag, one.ref)))
    session.show(table)
    what = "ref leads" if len(found) == 1 else "refs lead"
    session.say(f"{len(found):,} {what} to no entity.", style="dim")


# ---- about --------------------------------------------------------------------------------------


async def about(session: Session, source: FromOption = None) -> None:
    """Say which storage this is, and how much is in it."""
    from rich.table import Table
    from rich.text import Text

    from hsorm.cli._values import text_of

    async with session.storage_or(source or ()) as store:
        tags = await store.about()
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in tags.items():
        table.add_row(name, Text(text_of(value)))
    session.show(table)


def add_to(app: typer.Typer) -> None:
    """Add the commands to an application."""
    for body, examples in _EXAMPLES.items():
        command(app, body.__name__, rich_help_panel="Entities", examples=examples)(body)


_EXAMPLES: dict[Callable[..., Coroutine[Any, Any, None]], tuple[str, ...]] = {
    read: (
        "read site",
        """read 'ahu and siteRef->geoCity == "Oslo"' --json""",
        """read 'point and unit == "kW"' --cols id,dis,equipRef""",
        "read point --search 'ahu disch'",
        "read site --near 42.36,-71.06,5km",
        "read 'equip and not vav and area > 1000ft²' --count",
        "read 'point and equipRef->ahu' --from plant.zinc --csv",
    ),
    get: ("get demo.ahu-1 demo.ahu-2", "get @demo.ahu-1 --trio"),
    nav: ("nav", "nav demo.ahu-1", "nav --depth 3"),
    tree: ("tree --no-points", "tree demo.ahu-1"),
    refs: ("refs", "refs --from plant.zinc"),
    about: ("about", "about -u postgresql://me@host/db"),
}
