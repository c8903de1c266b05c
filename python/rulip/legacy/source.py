"""Old source to code: `async` as a name, `loop=` arguments, generators as coroutines.

Lives here: what is read and rewritten, with every line and column as in the file.
Does not live here: what the rewritten calls do (calls.py).
Thread: any. Invariant: source that uses none of this compiles to the code it always had; what
can't be carried over is a SyntaxError that names its line.

Three steps: tokens (a keyword used as a name), tree (calls and attributes), code (a flag).
"""

import ast
import inspect
import io
import re
import tokenize
from types import CodeType
from typing import Any

from .calls import ADAPT_ATTRIBUTE, ADAPT_FUNCTION, ADAPT_LOCK, PLAIN_ITERATION

#: An identifier is normalised (NFKC) after it was recognised as one: with its first letter in
#: another form it is no keyword, has as many characters, and names the same attribute.
AS_NAME = {"async": "ªsync", "await": "ªwait"}

#: What follows `async` where it is the keyword.
ASYNC_STATEMENTS = frozenset({"def", "for", "with"})

#: What follows `await` where it can't be the operator.
ENDS_A_NAME = frozenset(") ] } , : ; = == != . += -= | & and or in is if else".split())

MAYBE_OLD = re.compile(rb"\b(?:async|await)\b")

#: Functions that take what they did not: `wait` took bare coroutines.
OLD_CALLS = frozenset({"wait"})
OLD_ATTRIBUTES = frozenset({"all_tasks", "current_task"})

Function = ast.FunctionDef | ast.Lambda
Shifts = dict[int, list[int]]  # line -> byte columns (in the rewritten line) of longer letters


def compile_legacy(source: str | bytes, filename: str) -> CodeType:
    """Compile old source; a SyntaxError shows nothing of how it was found."""
    try:
        return _compile(source, filename)
    except SyntaxError as exc:
        raise exc.with_traceback(None) from None


def _compile(source: str | bytes, filename: str) -> CodeType:
    data = source.encode() if isinstance(source, str) else source
    text, shifts = rename_keywords(data)
    tree = ast.parse(text, filename)
    _move_back(tree, shifts)
    rewriter = _Rewriter(filename, data)
    rewriter.visit(tree)
    ast.fix_missing_locations(tree)
    code = compile(tree, filename, "exec", dont_inherit=True)
    return _flag_generators(code, rewriter.delegating)


# -- tokens -----------------------------------------------------------------------------


def rename_keywords(source: bytes) -> tuple[str | bytes, Shifts]:
    """The source with `async` and `await` as plain names where that is what they are."""
    if not MAYBE_OLD.search(source):
        return source, {}
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    lines = io.TextIOWrapper(io.BytesIO(source), encoding).read().splitlines(keepends=True)
    found = _keywords_as_names(source)
    for (row, column), word in found:
        line = lines[row - 1]
        lines[row - 1] = line[:column] + AS_NAME[word] + line[column + len(word) :]
    shifts: Shifts = {}
    for (row, column), _ in found:
        shifts.setdefault(row, []).append(len(lines[row - 1][:column].encode()))
    return "".join(lines), shifts


def _keywords_as_names(source: bytes) -> list[tuple[tuple[int, int], str]]:
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING}
    try:
        read = tokenize.tokenize(io.BytesIO(source).readline)
        tokens = [token for token in read if token.type not in skipped]
    except (tokenize.TokenError, SyntaxError):
        return []  # the compiler says it better
    found = []
    for position, token in enumerate(tokens):
        if token.type != tokenize.NAME or token.string not in AS_NAME:
            continue
        before = tokens[position - 1].string if position else ""
        after = tokens[position + 1] if position + 1 < len(tokens) else None
        if _is_name(token.string, before, after):
            found.append((token.start, token.string))
    return found


def _is_name(word: str, before: str, after: tokenize.TokenInfo | None) -> bool:
    if before in (".", "def", "class", "import", "as", "global", "nonlocal"):
        return True
    following = after.string if after is not None else ""
    if word == "async":
        return following not in ASYNC_STATEMENTS
    ends_line = after is None or after.type in (tokenize.NEWLINE, tokenize.ENDMARKER)
    return ends_line or following in ENDS_A_NAME


def _move_back(tree: ast.AST, shifts: Shifts) -> None:
    """Columns count bytes of UTF-8: take off what the replaced letters added."""
    if not shifts:
        return
    for node in ast.walk(tree):
        for row, column in (("lineno", "col_offset"), ("end_lineno", "end_col_offset")):
            added = shifts.get(getattr(node, row, 0))
            if added:
                at = getattr(node, column)
                setattr(node, column, at - sum(where < at for where in added))


# -- tree -------------------------------------------------------------------------------


