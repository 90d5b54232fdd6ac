"""No function whose bits depend on the processor in an answer path: logarithms, powers, BLAS, float means.

ONE_ANSWER, section 1: answers use + - * / sqrt, fma, rint, comparisons, integers and ``core.detmath``. libm and BLAS
choose other code on other processors, and give other bits. A use that is no part of an answer is allowed by name,
with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("core", "engines", "cluster", "quality", "customers", "personality")
FILES = sorted(path for room in ROOMS for path in (ROOT / "gpuseg" / room).rglob("*.py"))

LIBM = {
    "exp",
    "exp2",
    "expm1",
    "log",
    "log10",
    "log1p",
    "log2",
    "pow",
    "power",
    "float_power",
    "cbrt",
    "hypot",
}
LIBM |= {"sin", "cos", "tan", "arctan2", "atan2", "sinh", "cosh", "tanh", "logaddexp", "logaddexp2"}
BLAS = {"dot", "einsum", "inner", "linalg", "matmul", "outer", "tensordot", "vdot"}
FLOAT_SUMS = {"average", "mean", "nanmean", "nanstd", "nanvar", "std", "var"}
FORBIDDEN = LIBM | BLAS | FLOAT_SUMS
MODULES = {"math", "numpy", "cmath", "scipy"}

ALLOWED: dict[tuple[str, str], str] = {
    (
        "engines/cpu/products.py",
        "matmul",
    ): "a screen: its error is bounded for any BLAS, open rows go by the chain",
}
"""(file under gpuseg/, what is used): why it is no part of an answer."""


def aliases(tree: ast.AST) -> tuple[set[str], dict[str, str]]:
    """Names that stand for a numerical module, and names that stand for one of its functions."""
    modules, functions = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in MODULES:
                    modules.add((alias.asname or alias.name).partition(".")[0])
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            functions |= {alias.asname or alias.name: alias.name for alias in node.names}
    return modules, functions


def uses(text: str) -> Iterator[tuple[int, str]]:
    """(line, what) for every forbidden use in a source text."""
    tree = ast.parse(text)
    modules, functions = aliases(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if (
                module in modules and name in FORBIDDEN
            ):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Load()) if functions.get(name) in FORBIDDEN:
                yield node.lineno, functions[name]
            case ast.Attribute(attr="dot"):  # the method; records of ours may have a mean
                yield node.lineno, ".dot"
            case ast.BinOp(op=ast.MatMult()) | ast.AugAssign(op=ast.MatMult()):
                yield node.lineno, "@"
            case ast.BinOp(op=ast.Pow(), right=right) if not is_integer(right):
                yield node.lineno, "**"
            case ast.Call(func=ast.Name(id="pow")) if "pow" not in functions:
                yield node.lineno, "pow"


def is_integer(node: ast.expr) -> bool:
    """Whether an exponent is surely an integer: a literal, or a name and integer arithmetic."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int)
        case ast.UnaryOp(operand=operand):
            return is_integer(operand)
        case ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv(), left=left, right=right):
            return is_integer(left) and is_integer(right)
        case ast.Name() | ast.Attribute() | ast.Subscript():
            return True  # the type is mypy's business
    return False


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import numpy as np\nnp.log(x)", "log"),
        ("import numpy as np\ny = np.linalg.norm(x)", "linalg"),
        ("import numpy\nf = numpy.exp", "exp"),
        ("from math import log1p as g\ng(x)", "log1p"),
        ("import math\nmath.pow(x, 2)", "pow"),
        ("pow(x, 0.5)", "pow"),
        ("a @ b", "@"),
        ("a @= b", "@"),
        ("x ** 0.5", "**"),
        ("x ** (1 / 3)", "**"),
        ("x.dot(y)", ".dot"),
        ("import numpy as np\nnp.mean(x)", "mean"),
    ],
)
def test_the_lint_finds(text, found):
    assert [what for _, what in uses(text)] == [found]


@pytest.mark.parametrize(
    "text",
    [
        "import numpy as np\nnp.sqrt(x) + np.rint(x)",
        "from gpuseg.core import detmath\ndetmath.log(x)",
        "import math\nmath.fsum(x) * math.ldexp(1.0, 3)",
        "x ** 2 + 2 ** (e - 1) + 2 ** -40",
        "log = logging.getLogger('a')\nlog.info('b')",
    ],
)
def test_the_lint_lets_pass(text):
    assert list(uses(text)) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_answer_paths_are_clean(path):
    inside = path.relative_to(ROOT / "gpuseg").as_posix()
    found = [
        (line, what) for line, what in uses(path.read_text(encoding="utf-8")) if (inside, what) not in ALLOWED
    ]
    assert found == [], f"{inside}: use core.detmath, wide sums or math.fsum, or allow it with a reason"


def test_nothing_is_allowed_in_vain():
    found = {
        (path.relative_to(ROOT / "gpuseg").as_posix(), what)
        for path in FILES
        for _, what in uses(path.read_text(encoding="utf-8"))
    }
    assert set(ALLOWED) <= found
