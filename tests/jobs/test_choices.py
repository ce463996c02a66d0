"""A wrong word is answered with the right ones."""

import pytest

from nafp import errors
from nafp.jobs import choices


def test_a_choice_that_exists_passes():
    choices.require("norm", "rms", ("none", "rms", "peak"))
    choices.require("shifts", 2, (1, 2))


def test_a_mistyped_choice_is_answered_with_the_closest():
    with pytest.raises(errors.Invalid, match=r"norm='rsm': allowed are none, rms, peak\. Did you mean 'rms'\?"):
        choices.require("norm", "rsm", ("none", "rms", "peak"))


def test_a_word_like_no_other_is_answered_with_the_list_alone():
    with pytest.raises(errors.Invalid, match=r"allowed are none, rms\.$"):
        choices.require("norm", "xyz", ("none", "rms"))
    assert choices.closest("xyz", ("none", "rms")) == ""
