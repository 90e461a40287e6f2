"""Panels, and a dashboard of them, in Grafana's JSON model."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

# Grafana's names of units.
Unit = Literal["s", "short", "reqps", "percentunit"]
_WIDTH: Final = 12
_HEIGHT: Final = 8
_COLUMNS: Final = 2


@dataclass(frozen=True)
class Panel:
    """What is shown of one question. meaning: what is well, and what is not. queries: PromQL by legend. bad_from: where it turns red."""

    title: str
    meaning: str
    unit: Unit
    queries: dict[str, str]
    bad_from: float | None = None

    def model(self, number: int) -> dict[str, Any]:
        """The panel in its place: two in a row, in order."""
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        if self.bad_from is not None:
            steps.append({"color": "red", "value": self.bad_from})
        return {
            "id": number + 1,
            "type": "timeseries",
            "title": self.title,
            "description": self.meaning,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "gridPos": {
                "h": _HEIGHT,
                "w": _WIDTH,
                "x": number % _COLUMNS * _WIDTH,
                "y": number // _COLUMNS * _HEIGHT,
            },
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "min": 0,
                    "custom": {"thresholdsStyle": {"mode": "off" if self.bad_from is None else "line"}},
                    "thresholds": {"mode": "absolute", "steps": steps},
                },
                "overrides": [],
            },
            "targets": [
                {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend}
                for place, (legend, query) in enumerate(self.queries.items())
            ],
        }


@dataclass(frozen=True)
class Dashboard:
    """A dashboard. uid: how Grafana tells it from others, for ever."""

    uid: str
    title: str
    panels: tuple[Panel, ...] = field(default_factory=tuple)

    def model(self) -> dict[str, Any]:
        """The whole of it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["kept"],
            "schemaVersion": 39,
            "editable": False,
            "refresh": "30s",
            "time": {"from": "now-6h", "to": "now"},
            "templating": {
                "list": [
                    {
                        "name": "datasource",
                        "label": "Data source",
                        "type": "datasource",
                        "query": "prometheus",
                    }
                ]
            },
            "panels": [panel.model(number) for number, panel in enumerate(self.panels)],
        }
