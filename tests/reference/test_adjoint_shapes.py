"""A gradient has an element for every element of what it is by, whatever the derivative is."""

import numpy as np

import lsrl

ROUNDED = """
cell rounded(D):
    input x: [D], s: []
    state h: [D] = 0
    h' = h / 2
    output y = round(x), z = round(s), w = h' + 1
"""


def test_a_derivative_that_is_zero_everywhere_is_zero_at_each_place() -> None:
    fn = lsrl.compile(lsrl.parse(ROUNDED), target="reference", sizes={"D": 3})
    found = fn.gradients({}, {"x": np.ones((2, 4, 3)), "s": np.ones((2, 4))})
    assert {name: array.shape for name, array in found.inputs.items()} == {"x": (2, 4, 3), "s": (2, 4)}
    assert not any(array.any() for array in found.inputs.values())
    np.testing.assert_allclose(found.state["h"], np.full((2, 3), 1 / 2 + 1 / 4 + 1 / 8 + 1 / 16))
