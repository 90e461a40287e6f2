"""Writes the dashboards: `python -m deploy.dashboards`."""

import json
from pathlib import Path
from typing import Final

from deploy.dashboards.boards import DASHBOARDS

FOLDER: Final = Path(__file__).parents[1] / "components" / "monitoring" / "dashboards"


def written() -> dict[Path, str]:
    """Each file and what stands in it."""
    return {
        FOLDER / f"{board.uid}.json": json.dumps(board.model(), indent=2, sort_keys=True) + "\n"
        for board in DASHBOARDS
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in written().items():
        path.write_text(text)
