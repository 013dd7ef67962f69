"""The middle of the compiler: the graph of a cell, its analyses, rewrites and adjoint."""
