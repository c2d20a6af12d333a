"""What the property tests tried, for the summary that pytest prints: problems and calls of each operation, seconds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Tally:
    problems: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """A table in Markdown, as tests/README.md records it."""
        rows = [f"| {name} | {count:,} | {self.calls[name]:,} |" for name, count in sorted(self.problems.items())]
        times = ", ".join(f"{family} {seconds:.0f} s" for family, seconds in self.seconds.items())
        return ["| operation | problems | calls |", "|---|---:|---:|", *rows, f"Time: {times}."]


TALLY = Tally()
