"""Today's answers are the ones written down."""

from __future__ import annotations

import pytest

from tests.golden import make


@pytest.mark.parametrize("name", make.names())
def test_answers_are_the_recorded_ones(name):
    assert make.made(name) == make.recorded(name)


def test_every_recorded_family_is_still_made():
    assert sorted(path.stem for path in make.FOLDER.glob("*.json")) == make.names()


def test_make_names_what_it_does_not_know(capsys):
    assert make.main(["nothing"]) == 2
    assert "detmath" in capsys.readouterr().err
