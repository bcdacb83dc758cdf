"""Prove from the logs of a soak alone what hsorm guarantees; see docs/reliability.md."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks._soak_work import HISTORY, RELEASED, lines_of

State = list[Any] | None


def check(folder: Path) -> tuple[list[str], Counter[str]]:
    """Return what is wrong, nothing if all is well, and how much of what was done."""
    logs = {path.stem: list(lines_of(path)) for path in sorted(folder.glob("*-*.log"))}
    (final,) = lines_of(folder / "final.log")
    counts = Counter(line["what"] for lines in logs.values() for line in lines)
    counts["rows told"] = sum(
        len(line["rows"])
        for lines in logs.values()
        for line in lines
        if line["what"] in {"poll", "feed"}
    )
    wrong = [
        f"{name}: {line['error']}"
        for name, lines in logs.items()
        for line in lines
        if line["what"] == "error"
    ]
    writers = {name: lines for name, lines in logs.items() if name.startswith("write")}
    wrong += _commits(writers, final["rows"])
    wrong += _live(writers, final["rows"])
    wrong += _points(writers, final)
    wrong += _history(writers, final["history"])
    for name, lines in logs.items():
        if name.startswith("poll"):
            wrong += (f"{name}: {text}" for text in _watches(lines, final["rows"]))
        elif name.startswith("feed"):
            wrong += (f"{name}: {text}" for text in _feed(lines, final["rows"]))
    return wrong, counts


def _all(logs: dict[str, list[dict[str, Any]]], what: str) -> Iterator[dict[str, Any]]:
    return (line for lines in logs.values() for line in lines if line["what"] == what)


def _commits(writers: dict[str, list[dict[str, Any]]], final: dict[str, State]) -> Iterator[str]:
    """No commit that was acknowledged is lost or overwritten, and `mod` only grows."""
    done: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for line in _all(writers, "done"):
        done[line["id"]].append((line["n"], line["mod"]))
    tried = {(line["id"], line["n"]) for line in _all(writers, "try")}
    for id, commits in done.items():
        for (n, mod), (after, later) in pairwise(sorted(commits)):
            if n == after:
                yield f"@{id}: {n} was acknowledged twice: an update was lost"
            if mod >= later:
                yield f"@{id}: mod {mod} of {n} is not before {later} of {after}"
        state = final[id]
        last = state[0] if state else -1
        if last < max(commits)[0]:
            yield f"@{id}: {max(commits)} was acknowledged, but {last} is stored"
        for n in range(1, int(last) + 1):
            if (id, n) not in tried:
                yield f"@{id}: nobody tried {n}"
    yield from _own(writers, final)


def _own(writers: dict[str, list[dict[str, Any]]], final: dict[str, State]) -> Iterator[str]:
    """What a writer alone changed is as it was acknowledged, unless something is unknown."""
    for lines in writers.values():
        last: dict[str, tuple[str, State]] = {}
        for line in lines:
            if line["what"] in {"try", "own"} and line["id"].startswith("own"):
                last[line["id"]] = (line["what"], line.get("state"))
        for id, (what, state) in last.items():
            if what == "own" and final.get(id) != state:
                yield f"@{id}: {state} was acknowledged, but {final.get(id)} is stored"


def _live(writers: dict[str, list[dict[str, Any]]], final: dict[str, State]) -> Iterator[str]:
    newest: dict[str, int] = {}
    for line in _all(writers, "done_live"):
        newest[line["id"]] = max(newest.get(line["id"], 0), line["cur"])
    tried = {(line["id"], line["cur"]) for line in _all(writers, "try_live")}
    for id, cur in newest.items():
        state = final[id]
        if state is None or state[2] < cur or (id, int(state[2])) not in tried:
            yield f"@{id}: curVal {cur} was acknowledged, {state} is stored"


def _points(writers: dict[str, list[dict[str, Any]]], final: dict[str, Any]) -> Iterator[str]:
    """Each level is as last written, and the live tags are what the levels say."""
    possible: dict[tuple[str, int], list[Any]] = {}
    for lines in writers.values():
        for line in lines:
            if line["what"] in {"try_point", "done_point"}:
                key = (line["id"], line["level"])
                before = [] if line["what"] == "done_point" else possible.get(key, [None])
                possible[key] = [*before, line["val"]]
    for (id, level), vals in possible.items():
        if final["arrays"][id][level - 1] not in vals:
            yield f"@{id}: level {level} is {final['arrays'][id][level - 1]}, written: {vals}"
    for id, levels in final["arrays"].items():
        held = [(val, level) for level, val in enumerate(levels, 1) if val is not None]
        effective = list(held[0]) if held else [None, 17]
        shown = final["rows"][id][3:]
        if shown != effective and not (shown == [None, None] and not held):
            yield f"@{id}: writeVal and writeLevel are {shown}, the array says {effective}"


def _history(
    writers: dict[str, list[dict[str, Any]]], final: dict[str, dict[str, int]]
) -> Iterator[str]:
    """A batch that was acknowledged is there; any other is there as a whole, or not at all."""
    sizes: dict[tuple[str, int], tuple[int, bool]] = {}
    for lines in writers.values():
        for line in lines:
            if line["what"] in {"try_history", "done_history"}:
                done = line["what"] == "done_history"
                sizes[line["id"], line["batch"]] = (line["size"], done)
    stored = {(id, int(batch)): n for id, own in final.items() for batch, n in own.items()}
    for (id, batch), (size, done) in sizes.items():
        found = stored.pop((id, batch), 0)
        if found != size and (done or found):
            told = "was acknowledged" if done else "was tried"
            yield f"@{id}: batch {batch} of {size} items {told}, {found} are stored"
    for id, batch in stored:
        yield f"@{id}: nobody tried batch {batch}"


def _watches(lines: Iterable[dict[str, Any]], final: dict[str, State]) -> Iterator[str]:
    """Nothing is told twice or backwards, and what is told last is what there is."""
    told: dict[str, State] = {}
    filter: str | None = None
    ended = False
    for line in lines:
        if line["what"] == "open":
            told, filter = dict(line["rows"]), line["filter"]
        elif line["what"] == "poll":
            yield from _poll(told, line)
            ended = line["last"]
    if not ended:
        yield "did not poll to the end"
    for id, state in final.items():
        is_in = filter is None or id in (final["_odd"] or ())
        if not id.startswith("_") and told.get(id) != (state if is_in else None):
            yield f"@{id}: {told.get(id)} was told last, {state if is_in else None} is there"


def _poll(told: dict[str, State], line: dict[str, Any]) -> Iterator[str]:
    for id, state in line["rows"].items():
        if id not in RELEASED and not line["refresh"] and told.get(id) == state:
            yield f"@{id}: {state} was told twice"
        yield from _backwards(id, told.get(id), state)
        told[id] = state
    for id in line["removed"]:
        if told.get(id) is None and not line["refresh"]:
            yield f"@{id}: its removal was told, but it was not there"
        told[id] = None
    if line["refresh"]:
        # A refresh tells all there is; what was told as gone by a poll that was lost is not in it.
        for id in told.keys() - line["rows"].keys():
            told[id] = None


def _backwards(id: str, before: State, state: State) -> Iterator[str]:
    if before is None or state is None:
        return
    for index, name in enumerate(("n", "mod", "curVal")):
        if before[index] is not None and state[index] is not None and before[index] > state[index]:
            recreated = index == 2
            if not recreated:
                yield f"@{id}: {name} {state[index]} was told after {before[index]}"


def _feed(lines: Iterable[dict[str, Any]], final: dict[str, State]) -> Iterator[str]:
    told: dict[str, State] = {}
    ended = False
    for line in lines:
        if line["what"] != "feed":
            continue
        ended = line["last"]
        for id, state in line["rows"]:
            # Writing history is a change, in which nothing of the entity does (P6).
            if id not in RELEASED and id not in HISTORY and state and told.get(id) == state:
                yield f"@{id}: {state} was told twice"
            yield from _backwards(id, told.get(id), state)
            told[id] = state
    if not ended:
        yield "did not follow to the end"
    for id, state in final.items():
        if not id.startswith("_") and told.get(id) != state:
            yield f"@{id}: {told.get(id)} was told last, {state} is there"
