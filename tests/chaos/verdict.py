"""What a judge of a history says: broken promises, each with its rule and moment, and what was counted on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Violation:
    rule: str
    at: float  # on the history's clock
    text: str


@dataclass
class Verdict:
    violations: list[Violation] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def rules(self) -> Counter[str]:
        """How often each rule was broken."""
        return Counter(violation.rule for violation in self.violations)

    def lines(self, most: int = 5) -> Iterator[str]:
        """For people: the counts, then a few violations of each rule."""
        yield ", ".join(f"{name} {count:,}" for name, count in sorted(self.counts.items()))
        for rule, count in self.rules().items():
            yield f"{rule}: {count}"
            for violation in [one for one in self.violations if one.rule == rule][:most]:
                yield f"  {violation.at:.3f} {violation.text}"
