"""What the Ray actors of a running job take of memory and CPU."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path


class Watch:
    """What the actors of a run take, by /proc, for as long as the block lasts."""

    def __enter__(self) -> Watch:
        self.peak_kb = 0
        self.cpu: dict[tuple[str, int], float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def busiest(self, actor: str) -> float:
        """Return the CPU seconds of the actor of a class that took most, its start included."""
        return max(seconds for (kind, _), seconds in self.cpu.items() if kind == actor)

    def _look(self) -> None:
        ticks = os.sysconf("SC_CLK_TCK")
        while not self._stop.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    kind = re.match(r"ray::(\w+Actor)", (process / "cmdline").read_text())
                    if kind is None:
                        continue
                    status = re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())
                    times = (process / "stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                self.cpu[kind[1], int(process.name)] = (int(times[11]) + int(times[12])) / ticks
                self.peak_kb = max(self.peak_kb, int(status[1]) if status else 0)
