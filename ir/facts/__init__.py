"""What is known about the recurrences of a cell, derived from its graph and from nothing else."""
