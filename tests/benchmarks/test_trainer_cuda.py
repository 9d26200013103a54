"""What the trainer's benchmark does where there is no GPU, and how it grades where there is one."""

from __future__ import annotations

import re

import pytest
import torch
import trainer_cuda


def test_without_a_gpu_no_number_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says that there is none and that nothing was measured; a number would be made up."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        trainer_cuda.main()
    told = f"{ended.value.code}{''.join(capsys.readouterr())}"
    assert "no CUDA device" in told
    assert not re.search(r"\d", told)


def test_without_a_gpu_no_figures_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of an earlier run on a GPU stay as they are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(trainer_cuda, "write_figures", lambda *_: pytest.fail("figures were written"))
    with pytest.raises(SystemExit):
        trainer_cuda.main()


@pytest.mark.parametrize(
    ("rate", "grade"), [(39.9, "below the floor"), (40, "floor"), (80, "good"), (119, "good"), (500, "excellent")]
)
def test_a_rate_gets_the_highest_grade_it_reaches(rate: float, grade: str) -> None:
    """A bar is reached, not passed."""
    assert trainer_cuda.Bar(40, 80, 120).judge(rate) == grade


def test_a_mere_floor_and_chatty_steps_are_told() -> None:
    """Good is the goal, and a captured step starts next to nothing from the host."""
    figures = {"a_grade": "floor", "a_launches": 21, "b_grade": "good", "b_launches": 20}
    assert [sentence.partition(" ")[0] for sentence in trainer_cuda.list_missed(figures)] == ["a_grade", "a_launches"]
