"""What the property tests tried, for the summary that pytest prints: problems and calls of each operation, seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Tally:
    """Counts by (section of README.md, operation), and seconds by (section, family of operations)."""

    problems: Counter[tuple[str, str]] = field(default_factory=Counter)
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    seconds: Counter[tuple[str, str]] = field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        """A table for each section, in Markdown, as README.md records it."""
        for section in sorted({section for section, _ in self.problems}):
            yield from (f"## {section}", "| operation | problems | calls |", "|---|---:|---:|")
            for (of, name), count in sorted(self.problems.items()):
                if of == section:
                    yield f"| `{name}` | {count:,} | {self.calls[of, name]:,} |"
            times = (f"{family} {spent:.0f} s" for (of, family), spent in self.seconds.items() if of == section)
            yield f"Time: {', '.join(times)}."


TALLY = Tally()
