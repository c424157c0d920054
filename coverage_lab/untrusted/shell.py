"""Untrusted text made safe to paste into a shell."""

from __future__ import annotations

import shlex

from coverage_lab.untrusted.text import shown_sign, visible


def shell_word(text: str) -> str:
    """Quote `text` as one word for bash or zsh; what can't be seen is written as an ANSI-C escape."""
    if visible(text) == text:
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{''.join(_shell_escape(sign) for sign in escaped)}'"


def _shell_escape(sign: str) -> str:
    # bash reads \xNN as a byte, so everything from U+0080 needs \u to come out as UTF-8.
    shown = shown_sign(sign, "")
    return f"\\u00{shown[2:]}" if shown != sign and 0x80 <= ord(sign) < 0x100 else shown
