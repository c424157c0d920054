"""Untrusted text (account ids, labels, reasons) made safe to show and to embed."""

from __future__ import annotations

import json
import unicodedata

#: Zero-width joiners: invisible, but several scripts and emoji are unreadable without them.
JOINERS = "\u200c\u200d"

_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def visible(text: str, *, keep: str = "") -> str:
    r"""Write characters that hide, or reorder others, as ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``.

    These are control, format (bidirectional overrides among them), surrogate, private and unassigned
    characters, line and paragraph separators, and every space but U+0020.

    Parameters
    ----------
    text : str
        Any text.
    keep : str
        Characters to leave as they are, for instance `JOINERS` in prose.
    """
    return "".join(shown_sign(sign, keep) for sign in text)


def shown_sign(sign: str, keep: str) -> str:
    """Write one character as `visible` does."""
    category = unicodedata.category(sign)
    hidden = category in _HIDDEN_CATEGORIES or (category == "Zs" and sign != " ")
    if not hidden or sign in keep:
        return sign
    code = ord(sign)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, limit: int) -> str:
    """Cut the middle out of `text` where it is longer than `limit` characters (3 or more)."""
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head]}…{text[len(text) - (limit - head - 1) :]}"


def plotly_text(text: str) -> str:
    """Escape the signs that Plotly's own small HTML dialect would read as tags or entities."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def json_for_script(value: object) -> str:
    """JSON that can't end or change the script element it stands in, nor a JavaScript line.

    Raises
    ------
    ValueError
        `value` holds NaN or an infinity, which JSON does not have.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def shown(text: object, limit: int = 200) -> str:
    """Untrusted text on one line: control characters escaped, the rest of a long text cut off."""
    raw = str(text)
    short = raw if len(raw) <= limit else raw[: limit - 1] + "…"
    return escaped(short)


def escaped(text: str) -> str:
    r"""Untrusted text, all of it; what can't be seen or would steer a terminal as ``\x..``, ``\u....``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def first_line(error: BaseException) -> str:
    """First line of an error's own text, for the end of ours."""
    lines = str(error).splitlines()
    return shown(lines[0]) if lines else type(error).__name__


def whole_pairs(text: str) -> str:
    """Text whose surrogates are whole pairs as their characters, and half pairs as U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
