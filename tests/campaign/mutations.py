"""Small changes to a module that a test ought to notice.

Those of CHECKS take a check away: a `raise` deleted, an `if` that never holds, one part of its
condition ignored, a call whose result nobody wants left out. The others swap operators, constants
and statements. A mutant is named by module, function, operator and source text, not by line number,
so that its name survives edits elsewhere in the file.
"""

from __future__ import annotations

import ast
from typing import NamedTuple

CHECKS = frozenset({"raise", "never", "ignore-part", "no-call", "no-filter"})

_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Pow: ast.Mult,
}
_STYLE = {"frozen", "kw_only", "slots"}  # of classes: mistakes that mypy sees
_SILENT = ("_log.", "super().__init__", "logging.")  # logging is no behaviour worth a test each


class Mutant(NamedTuple):
    """One change; `lines` are those of the statement around it, for the map of tests."""

    module: str
    function: str
    operator: str
    text: str
    nth: int  # among mutants of the same name
    lines: tuple[int, int]
    index: int  # in the order of the walk

    @property
    def name(self) -> str:
        """What it is known by in tables and in the list of harmless ones."""
        nth = f" #{self.nth}" if self.nth > 1 else ""
        return f"{self.module}::{self.function} [{self.operator}] {self.text}{nth}"

    @property
    def is_check(self) -> bool:
        """Whether it takes a check away."""
        return self.operator in CHECKS


class _Walk(ast.NodeTransformer):
    """Lists every place, or changes the one numbered `target`."""

    def __init__(self, module: str, source: str, target: int | None) -> None:
        self.module = module
        self.source = source
        self.target = target
        self.found: list[Mutant] = []
        self._names: dict[tuple[str, str, str], int] = {}
        self._scope: list[str] = []
        self._statement: ast.stmt | None = None

    def _site(self, operator: str, node: ast.AST, text: str | None = None) -> bool:
        """Note a place; whether it is the one to change."""
        if text is None:
            text = ast.get_source_segment(self.source, node) or ast.unparse(node)
        text = " ".join(text.split())[:110]
        function = ".".join(self._scope) or "<module>"
        key = (function, operator, text)
        self._names[key] = self._names.get(key, 0) + 1
        around = node if isinstance(node, ast.stmt) else self._statement
        first = getattr(around, "lineno", 1)
        last = getattr(node, "end_lineno", None) or first
        lines = (min(first, getattr(node, "lineno", first)), last)
        index = len(self.found)
        self.found.append(
            Mutant(self.module, function, operator, text, self._names[key], lines, index)
        )
        return index == self.target

    def visit(self, node: ast.AST) -> ast.AST:
        outer = self._statement
        if isinstance(node, ast.stmt):
            self._statement = node
        try:
            return super().visit(node)  # type: ignore[no-any-return] # typeshed says Any
        finally:
            self._statement = outer

    def _scoped(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        if node.name == "__repr__":
            return node
        self._scope.append(node.name)
        try:
            # Annotations of functions and decorators are left alone, defaults are not.
            if isinstance(node, ast.ClassDef):
                node.keywords = [
                    keyword if keyword.arg in _STYLE else self.visit(keyword)
                    for keyword in node.keywords
                ]
            else:
                node.args.defaults = [self.visit(item) for item in node.args.defaults]
                node.args.kw_defaults = [
                    None if item is None else self.visit(item) for item in node.args.kw_defaults
                ]
            node.body = [self.visit(item) for item in node.body]
        finally:
            self._scope.pop()
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._scoped(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._scoped(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._scoped(node)

    # Checks

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        if self._site("raise", node):
            return ast.Pass()
        return node  # messages are not mutated

    def visit_If(self, node: ast.If) -> ast.AST:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return node
        only_raise = len(node.body) == 1 and isinstance(node.body[0], ast.Raise)
        condition = f"if {ast.unparse(node.test)}"
        if not only_raise and self._site("never", node.test, condition):
            node.test = ast.Constant(value=False)
            return node
        if self._site("always", node.test, condition):
            node.test = ast.Constant(value=True)
            return node
        self.generic_visit(node)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        neutral = isinstance(node.op, ast.And)
        for number, value in enumerate(node.values):
            if self._site("ignore-part", value):
                node.values[number] = ast.Constant(value=neutral)
                return node
        if self._site("and-or", node):
            node.op = ast.Or() if neutral else ast.And()
            return node
        self.generic_visit(node)
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant):
            return node  # a docstring
        call = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(call, ast.Call):
            if ast.unparse(call).startswith(_SILENT):
                return node
            if self._site("no-call", node):
                return ast.Pass()
        self.generic_visit(node)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        for number, condition in enumerate(node.ifs):
            if self._site("no-filter", condition):
                node.ifs[number] = ast.Constant(value=True)
                return node
        self.generic_visit(node)
        return node

    # Everything else

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        for number, operator in enumerate(node.ops):
            if self._site("compare", node):
                node.ops[number] = _COMPARE[type(operator)]()
                return node
        self.generic_visit(node)
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        other = _BINARY.get(type(node.op))
        if other is not None and self._site("arithmetic", node):
            node.op = other()
            return node
        self.generic_visit(node)
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        if isinstance(node.op, ast.Not) and self._site("not", node):
            return node.operand
        self.generic_visit(node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        value = node.value
        if isinstance(value, bool):
            changed: object = not value
        elif isinstance(value, (int, float)):
            changed = value + 1
        elif isinstance(value, bytes):
            changed = value + b"X"
        else:
            return node
        return ast.Constant(value=changed) if self._site("constant", node) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if self._scope and self._scope[-1].lstrip("_")[:1].isupper():
            # In a class: the limits of a msgspec Struct live in its annotations.
            node.annotation = self.visit(node.annotation)
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if (
            self._scope
            and any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
            and self._site("no-assign", node)
        ):
            return ast.Pass()
        node.value = self.visit(node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if self._site("no-assign", node):
            return ast.Pass()
        node.value = self.visit(node.value)
        return node

    def visit_Delete(self, node: ast.Delete) -> ast.AST:
        return ast.Pass() if self._site("no-delete", node) else node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        if node.value is None or isinstance(node.value, ast.Constant):
            if self._site("no-return", node):
                return ast.Pass()
            return node
        self.generic_visit(node)
        return node

    def visit_Continue(self, node: ast.Continue) -> ast.AST:
        return ast.Break() if self._site("continue-break", node) else node

    def visit_Break(self, node: ast.Break) -> ast.AST:
        return ast.Continue() if self._site("continue-break", node) else node


def find(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of the source."""
    walk = _Walk(module, source, None)
    walk.visit(ast.parse(source))
    return walk.found


def mutate(mutant: Mutant, source: str) -> ast.Module:
    """The module with this one change."""
    walk = _Walk(mutant.module, source, mutant.index)
    tree = walk.visit(ast.parse(source))
    assert isinstance(tree, ast.Module)
    return ast.fix_missing_locations(tree)
