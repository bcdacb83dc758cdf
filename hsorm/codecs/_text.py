"""What the readers of text share: decoding bytes, and errors with line and column."""

from __future__ import annotations

import re

from hsorm.errors import CodecError

_NEWLINE = re.compile(r"\r\n|\r|\n")


def text_of(data: str | bytes) -> str:
    """Return text as it is, bytes decoded from UTF-8; a byte order mark is dropped.

    Raises:
        CodecError: The bytes are no UTF-8, or the text holds half a surrogate pair.
    """
    try:
        if isinstance(data, str):
            data.encode()  # a lone surrogate could be read here, but written nowhere
        text = data if isinstance(data, str) else bytes(data).decode()
    except UnicodeDecodeError as exc:
        reason = f"byte 0x{exc.object[exc.start]:02x} is no UTF-8"
        raise error_at(
            exc.object[: exc.start].decode(errors="replace"), exc.start, reason
        ) from None
    except UnicodeEncodeError as exc:
        raise error_at(exc.object, exc.start, "half a surrogate pair is no character") from None
    return text.removeprefix("\ufeff")


def place(text: str, pos: int) -> tuple[int, int]:
    """Return the 1-based line and column of a position; lines end in LF, CR LF or CR."""
    line, start = 1, 0
    for found in _NEWLINE.finditer(text, 0, pos):
        line, start = line + 1, found.end()
    return line, min(pos, len(text)) - start + 1


def error_at(text: str, pos: int, reason: str) -> CodecError:
    """Return the error for a position in a text."""
    line, column = place(text, pos)
    return CodecError(reason, line, column)
