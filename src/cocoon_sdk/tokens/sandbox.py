"""The environment that chat templates run in: Jinja's immutable sandbox, plus a bound on their work.

The template is foreign code (engine.md, "Tokenizer and template"). Its syntax tree is rewritten before
it is compiled: constructs that chat templates do not need are refused, loops and macros report each
turn, and whatever makes a new value reports its size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import nodes
from jinja2.ext import loopcontrols
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from cocoon_sdk.errors import VerificationError
from cocoon_sdk.tokens.filters import charge_join, charge_replace, template_filters
from cocoon_sdk.tokens.work import UNITS_PER_ITEM, Work

_STATEMENTS = (
    nodes.Assign,
    nodes.AssignBlock,
    nodes.Break,
    nodes.Continue,
    nodes.ExprStmt,
    nodes.For,
    nodes.If,
    nodes.Macro,
    nodes.Output,
    nodes.With,
)
_STR_METHODS = frozenset(
    [
        "capitalize",
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isdigit",
        "islower",
        "isspace",
        "isupper",
        "join",
        "lower",
        "lstrip",
        "partition",
        "removeprefix",
        "removesuffix",
        "replace",
        "rfind",
        "rpartition",
        "rsplit",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "title",
        "upper",
    ]
)
_METHODS: dict[type, frozenset[str]] = {
    str: _STR_METHODS,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset(),
}


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose renderings run against an account of work; see `spending`."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self) -> None:
        # Constant folding would run a template's expressions while compiling, before there is an account.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=self.shown,
            extensions=[loopcontrols],
        )
        self._work: Work | None = None
        self.filters = template_filters(self._account)
        self.globals = {name: self.globals[name] for name in ("dict", "namespace")} | {
            "range": self._range
        }

    @contextmanager
    def spending(self, work: Work) -> Iterator[None]:
        """Charge what is rendered inside to `work`. One rendering at a time."""
        self._work = work
        try:
            yield
        finally:
            self._work = None

    def _account(self) -> Work:
        if self._work is None:
            raise VerificationError("a chat template ran outside of its bounds")
        return self._work

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        bounded = _Bound(self).visit(tree)
        bounded.set_environment(self)
        return bounded  # type: ignore[no-any-return]  # the visitor's results are untyped

    # The hooks below are called by rewritten templates.

    def turn(self, literal_chars: int) -> bool:
        """One turn of a loop or call of a macro, which may emit this much literal text."""
        self._account().charge(literal_chars)
        self._account().tick()
        return True

    def made(self, value: Any) -> Any:
        """A fresh value."""
        self._account().shallow(value)
        return value

    def compared(self, value: Any) -> Any:
        """A value that is about to be compared."""
        if isinstance(value, str | list | tuple | dict):
            self._account().deep(value)
        return value

    def joined(self, parts: list[Any]) -> str:
        """The `~` operator."""
        return "".join([self.shown(part) for part in parts])

    def shown(self, value: Any) -> str:
        """A value that becomes text; charged before it does."""
        if isinstance(value, Undefined):
            return str(value)
        if not isinstance(value, str):
            self._account().deep(value)
        text = str(value)
        self._account().charge(len(text))
        return text

    def _range(self, *args: int) -> range:
        values = range(*args)
        self._account().charge(UNITS_PER_ITEM * len(values))
        return values

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Only listed methods of plain data; Jinja's own rule for the rest."""
        for kind, names in _METHODS.items():
            if isinstance(obj, kind):
                return attr in names
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """No formatting: a width in a format string makes text without bound."""
        del value
        return None

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063
        """Charge the two text methods that can explode, and the result of every call."""
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            if __obj.__name__ == "replace":
                charge_replace(__self._account(), owner, args[0], args[1])
            elif __obj.__name__ == "join":
                charge_join(__self._account(), owner, args[0])
            else:
                __self._account().charge(len(owner))
        return __self.made(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Charge the operators that make long values; refuse powers and `%` formatting."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise TypeError(f"a chat template may not use {operator} here")
        if operator == "*":
            for value, times in ((left, right), (right, left)):
                if isinstance(value, str | list | tuple) and isinstance(times, int):
                    self._account().charge(UNITS_PER_ITEM * len(value) * max(times, 0))
        elif operator == "+" and isinstance(left, str | list | tuple):
            self.made(left)
            self.made(right)
        return self.made(super().call_binop(context, operator, left, right))


class _Bound(NodeTransformer):
    """Rewrites a template so that it reports to its environment."""

    def __init__(self, environment: BoundedEnvironment) -> None:
        self._environment = environment

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            raise VerificationError(
                f"the model's chat template uses {type(node).__name__}, which is not allowed"
            )
        if isinstance(node, nodes.EnvironmentAttribute):
            return node
        return super().generic_visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        turn = self._turn(node.body)
        self.generic_visit(node)
        # A test is run for elements that never reach the body.
        node.test = nodes.And(turn, node.test) if node.test is not None else None
        node.body.insert(0, nodes.ExprStmt(turn))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        turn = self._turn(node.body)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(turn))
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:  # noqa: N802
        if node.filter is not None:
            raise VerificationError(
                "the model's chat template filters a block, which is not allowed"
            )
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._hook("joined", nodes.List(node.nodes))

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        if node.node is not None:
            node.node = self._hook("made", node.node)
        return self._hook("made", node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return self._hook("made", node) if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = self._hook("compared", node.expr)
        for operand in node.ops:
            operand.expr = self._hook("compared", operand.expr)
        return node

    def _literal(self, node: nodes.List | nodes.Tuple | nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        stored = isinstance(node, nodes.Tuple) and node.ctx != "load"
        return node if stored else self._hook("made", node)

    visit_List = visit_Dict = visit_Tuple = _literal  # noqa: N815

    def _turn(self, body: list[nodes.Node]) -> nodes.Call:
        """The report of one turn; taken before the body is rewritten."""
        chars = sum(len(data.data) for part in body for data in part.find_all(nodes.TemplateData))
        return self._hook("turn", nodes.Const(chars))

    def _hook(self, name: str, operand: nodes.Expr) -> nodes.Call:
        return nodes.Call(nodes.EnvironmentAttribute(name), [operand], [], None, None)
