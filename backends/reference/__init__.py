"""The meaning of the language: every cell, run as it is defined, in NumPy."""

from lsrl.backends.reference.program import gradients, run

__all__ = ["gradients", "run"]
