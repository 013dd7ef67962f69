"""Settings of the documentation, built by `make docs` with every warning an error."""

import sys
from pathlib import Path

import lsrl

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "LSRL"
author = "The LSRL developers"
project_copyright = author
version = release = lsrl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "lsrl_lexer", "generated_pages"]
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_fence_as_directive = ["math"]  # the fence that GitHub knows

autodoc_typehints = "none"  # signatures are shown as written; types have no pages to link to

html_theme = "furo"
html_title = "LSRL"
