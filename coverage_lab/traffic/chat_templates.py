"""Messages in the text that a chat template made of them, as models are sent it."""

from __future__ import annotations

import re
from typing import Final

#: How chat templates begin a turn: the role is the group; a turn ends where the next mark stands.
_TURN: Final = re.compile(
    r"<\|im_start\|>(?P<a>\w+)\n?|<\|start_header_id\|>(?P<b>\w+)<\|end_header_id\|>\s*"
    r"|<start_of_turn>(?P<c>\w+)\n?|<\|(?P<d>system|user|assistant)\|>\n?|<\|turn>(?P<f>\w+)\n?"
    r"|(?P<e>\[INST\])|<\|start\|>(?P<g>\w+)(?:<\|channel\|>\w+)?<\|message\|>"
)
_END: Final = re.compile(
    r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|<\|end\|>|\[/INST\]|</s>|<s>|<\|endoftext\|>|<turn\|>|<\|return\|>"
)
#: `Human: …` and `Assistant:` at the beginnings of lines, as models took them before there were messages.
_SPOKEN: Final = re.compile(r"(?:\A|\n)[ \t]*(System|Human|User|Assistant|AI):(?=\s)")
_LAST_SPOKEN: Final = ("\nAssistant:", "\nAI:")
_ROLES: Final = {"model": "assistant", "human": "user", "ai": "assistant"}


def turns_of(text: str) -> list[dict[str, str]]:
    """Messages of a templated text; none where it begins with no template's mark, or has no user turn."""
    text = text.strip()
    if not text.startswith(("<", "[")):
        return _spoken(text)
    if "<|" not in text and "<start_of_turn>" not in text and "[INST]" not in text:
        return []
    marks = list(_TURN.finditer(text))
    messages = []
    for at, mark in enumerate(marks):
        stop = marks[at + 1].start() if at + 1 < len(marks) else len(text)
        content = text[mark.end() : stop]
        end = _END.search(content)
        role = next((group for name, group in mark.groupdict().items() if group and name != "e"), "user")
        inner = content[: end.start()] if end else content
        before, _, rest = inner.partition("<<SYS>>")
        system, ended, after = rest.partition("<</SYS>>")
        if ended:
            messages.append({"role": "system", "content": system.strip()})
            inner = before + after.lstrip()
        messages.append({"role": _ROLES.get(role, role), "content": inner.strip()})
    return messages if any(message["role"] == "user" for message in messages) else []


def _spoken(text: str) -> list[dict[str, str]]:
    if not text.endswith(_LAST_SPOKEN) or (found := _SPOKEN.match(text)) is None:
        return []
    text += "\n"
    messages = []
    while found is not None:
        role = found.group(1).lower()
        following = _SPOKEN.search(text, found.end())
        content = text[found.end() : following.start() if following else len(text)]
        messages.append({"role": _ROLES.get(role, role), "content": content.strip()})
        found = following
    return messages
