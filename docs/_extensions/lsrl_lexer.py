"""Highlights LSRL in the docs: `lsrl` blocks are whole programs, `lsrl-fragment` parts, `lsrl-error` refused ones."""

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, String, Text
from sphinx.application import Sphinx

_DECLARATIONS = ("cell", "def", "input", "param", "const", "state", "noise", "output", "node", "edge", "turn")
_WORDS = ("and", "along", "as", "from", "graph", "heads", "hold", "import", "in", "not", "or", "over", "pad")
_WORDS += ("repeat", "reset", "return", "reverse", "shared", "when")
_KINDS = ("float", "complex", "int", "bool")
_CONSTANTS = ("true", "false", "inf", "pi")


class LsrlLexer(RegexLexer):
    """Lexical highlighting only; the grammar decides what is a program."""

    name = "LSRL"
    aliases = ("lsrl", "lsrl-fragment", "lsrl-error")
    filenames = ("*.lsrl",)
    tokens = {  # noqa: RUF012 (pygments reads this attribute of the class)
        "root": [
            (r'"""[\s\S]*?"""', String.Doc),
            (r'"[^"\n]*"', String),
            (r"#.*", Comment.Single),
            (r"(cell|def)(\s+)(\w+)", bygroups(Keyword.Declaration, Text, Name.Function)),
            (words(_DECLARATIONS, suffix=r"\b"), Keyword.Declaration),
            (words(_WORDS, suffix=r"\b"), Keyword),
            (words(_KINDS, suffix=r"\b"), Keyword.Type),
            (words(_CONSTANTS, suffix=r"\b"), Keyword.Constant),
            (r"\d[\d_]*(\.\d+)?([eE][+-]?\d+)?j?", Number),
            (r"\w+'?", Name),
            (r"\*\*|//|==|!=|<=|>=|\.\.\.|[-+*/%@<>=~…]", Operator),
            (r"[()\[\]{},:.']", Punctuation),
            (r"\s+", Text),
            (r".", Text),  # no token of the language: in programs that are refused
        ]
    }


def setup(app: Sphinx) -> dict[str, bool]:
    for alias in LsrlLexer.aliases:
        app.add_lexer(alias, LsrlLexer)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
