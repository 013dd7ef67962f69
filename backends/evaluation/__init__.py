"""Evaluating the values of a graph in NumPy: what every operation means."""
