"""Rewrites a chat template's syntax tree, so that it reports what it does to its environment.

The hooks that the rewritten template calls are methods of `sandbox.BoundedEnvironment`.
"""

from __future__ import annotations

from typing import Any

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from cocoon_sdk.errors import VerificationError

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


class _Bound(NodeTransformer):
    """Rewrites a template so that it reports to its environment."""

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, nodes.Stmt) and not isinstance(node, _STATEMENTS):
            raise VerificationError(
                f"the model's chat template uses {type(node).__name__}, which is not allowed"
            )
        if isinstance(node, nodes.EnvironmentAttribute):
            return node
        return super().generic_visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        turn = self._turn(node.body)
        self.generic_visit(node)
        # A test is run for elements that never reach the body.
        node.test = nodes.And(turn, node.test) if node.test is not None else None
        node.body.insert(0, nodes.ExprStmt(turn))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        turn = self._turn(node.body)
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(turn))
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        if node.filter is not None:
            raise VerificationError(
                "the model's chat template filters a block, which is not allowed"
            )
        return self.generic_visit(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return self._hook("joined", nodes.List(node.nodes))

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        self.generic_visit(node)
        if node.node is not None:
            node.node = self._hook("made", node.node)
        return self._hook("made", node)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return self._hook("made", node)
        node.arg = self._hashed(node.arg)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        node.key = self._hashed(node.key)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = self._hook("compared", node.expr)
        for operand in node.ops:
            operand.expr = self._hook("compared", operand.expr)
        return node

    def _literal(self, node: nodes.List | nodes.Tuple | nodes.Dict) -> nodes.Node:
        self.generic_visit(node)
        stored = isinstance(node, nodes.Tuple) and node.ctx != "load"
        return node if stored else self._hook("made", node)

    visit_List = visit_Dict = visit_Tuple = _literal

    def _turn(self, body: list[nodes.Node]) -> nodes.Call:
        """The report of one turn; taken before the body is rewritten."""
        chars = sum(len(data.data) for part in body for data in part.find_all(nodes.TemplateData))
        return self._hook("turn", nodes.Const(chars))

    def _hashed(self, key: nodes.Expr) -> nodes.Expr:
        """A key: hashing a tuple visits all of it, every time."""
        return key if isinstance(key, nodes.Const) else self._hook("compared", key)

    def _hook(self, name: str, operand: nodes.Expr) -> nodes.Call:
        return nodes.Call(nodes.EnvironmentAttribute(name), [operand], [], None, None)


def bounded(tree: nodes.Template) -> nodes.Template:
    """The tree with its reports put in.

    Raises:
        VerificationError: the template uses a construct that chat templates do not need.
    """
    return _Bound().visit(tree)  # type: ignore[no-any-return]  # the visitor's results are untyped
