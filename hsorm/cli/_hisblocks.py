"""CSV of any length as blocks of columns, split by pyarrow where it does as Python's reader does.

That is where a block has no quotes, no blank lines and no stray carriage returns, and rows as long
as the header. From the first block on that is otherwise, Python's reader goes on, and tells errors.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

from hsorm.codecs._text import text_of
from hsorm.errors import CodecError

__all__ = ["Block", "CsvBlocks", "pieces", "split_piece"]

_BYTES: Final = 1 << 22
_ROWS: Final = 8_192
_SPREADSHEET: Final = ",;\t"  # spreadsheets of many countries write semicolons


class Block(NamedTuple):
    """Some rows.

    Attributes:
        lines: The line of each.
        columns: The cells as Arrow arrays of strings, a column each.
        size: How many bytes of the file have been read with it.
    """

    lines: Any
    columns: Sequence[Any]
    size: int


class CsvBlocks:
    """A CSV file.

    Args:
        file: It, which can seek.
        name: Its name, for errors.

    Attributes:
        header: The cells of its first row.
        line: The line of it.

    Raises:
        CodecError: It is empty, no UTF-8, or no CSV.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._delimiter = self._found_delimiter()
        reader = self._reader(self._counted())
        for row in self._checked(reader, 0):
            self.line, self.header = row
            break
        else:
            raise CodecError("the file is empty", where=name)
        self._next_line = reader.line_num + 1

    def _found_delimiter(self) -> str:
        self._file.seek(0)
        first = next((line for line in self._file if line.strip(b"\r\n")), b"")
        return max(_SPREADSHEET, key=lambda mark: first.count(mark.encode()))

    def _counted(self) -> Iterator[str]:
        """Yield lines, and keep where the next one begins."""
        self._start = 0
        for text in self._texts(0):
            self._start += len(text.encode())
            yield text.removeprefix("\ufeff") if self._start == len(text.encode()) else text

    def _texts(self, start: int) -> Iterator[str]:
        self._file.seek(start)
        wrapper = io.TextIOWrapper(self._file, "utf-8", newline="")
        try:
            for line in wrapper:  # noqa: UP028 - `yield from` would close it, and the file
                yield line
        except UnicodeDecodeError:
            raise self._no_text() from None
        finally:
            wrapper.detach()  # else it closes the file

    def _no_text(self) -> CodecError:
        self._file.seek(0)
        for line, data in enumerate(self._file, 1):
            try:
                text_of(data)
            except CodecError as exc:
                return CodecError(exc.reason, line, exc.column, self._name)
        return CodecError("the file is no UTF-8", where=self._name)

    def _reader(self, texts: Iterator[str]) -> Any:
        return csv.reader(texts, delimiter=self._delimiter, strict=True)

    def _checked(self, reader: Any, before: int) -> Iterator[tuple[int, list[str]]]:
        """Yield rows that are not blank, with their line."""
        try:
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield before + reader.line_num, row
        except csv.Error as exc:
            line = before + reader.line_num
            raise CodecError(f"no CSV: {exc}", line, where=self._name) from None

    # ---- rows -----------------------------------------------------------------------------------

    def blocks(self) -> Iterator[Block]:
        """Yield the rows after the header.

        Raises:
            CodecError: A row is no CSV, or not as long as the header.
        """
        at, line = self._start, self._next_line
        for data in pieces(self._file, at):
            block = None
            if b'"' not in data:
                block = split_piece(data, len(self.header), self._delimiter, line)
            if block is None:
                yield from self._python_blocks(at, line)
                return
            yield block
            at, line = at + len(data), line + len(block.lines)

    def _python_blocks(self, start: int, line: int) -> Iterator[Block]:
        import numpy as np
        import pyarrow as pa

        rows: list[tuple[int, list[str]]] = []
        read = start

        def block() -> Block:
            nonlocal read
            columns = [
                pa.array(cells, pa.string())
                for cells in zip(*(row for _, row in rows), strict=True)
            ]
            before, read = read, self._file.tell()
            return Block(np.array([number for number, _ in rows]), columns, read - before)

        for number, row in self._checked(self._reader(self._texts(start)), line - 1):
            if len(row) != len(self.header):
                reason = f"{len(row)} cells, the header has {len(self.header)}"
                raise CodecError(reason, number, where=self._name)
            rows.append((number, row))
            if len(rows) == _ROWS:
                yield block()
                rows = []
        if rows:
            yield block()


def pieces(file: BinaryIO, start: int) -> Iterator[bytes]:
    """Yield a file from a position on, some lines at a time."""
    file.seek(start)
    rest = b""
    while True:
        read = file.read(_BYTES)
        data = rest + read
        cut = data.rfind(b"\n") + 1 if read else len(data)
        data, rest = data[:cut], data[cut:]
        if data:
            yield data
        if not read:
            return


def split_piece(data: bytes, width: int, delimiter: str, line: int) -> Block | None:
    """Split lines without quotes by pyarrow; return None where Python's reader might do otherwise.

    Args:
        data: The lines.
        width: How many cells each has.
        delimiter: What stands between them.
        line: The line of the first.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pa_csv

    returns = data.count(b"\r")
    if (
        (returns and returns != data.count(b"\r\n"))
        or data[:1] in (b"\r", b"\n")
        or b"\n\n" in data
        or (returns and b"\n\r\n" in data)
    ):
        return None
    names = [str(number) for number in range(width)]
    try:
        table = pa_csv.read_csv(
            pa.py_buffer(data),
            pa_csv.ReadOptions(column_names=names, block_size=len(data) + 1, use_threads=False),
            pa_csv.ParseOptions(delimiter=delimiter, quote_char=False),
            pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid:
        return None
    columns = [column.combine_chunks() for column in table.columns]
    if pc.any(pc.equal(pc.utf8_trim_whitespace(columns[0]), "")).as_py():
        return None  # perhaps a blank row
    return Block(np.arange(line, line + len(table)), columns, len(data))
