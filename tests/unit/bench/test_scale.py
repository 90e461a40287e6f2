"""How much is measured is said by --scale, or by SCALE: what is neither is refused before an hour of measuring begins."""

import sys

import pytest

from bench import __main__ as bench


@pytest.mark.parametrize(("words", "variable"), [([], "smal"), (["--scale", "smal"], "small"), ([], "")])
def test_a_scale_that_there_is_not_is_refused(
    monkeypatch: pytest.MonkeyPatch, words: list[str], variable: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench", "empty_rpc", *words])
    monkeypatch.setenv("SCALE", variable)
    monkeypatch.setattr(
        "bench.__main__.importlib.import_module", lambda name: pytest.fail(f"{name} is measured")
    )
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