class _Rewriter(ast.NodeTransformer):
    """Sends what old programs wrote through calls.py, at the same places in the source."""

    def __init__(self, filename: str, source: bytes) -> None:
        self.filename = filename
        self.source = source
        #: (name, first line) of the generator functions that delegate with `yield from`.
        self.delegating: set[tuple[str, int]] = set()
        self._functions: list[Function | ast.AsyncFunctionDef] = []
        self._guarded = [0]  # depth of `try` in each function

    # Functions.

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Walk into a function."""
        return self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        """Walk into a function."""
        return self._visit_function(node)

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        """Walk into a function."""
        return self._visit_function(node)

    def _visit_function(self, node: Function | ast.AsyncFunctionDef) -> ast.AST:
        self._functions.append(node)
        self._guarded.append(0)
        self.generic_visit(node)
        self._guarded.pop()
        self._functions.pop()
        return node

    def visit_YieldFrom(self, node: ast.YieldFrom) -> ast.AST:
        """Note whose generators must be able to delegate to coroutines."""
        self.generic_visit(node)
        if self._functions:
            function = self._functions[-1]
            name = getattr(function, "name", "<lambda>")
            decorators = getattr(function, "decorator_list", [])
            first = min([function.lineno, *(one.lineno for one in decorators)])
            if name not in PLAIN_ITERATION:
                self.delegating.add((name, first))
        return node

    # Calls and attributes.

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`f(..., loop=loop)`, `f(..., **options)` and `wait(...)`: f may no longer take that."""
        self.generic_visit(node)
        given = {keyword.arg for keyword in node.keywords}
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        if given & {"loop", None} or name in OLD_CALLS:
            node.func = _through(ADAPT_FUNCTION, node.func)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`Task.all_tasks` and `Task.current_task`."""
        self.generic_visit(node)
        if node.attr in OLD_ATTRIBUTES and isinstance(node.ctx, ast.Load):
            name = ast.copy_location(ast.Constant(node.attr), node)
            return _through(ADAPT_ATTRIBUTE, node.value, name)
        return node

    def visit_With(self, node: ast.With) -> ast.AST:
        """`with (yield from lock):`."""
        for item in node.items:
            if isinstance(item.context_expr, ast.YieldFrom):
                delegated = item.context_expr
                delegated.value = _through(ADAPT_LOCK, delegated.value)
        self.generic_visit(node)
        return node

    # What ended.

    def visit_Try(self, node: ast.Try) -> ast.AST:
        """Remember that exceptions are looked at here."""
        self._guarded[-1] += 1
        self.generic_visit(node)
        self._guarded[-1] -= 1
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """`raise StopIteration(value)` in a generator was `return value`."""
        self.generic_visit(node)
        exception = node.exc
        called = exception.func if isinstance(exception, ast.Call) else exception
        is_stop = isinstance(called, ast.Name) and called.id == "StopIteration"
        if not is_stop or not self._functions or not _is_generator(self._functions[-1]):
            return node
        arguments = exception.args if isinstance(exception, ast.Call) else []
        if self._guarded[-1] or len(arguments) > 1:
            self._refuse(
                node,
                "'raise StopIteration' inside 'try' in a generator can't be carried over: "
                "since Python 3.7 it becomes a RuntimeError; write 'return'",
            )
        value = arguments[0] if arguments else None
        return ast.copy_location(ast.Return(value), node)

    def _refuse(self, node: ast.stmt, message: str) -> None:
        lines = self.source.decode("utf-8", "replace").splitlines()
        line = lines[node.lineno - 1] if node.lineno <= len(lines) else None
        raise SyntaxError(message, (self.filename, node.lineno, node.col_offset + 1, line))


def _through(adapter: str, *arguments: ast.expr) -> ast.Call:
    """`adapter(arguments...)` where the first argument stands."""
    name = ast.copy_location(ast.Name(adapter, ast.Load()), arguments[0])
    return ast.copy_location(ast.Call(name, list(arguments), []), arguments[0])


def _is_generator(function: Any) -> bool:
    """Whether a function yields, itself."""
    body = function.body if isinstance(function.body, list) else [function.body]
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return not isinstance(function, ast.AsyncFunctionDef)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting.extend(ast.iter_child_nodes(node))
    return False


# -- code -------------------------------------------------------------------------------


def _flag_generators(code: CodeType, delegating: set[tuple[str, int]]) -> CodeType:
    """Let those generators delegate to native coroutines, as all could before there were any."""
    constants = tuple(
        _flag_generators(one, delegating) if isinstance(one, CodeType) else one
        for one in code.co_consts
    )
    flags = code.co_flags
    if flags & inspect.CO_GENERATOR and (code.co_name, code.co_firstlineno) in delegating:
        flags |= inspect.CO_ITERABLE_COROUTINE
    return code.replace(co_consts=constants, co_flags=flags)
