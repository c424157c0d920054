"""What a prompt is where a request holds messages: the newest user turn, and what else the request tells."""

from __future__ import annotations

import ast
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from coverage_lab.traffic.chat_templates import turns_of

_USER: Final = frozenset({"user", "human"})
_SYSTEM: Final = frozenset({"system", "developer"})
_SYSTEM_KEYS: Final = ("system", "instructions", "systemInstruction", "system_instruction")
_TOOLS: Final = frozenset({"tool", "function", "ipython"})
_ROLE_KEYS: Final = ("role", "from", "author", "speaker", "user_name")
#: Parts of a message that are a tool's answer, whoever sends them.
_RESULTS: Final = frozenset(
    {"tool_result", "function_call_output", "tool_call_response", "toolResult", "functionResponse"}
)
#: Where a request body keeps its messages, in the order in which they are looked for.
_MESSAGE_KEYS: Final = (
    "messages",
    "input",
    "contents",
    "conversation",
    "conversations",
    "prompt",
    "turns",
    "dialog",
    "dialogue",
)
#: Where a record keeps a request's body.
_BODY_KEYS: Final = (
    "body",
    "request",
    "params",
    "kwargs",
    "payload",
    "data",
    "inputs",
    "request_body",
    "json",
    "thread",
    "item",
    "inputBodyJson",
)
#: Where a body keeps its prompt if that is text, and keys of which it then has one, or none else at all.
_PROMPT_KEYS: Final = ("prompt", "prompts", "inputText", "inputs", "message", "instances")
_SETTINGS: Final = frozenset(
    {
        "model",
        "modelId",
        "system",
        "temperature",
        "stream",
        "stop",
        "options",
        "parameters",
        "textGenerationConfig",
        "chat_history",
        "preamble",
        "n_predict",
        "top_p",
        "max_tokens",
        "max_gen_len",
        "max_new_tokens",
        "max_tokens_to_sample",
    }
)
_DEPTH: Final = 4
_OPENING: Final = ("{", "[", '"')
#: Characters up to which Python's own spelling is read: its parser takes some hundred times their memory.
_LONGEST_PYTHON: Final = 2**18
_ESCAPED: Final = re.compile(r"\[?\s*\{\s*&(quot|#34|#x22);")
_PYTHON: Final = re.compile(r"[\[{\s]*'\w+'\s*:")


class Request(NamedTuple):
    """What one request says.

    Attributes
    ----------
    prompt : str
        Text of the newest user turn; empty where it has none.
    system : str
        Text of the system prompt; empty without one.
    turns : tuple of str
        Texts of all user turns, the newest last; empty where nobody spoke as user.
    continued : bool
        Whether tools were called or answered after the newest user turn, so that the request goes on with
        an earlier one.
    media : int
        Images, sounds and files in the newest user turn.
    """

    prompt: str
    system: str
    turns: tuple[str, ...]
    continued: bool
    media: int

    def marks(self) -> Marks:
        """Hashes that tell this request's conversation, turn and system prompt from others."""
        system, turns = self.system, self.turns
        start = f"{system}\0{turns[0]}" if turns else system
        hashed = hashlib.blake2b(start.encode("utf-8", "surrogatepass"), digest_size=16)
        digest = hashed.digest()[:8]
        session = "conversation-" + digest.hex() if turns else None
        if len(turns) > 1:  # what is sent again is hashed once
            hashed.update(("\0" + "\0".join(turns[1:])).encode("utf-8", "surrogatepass"))
            digest = hashed.digest()[:8]
        return Marks(int.from_bytes(digest, "big", signed=True), session, _system_hash(system))


class Marks(NamedTuple):
    """Hashes of a request.

    Attributes
    ----------
    turn : int
        Of the whole way to the newest user turn, the same for all requests of an agent's loop.
    session : str or None
        Of how the conversation began, the same for all requests that send its start again.
    system : str or None
        Of the system prompt.
    """

    turn: int
    session: str | None
    system: str | None


@lru_cache(maxsize=64)  # most requests of an account have the same
def _system_hash(text: str) -> str | None:
    if not text:
        return None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def parsed(value: object) -> object:
    """Value behind text that writes an object or a list; any other value, and other text, as it is.

    Text may be JSON in the dialect of any language, JSON that was written as JSON text once more or escaped
    for HTML, lines of JSON, or Python's own spelling.
    """
    if not isinstance(value, str):
        return value
    text = value if value[:1] in _OPENING else value.lstrip(" \t\r\n\ufeff")
    if text[:1] not in _OPENING:
        return value
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = _loosely_parsed(text)
    if isinstance(found, str):  # JSON in JSON
        found = parsed(found) if found.lstrip()[:1] in ("{", "[") else value
    return value if found is None else found


