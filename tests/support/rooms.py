"""Which folder of `coverage_lab` imports which, and the picture of it in CONTRIBUTING.md."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent.parent / "coverage_lab"
KERNELS = "coverage_kernels"


def imports(base: set[str]) -> dict[str, set[str]]:
    """Rooms that each room imports; `base`, which every room may import, is left out."""
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix in ("", ".py")}
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            tops = [module.split(".") for module in modules]
            others = {parts[1] for parts in tops if parts[0] == "coverage_lab" and len(parts) > 1} & rooms
            others |= {KERNELS for parts in tops if parts[0] == KERNELS}
            found.setdefault(room, set()).update(others - base - {room})
    return {room: others for room, others in found.items() if room not in base | {"__init__"}}


def picture(graph: dict[str, set[str]]) -> str:
    """Mermaid text of the graph, without arrows that a longer way says already.

    Raises
    ------
    graphlib.CycleError
        Rooms import each other in a circle.
    """
    below: dict[str, set[str]] = {}
    for room in TopologicalSorter(graph).static_order():
        others = graph.get(room, set())
        below[room] = others.union(*(below[other] for other in others))
    lines = ["graph TD"]
    for room in sorted(graph):
        others = graph[room]
        direct = others - set().union(*(below[other] for other in others))
        lines += [f"  {room} --> {other}" for other in sorted(direct)]
    return "\n".join(lines) + "\n"
