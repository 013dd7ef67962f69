"""What runs a graph: the NumPy reference, and writers of JAX and Triton modules."""