def _loosely_parsed(text: str) -> object:
    if _ESCAPED.match(text):
        text = html.unescape(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if len(text) <= _LONGEST_PYTHON and _PYTHON.match(text):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return None
    lines = text.splitlines()
    if len(lines) < 2 or not all(line.startswith("{") for line in lines):
        return None
    try:
        return [orjson.loads(line) for line in lines]
    except orjson.JSONDecodeError:
        return None


def request_of(value: object, *, system: object = None) -> Request | None:
    """Read what a request says.

    Parameters
    ----------
    value
        A list of messages, a request body, or an object that holds one; lists and objects as JSON parsers
        or Arrow give them, or their JSON text.
    system
        The system prompt where the body keeps it apart from the messages.

    Returns
    -------
    Request or None
        None where there are no messages.
    """
    value = parsed(value)
    apart = "" if system is None else _text(system)[0]
    request = None
    if type(value) is list:
        request = _read_plain(value, [apart])
    elif type(value) is dict and type(messages := value.get("messages")) is list:
        request = _read_plain(messages, [apart, _system_beside(value)])
    if request is not None:
        return request
    found = _find(value, 0)
    if found is None and isinstance(value, str):
        found = turns_of(value), ""
    return _read(found[0], [apart, found[1]]) if found is not None and found[0] else None


def is_chat(value: object) -> bool:
    """Whether a value holds messages."""
    return request_of(value) is not None


def conversation_of(value: object) -> list[Request]:
    """One request for each user turn of a whole conversation, as its user sent them."""
    found = _find(parsed(value), 0)
    if found is None:
        return []
    messages = found[0]
    ends = [at for at, message in enumerate(messages) if _role(message) in _USER]
    return [_read(messages[: end + 1], []) for end in ends]


def _find(value: object, depth: int) -> tuple[Sequence[object], str] | None:
    """Messages and the system prompt beside them."""
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], list) and not _is_pair(value[0]):
            value = value[0]
        if value and all(map(_is_pair, value)):
            value = [{"role": role, "content": text} for role, text in value]
        return (value, "") if value and _are_messages(value) else None
    if not isinstance(value, dict) or depth > _DEPTH:
        return None
    for key in _MESSAGE_KEYS:
        inner = value.get(key)
        if inner is None:
            continue
        if isinstance(inner, str):
            inner = parsed(inner)
            if isinstance(inner, str) and key != "prompt" and _is_body(value):
                return [{"role": "user", "content": inner}], _system_beside(value)
        found = _find(inner, depth + 1)
        if found is not None:
            return found[0], "\n".join(filter(None, (_system_beside(value), found[1])))
    if _role(value) is not None and ("content" in value or "parts" in value or "message" in value):
        return [value], ""
    for key in _BODY_KEYS:
        if key in value and (found := _find(parsed(value[key]), depth + 1)) is not None:
            return found
    return _text_body(value, depth)


def _text_body(body: Mapping[str, Any], depth: int) -> tuple[Sequence[object], str] | None:
    """Messages of a body whose prompt is text, with the history beside it."""
    name = next((name for name in _PROMPT_KEYS if name in body), None)
    if name is None or (len(body) > 1 and _SETTINGS.isdisjoint(body)):
        return None
    text = body[name]
    if isinstance(text, list) and len(text) == 1:
        text = text[0]
    if name == "instances" and isinstance(text, dict):
        return _find(text, depth + 1)
    if not isinstance(text, str):
        return None
    history = body.get("chat_history")
    before = history if isinstance(history, list) and _are_messages(history) else []
    system = body.get("preamble")
    apart = "\n".join(filter(None, (_system_beside(body), system if isinstance(system, str) else "")))
    return [*before, *(turns_of(text) or [{"role": "user", "content": text}])], apart


