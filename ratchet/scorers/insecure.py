"""Insecure patterns in Python, found in its syntax tree: calls and literals, no data flow.

A pattern says "look here", not "this is a hole"; a hole that takes two steps is not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

Names = dict[str, str]
Check = Callable[[ast.Call, str], bool]

SHELLS = ("subprocess.run", "subprocess.call", "subprocess.Popen", "subprocess.check_output", "subprocess.check_call")
REQUESTS = ("requests.", "httpx.", "aiohttp.")
SAFE_LOADERS = ("SafeLoader", "CSafeLoader", "BaseLoader")
SECRET_WORDS = ("password", "passwd", "secret", "token", "api_key", "apikey")
SQL_VERBS = ("select ", "insert ", "update ", "delete ", "drop ")


def find_insecure(tree: ast.AST) -> Iterator[str]:
    """The name of each insecure pattern, once per place."""
    names = _imports(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _called(node.func, names)
            yield from (name for name, check in CALLS.items() if check(node, called))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and _is_secret_literal(node):
            yield "secret_in_code"


def _imports(tree: ast.AST) -> Names:
    """What each imported name stands for, so that `from pickle import loads as l` is seen."""
    names: Names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return names


def _called(function: ast.expr, names: Names) -> str:
    """The dotted name of what is called; what has no name is `?`."""
    if isinstance(function, ast.Name):
        return names.get(function.id, function.id)
    if isinstance(function, ast.Attribute):
        return f"{_called(function.value, names)}.{function.attr}"
    return "?"


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((k.value for k in call.keywords if k.arg == name), None)


def _is(value: ast.expr | None, constant: object) -> bool:
    return isinstance(value, ast.Constant) and value.value is constant


def _is_yaml_load(call: ast.Call, called: str) -> bool:
    if called not in ("yaml.load", "yaml.load_all"):
        return False
    loader = _keyword(call, "Loader") or (call.args[1] if len(call.args) > 1 else None)
    return loader is None or _called(loader, {}).rpartition(".")[2] not in SAFE_LOADERS


def _is_shell(call: ast.Call, called: str) -> bool:
    return called in ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput") or (
        called in SHELLS and _is(_keyword(call, "shell"), True)
    )


def _is_weak_hash(call: ast.Call, called: str) -> bool:
    is_named = called == "hashlib.new" and bool(call.args) and _text(call.args[0]).lower() in ("md5", "sha1", "md4")
    is_declared_harmless = _is(_keyword(call, "usedforsecurity"), False)
    return (called in ("hashlib.md5", "hashlib.sha1") or is_named) and not is_declared_harmless


def _is_sql_by_format(call: ast.Call, called: str) -> bool:
    """execute(...) on SQL whose text is put together: f-string, %, + or .format."""
    if called.rpartition(".")[2] not in ("execute", "executemany", "executescript", "raw") or not call.args:
        return False
    query = call.args[0]
    is_format = isinstance(query, ast.Call) and isinstance(query.func, ast.Attribute) and query.func.attr == "format"
    is_joined = isinstance(query, ast.BinOp) and not _is_literal(query)
    has_fields = isinstance(query, ast.JoinedStr) and any(isinstance(v, ast.FormattedValue) for v in query.values)
    return (is_format or is_joined or has_fields) and any(verb in _text(query).lower() for verb in SQL_VERBS)


def _is_literal(node: ast.expr) -> bool:
    return all(isinstance(n, ast.Constant | ast.BinOp | ast.operator) for n in ast.walk(node))


def _text(node: ast.AST) -> str:
    return " ".join(n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def _is_secret_literal(node: ast.Assign | ast.AnnAssign) -> bool:
    """password = "…": a text of six letters or more that is no placeholder."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    names = [t.id.lower() if isinstance(t, ast.Name) else "" for t in targets]
    value = node.value.value if isinstance(node.value, ast.Constant) else None
    is_written = isinstance(value, str) and len(value) >= 6 and value[0] not in "<{$" and "your" not in value.lower()
    return is_written and any(word in name for name in names for word in SECRET_WORDS)


CALLS: dict[str, Check] = {
    "eval": lambda call, called: (
        called in ("eval", "exec", "builtins.eval", "builtins.exec")
        and not (call.args and isinstance(call.args[0], ast.Constant))
    ),
    "pickle": lambda call, called: (
        called in ("pickle.load", "pickle.loads", "dill.load", "dill.loads", "marshal.loads", "shelve.open")
    ),
    "shell": _is_shell,
    "yaml_load": _is_yaml_load,
    "no_tls_check": lambda call, called: (
        called == "ssl._create_unverified_context"
        or (called.startswith(REQUESTS) and _is(_keyword(call, "verify"), False))
    ),
    "weak_hash": _is_weak_hash,
    "sql_by_format": _is_sql_by_format,
    "open_to_all": lambda call, called: _is(_keyword(call, "debug"), True) and called.endswith(".run"),
    "temporary_name": lambda call, called: called == "tempfile.mktemp",
    "untrusted_weights": lambda call, called: (
        (called == "torch.load" and not _is(_keyword(call, "weights_only"), True))
        or _is(_keyword(call, "trust_remote_code"), True)
    ),
}
