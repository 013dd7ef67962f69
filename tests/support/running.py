"""Running cells with random arrays: in the reference, and as emitted modules."""

from lsrl.random_arrays import random_array, random_arrays

__all__ = ["random_array", "random_arrays"]
