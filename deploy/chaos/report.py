"""The report of a run: build/chaos.json for programs, build/chaos.md for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.chaos.ledger import Ledger
from deploy.chaos.trials import Outcome


@dataclass(frozen=True)
class Report:
    """One run. how: "containers" or "processes"; cut_by: how services were cut off from each other; database: which server it was."""

    how: str
    cut_by: str
    database: str
    replicas: int
    seconds: float
    outcomes: Sequence[Outcome]
    ledger: Ledger
    others: Sequence[str]

    @property
    def problems(self) -> list[str]:
        """Everything that did not hold."""
        of_trials = [
            f"{outcome.name}: {problem}" for outcome in self.outcomes for problem in outcome.problems
        ]
        return [*of_trials, *self.ledger.problems, *self.others]

    def write(self, folder: Path) -> Path:
        """Writes both files; gives the one for people."""
        folder.mkdir(parents=True, exist_ok=True)
        content = asdict(self) | {"problems": self.problems}
        (folder / "chaos.json").write_text(json.dumps(content, indent=1) + "\n")
        (folder / "chaos.md").write_text(self.text())
        return folder / "chaos.md"

    def text(self) -> str:
        """The report in Markdown."""
        ledger = self.ledger
        lines = [
            "# What was done to Kept, and what callers saw",
            "",
            f"{self.replicas} replicas of every service as {self.how}, {self.database}; services cut off by {self.cut_by}; "
            f"{self.seconds / 60:.1f} minutes.",
            "",
            f"**{ledger.acknowledged:,} records acknowledged, {ledger.lost} lost; {ledger.stored:,} stored, {ledger.counted:,} counted, "
            f"{ledger.billed:,} billed; {ledger.asked} grants asked for, {ledger.granted} there; "
            f"{ledger.audit_gaps} gaps in the audit log.** "
            + ("Everything held." if not self.problems else "NOT everything held:"),
            *(f"- {problem}" for problem in self.problems),
            "",
            "| trial | calls | failed | of what retries may cover | slowest recovery | seconds |",
            "|---|---|---|---|---|---|",
        ]
        for outcome in self.outcomes:
            took = [value for value in outcome.recoveries.values() if value is not None]
            lines.append(
                f"| {outcome.name} | {sum(kind.calls for kind in outcome.kinds)} | {outcome.failed} "
                f"| {outcome.failed if outcome.covered else 'refused for the moment'} "
                f"| {f'{max(took):.2f} s' if took else '–'} | {outcome.seconds:.0f} |"
            )
        for outcome in self.outcomes:
            lines += ["", f"## {outcome.name}", ""]
            lines += [
                "| calls | number | failed | median | slowest | longest without an answer |",
                "|---|---|---|---|---|---|",
            ]
            for kind in outcome.kinds:
                why = ", ".join(f"{reason} {count}" for reason, count in sorted(kind.reasons.items()))
                lines.append(
                    f"| {kind.kind} | {kind.calls} | {kind.failed}{f' ({why})' if why else ''} | {kind.median * 1000:.0f} ms "
                    f"| {kind.slowest * 1000:.0f} ms | {kind.longest_gap:.2f} s |"
                )
            if outcome.recoveries:
                lines += ["", "Until every kind of call was answered again:", ""]
                lines += [
                    f"- {what}: {'not in time' if took is None else f'{took:.2f} s'}"
                    for what, took in outcome.recoveries.items()
                ]
            lines += ["", *(f"- {note}" for note in outcome.notes)] if outcome.notes else []
        return "\n".join(lines) + "\n"