def _is_pair(value: object) -> bool:
    """Whether a value is a message as LangChain's short form has it: its role and its text."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], str)
        and value[0] in _PAIRED
    )


def _system_beside(body: Mapping[str, object]) -> str:
    """System prompt that a body keeps apart from its messages."""
    system = next((found for key in _SYSTEM_KEYS if (found := body.get(key))), None)
    return system if type(system) is str else _text(system)[0] if system else ""


def _is_body(value: Mapping[object, object]) -> bool:
    return "model" in value or "instructions" in value


def _are_messages(values: Sequence[object]) -> bool:
    """Whether all values are messages, or items between them, and one at least has a role."""
    roles = 0
    for value in values:
        if not isinstance(value, dict):
            return False
        if _role(value) is not None:
            roles += 1
        elif not isinstance(value.get("type"), str):
            return False
    return roles > 0


def _role(message: object) -> str | None:
    if not isinstance(message, dict):
        return None
    inner = message.get("message")
    if isinstance(inner, dict):
        return _role(inner)
    for key in _ROLE_KEYS:
        role = message.get(key)
        if isinstance(role, dict):
            role = role.get("role")
        if isinstance(role, str):
            return role.lower()
    kind = message.get("type")
    if isinstance(kind, str) and ("content" in message or "data" in message) and kind in _LANGCHAIN:
        return kind
    name = message.get("id")
    if isinstance(name, list) and name and "kwargs" in message:  # LangChain's own serialisation
        return str(name[-1]).removesuffix("Chunk").removesuffix("Message").lower()
    return "user" if isinstance(message.get("parts"), list) else None  # as Gemini takes it


_PAIRED: Final = frozenset({"user", "human", "system", "developer", "assistant", "ai"})
_LANGCHAIN: Final = frozenset({"human", "ai", "system", "tool", "function", "chat"})


#: Keys beside `role` and `content` that can say something else of a message.
_TELLING: Final = frozenset({"message", "type", "tool_calls", "function_call"})


def _read_plain(messages: list[Any], system: list[str]) -> Request | None:
    """As `_read`, for lists whose messages all have a role and one text; None for any other."""
    turns: list[str] = []
    continued, user_before = False, False
    for message in messages:
        if type(message) is not dict or (len(message) > 2 and not _TELLING.isdisjoint(message)):
            return None
        role, text = message.get("role"), message.get("content")
        if type(role) is not str:
            return None
        if type(text) is not str:
            if type(text) is not list or len(text) != 1 or type(part := text[0]) is not dict:
                return None
            text = part.get("text")
            if type(text) is not str or len(part) != 2 or part.get("type") != "text":
                return None
        role = role.lower()
        if role == "user" or role == "human":
            if user_before:  # one turn in several messages
                turns[-1] = "\n".join(filter(None, (turns[-1], text)))
            else:
                turns.append(text)
            continued, user_before = False, True
            continue
        user_before = False
        if role == "system" or role == "developer":
            system.append(text)
        elif role in _TOOLS:
            continued = bool(turns)
    if not messages:
        return None
    newest = turns[-1] if turns else ""
    return Request(newest, "\n".join(filter(None, system)), tuple(turns), continued, 0)


def _read(messages: Sequence[object], system: list[str]) -> Request:
    """Read messages; `system` is what stands beside them, and takes up theirs."""
    turns: list[str] = []
    continued, media, before = False, 0, ""
    for message in messages:
        role = _role(message)
        assert isinstance(message, dict)
        text, others, results = _content(message)
        if role in _SYSTEM:
            system.append(text)
        elif role in _USER and (text or others or not results):
            if before == "user":  # one turn in several messages
                text = "\n".join(filter(None, (turns.pop(), text)))
                others += media
            turns.append(text)
            continued, media = False, others
        elif results or role in _TOOLS or _calls_tools(message):
            continued = bool(turns)
        before = "user" if role in _USER and not results else "other"
    return Request(
        prompt=turns[-1] if turns else "",
        system="\n".join(filter(None, system)),
        turns=tuple(turns),
        continued=continued,
        media=media,
    )


def _calls_tools(message: Mapping[object, object]) -> bool:
    if message.get("tool_calls") or message.get("function_call") or message.get("type") == "function_call":
        return True
    content = message.get("content") or message.get("parts")
    return isinstance(content, list) and any(
        isinstance(part, dict) and (part.get("type") in ("tool_use", "tool_call") or "toolUse" in part)
        for part in content
    )


def _content(message: Mapping[object, object]) -> tuple[str, int, int]:
    inner = message.get("message") or message.get("kwargs") or message.get("data")
    if isinstance(inner, dict) and "content" not in message:
        return _content(inner)
    if _is_result(message.get("type")):
        return "", 0, 1
    for key in ("content", "parts", "value", "text", "message"):
        if message.get(key) is not None:
            return _text(message[key])
    return "", 0, 0


def _text(value: object) -> tuple[str, int, int]:
    """Text of a message's content, and how many other parts and tools' results it has."""
    if isinstance(value, str):
        return value, 0, 0
    texts: list[str] = []
    others = results = 0
    for part in _parts(value):
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type")
        if _is_result(kind) or any(name in part for name in ("toolResult", "functionResponse")):
            results += 1
            continue
        text = part.get("text", part.get("content") if kind in (None, "text") else None)
        if isinstance(text, str) and kind not in ("thinking", "reasoning"):
            texts.append(text)
        elif isinstance(text, dict) and isinstance(text.get("value"), str):
            texts.append(str(text["value"]))
        elif kind not in ("tool_use", "tool_call", "thinking", "reasoning"):
            others += 1
    return "\n".join(texts), others, results


def _is_result(kind: object) -> bool:
    return isinstance(kind, str) and kind in _RESULTS


def _parts(value: object) -> Iterator[str | Mapping[object, object]]:
    if isinstance(value, dict):
        inner = value.get("parts")
        yield from _parts(inner) if isinstance(inner, list) else (value,)
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, str | dict):
                yield part
