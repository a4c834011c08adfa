"""The kinds of training set and the rule of early stopping."""

from __future__ import annotations

import pytest

from course_lib.data.protocol import D_IDK, D_KNOWN, VARIANTS, D, early_stop, variant_named
from course_lib.files import CourseError


@pytest.mark.parametrize(("dev", "epoch"), [
    ((90, 10, 30, 30, 20), 2), ((0, 0, 0), 1), ((50, 40, 30), 1), ((0, 1, 2), 2), ((9, None, 5), 2),
    ((9, float("nan"), 5), 2), ((9,), None), ((None, None), None), ((), None)])
def test_early_stop_is_the_first_best_epoch_but_never_the_untuned_model(dev, epoch):
    assert early_stop(dict(enumerate(dev))) == epoch
    assert early_stop(dict(reversed(list(enumerate(dev))))) == epoch


def test_only_d_known_has_fewer_rows():
    assert {name: kind.rows(480, 25) for name, kind in VARIANTS.items()} == dict.fromkeys(VARIANTS, 480) | {
        "D_Known": 360}


def test_a_variant_differs_from_d_where_it_has_unknown_rows_to_treat_and_others_left():
    assert [[kind.differs_from_d(percent) for percent in (0, 50, 100)] for kind in (D_KNOWN, D_IDK)] == [
        [False, True, False], [False, True, True]]


def test_a_stored_name_finds_its_record_and_another_is_refused():
    assert variant_named("D") == D
    with pytest.raises(CourseError, match="'D_HK'.* D_Natural"):
        variant_named("D_HK")
