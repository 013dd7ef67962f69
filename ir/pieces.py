"""Values that are cut into pieces along an axis, which reads better as one statement than as slices."""

from __future__ import annotations

from collections.abc import Sequence

from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, integer
from lsrl.ir.value import Value


def pieces(value: Value, users: Sequence[Value]) -> tuple[Value, ...]:
    """The users, in order, where they are slices that cut the value along one axis into parts."""
    if len(users) < 2 or any(user.op != "slice" or user.attr("step") != 1 for user in users):
        return ()
    axes = {integer(user.attr("axis")) for user in users}
    following = {dim(user.attr("start")): user for user in users}
    found, place = [], Dim.of(0)
    while place in following:
        found.append(following.pop(place))
        place = place + dim(found[-1].attr("size"))
    whole = len(axes) == 1 and not following and place == value.shape[axes.pop()]
    return tuple(found) if whole else ()
