"""The names, in an emitted module, of the texts of C that it carries."""

C_FUNCTIONS = "C_FUNCTIONS"
"""What stands before every kernel: the functions that the module's C uses."""
MATRIX_PRODUCT = "MATRIX_PRODUCT"
"""The function for products of whole sequences with matrices."""
