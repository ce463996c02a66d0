"""A shape that a signature states is refused when it is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import jax
import numpy as np
import pytest

from nafp import errors
from tests import shapes

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def distances(rows: Float[Array, "N D"], query: Float[Array, " D"], most: float = 1.0) -> Float[Array, " N"]:
    """Returns distances, or wrongly one number when `most` is negative."""
    return ((rows - query[None]) ** 2).sum(1) if most > 0 else rows.sum()


class Scale:
    """Multiplies."""

    def __call__(self, rows: Float[Array, "N D"] | None) -> tuple[Float[Array, "N D"], int] | None:
        return None if rows is None else (2 * rows, 1)


ROWS = np.zeros((5, 3), np.float32)


def test_arrays_as_stated_pass_from_numpy_jax_and_under_jit():
    checked = shapes.checked(distances)
    assert checked(ROWS, query=ROWS[0]).shape == (5,)
    assert jax.jit(checked)(ROWS, ROWS[0]).shape == (5,)


@pytest.mark.parametrize(
    "rows, query, message",
    [
        (ROWS[0], ROWS[0], r"distances: rows is float32\[3\], not Float\[Array, .N D.\]"),
        (ROWS, ROWS[0, :2], r"distances: query is float32\[2\], not Float\[Array, . D.\]"),  # D is 3 by then.
        (ROWS.astype(int), ROWS[0], r"distances: rows is int64\[5, 3\]"),
        (ROWS.tolist(), ROWS[0], r"distances: rows is list"),
    ],
)
def test_a_wrong_shape_or_type_is_refused(rows, query, message):
    with pytest.raises(TypeError, match=message):
        shapes.checked(distances)(rows, query)


def test_a_function_may_refuse_a_shape_itself():
    def first(rows: Float[Array, "N D"]) -> Float[Array, " D"]:
        if rows.ndim != 2:
            raise errors.Invalid("rows: need [N, D]")
        return rows[7]

    with pytest.raises(errors.Invalid, match="need"):
        shapes.checked(first)(ROWS[0])
    with pytest.raises(IndexError):
        shapes.checked(first)(ROWS)
    with pytest.raises(TypeError, match="first: rows is list"):  # Instead of AttributeError.
        shapes.checked(first)(ROWS.tolist())


def test_a_wrong_result_is_refused():
    with pytest.raises(TypeError, match=r"distances: return is float32\[\], not Float\[Array, . N.\]"):
        shapes.checked(distances)(ROWS, ROWS[0], most=-1)


def test_functions_and_methods_of_a_module_are_checked_while_it_is_held():
    module = sys.modules[__name__]
    with shapes.held(module):
        assert Scale()(ROWS)[0].shape == (5, 3)
        assert Scale()(None) is None
        with pytest.raises(TypeError, match=r"Scale\.__call__: rows"):
            Scale()(ROWS[0])
        with pytest.raises(TypeError, match="distances: rows"):
            module.distances(ROWS[0], ROWS[0])
    Scale()(ROWS[0])
