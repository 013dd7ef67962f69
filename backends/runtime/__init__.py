"""Functions that emitted modules define for themselves: real Python here, copied as text there.

Each file imports only its framework (and triton, math, functools), never anything of lsrl.
"""
