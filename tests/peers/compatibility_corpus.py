"""
What handlers written for the stock runtime are given and return: each row runs on both runtimes, and the answers are compared.

`same` is how far they must agree: "bytes" of the body; "value", the same JSON in other bytes; "type", when both report the
same error and the words differ; "nothing", when the answers differ on purpose. Where it is not "bytes", `because` is the heading in docs/compatibility.md
that says why.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CASES", "INIT_CASES", "Case", "InitCase", "source_of"]


class Case(NamedTuple):
    """`code` is the body of a handler `(event, context)`; `headers` are added to those of the invocation."""

    name: str
    code: str
    event: bytes = b"{}"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    same: str = "bytes"
    because: str = ""


class InitCase(NamedTuple):
    """`files` are the function's; the init of `handler` fails on both runtimes."""

    name: str
    handler: str
    files: dict[str, str]
    same: str = "bytes"
    because: str = ""


# What comes in.
EVENTS = (
    Case("an empty object", "return event"),
    Case("nested containers", "return event", b'{"a": [1, 2, {"b": null}], "c": {"d": true}}'),
    Case("a string as event", "return event", b'"text"'),
    Case("a number as event", "return event", b"12"),
    Case("null as event", "return event", b"null"),
    Case("false as event", "return event", b"false"),
    Case("a list as event", "return event", b"[1, 2, 3]"),
    Case("spaces around the event", "return event", b' \n {"a": 1} \t'),
    Case("floats", "return event", b'{"a": 1.5, "b": 1e10, "c": -0.0, "d": 1E-7, "e": 123456789.123456789}'),
    Case("integers beyond 64 bits", "return event", b'{"a": 123456789012345678901234567890, "b": -9223372036854775809}'),
    Case("text beyond ASCII", "return event", '{"a": "grüße 日本語 🎞"}'.encode()),
    Case("escapes", "return event", rb'{"a": "\u00e9\ud83c\udf9e\n\t\"\\\/\u0000"}'),
    Case("line separators", "return event", '{"a": "\u2028\u2029"}'.encode()),
    Case("a duplicate key", "return event", b'{"a": 1, "a": 2}'),
    Case("order of keys", "return list(event)", b'{"z": 1, "a": 2, "m": 3}'),
    Case("types of what was decoded", "return [type(value).__name__ for value in event]", b'[1, 1.0, "a", null, true, {}, []]'),
    Case("an event of 1 MB", "return len(event['a'])", b'{"a": "' + b"x" * 1_000_000 + b'"}'),
    Case("200 levels", "return event", b"[" * 200 + b"]" * 200),
    Case("bytes that are not JSON by their type", "return [type(event).__name__, event.decode()]", b"not json", {"Content-Type": "text/plain"}),
    Case("not JSON", "return event", b"{not json}", same="type", because="Events"),
    Case("an event of no bytes", "return event", b"", same="type", because="Events"),
    Case("bytes that are not UTF-8", "return event", b'{"a": "\xff"}', same="type", because="Events"),
    Case("more after the value", "return event", b"{} {}", same="type", because="Events"),
    Case("NaN in an event", "return str(event)", b'{"a": NaN}', same="nothing", because="Events"),
    Case("a number that overflows", "return str(event)", b'{"a": 1e999}', same="nothing", because="Events"),
    Case("JSON of another name", "return type(event).__name__", b"{}", {"Content-Type": "application/json; charset=utf-8"}, same="nothing", because="Events"),
)  # fmt: skip

# What goes out.
ANSWERS = (
    Case("None", "return None"),
    Case("nothing returned", "pass"),
    Case("an empty string", "return ''"),
    Case("a string of JSON", "return '{\"a\": 1}'"),
    Case("zero", "return 0"),
    Case("True", "return True"),
    Case("a large integer", "return 10 ** 40"),
    Case("floats out", "return [0.1, 1e100, 1e-7, -0.0, 3.0, 1e16, 123456789012345680.0]"),
    Case("a tuple", "return (1, (2, 3))"),
    Case("a named tuple", "return Point(1, [Point(2, 3)])"),
    Case("an ordered dict", "return collections.OrderedDict(b=1, a=2)"),
    Case("a default dict", "d = collections.defaultdict(list); d['a'].append(1); return d"),
    Case("subclasses of str, int and float", "return [Text('a'), Number(7), Real(0.5)]"),
    Case("an enum of ints", "return [Color.RED, {'c': Color.RED}]"),
    Case("an HTTP answer", "return {'statusCode': 200, 'headers': {'a': 'b'}, 'body': json.dumps({'x': 'é'}), 'isBase64Encoded': False}"),
    Case("text out beyond ASCII", "return {'ü': 'grüße 日本語 🎞'}"),
    Case("control characters", r"return '\x00\x1f\x7f\u2028\u2029</script>'"),
    Case("a lone surrogate", r"return {'a': '\ud800'}", same="nothing", because="Answers"),
    Case("Decimals", "return {'a': D('1.10'), 'b': [D('0'), D('-1E+2'), D('123456789.000')]}"),
    Case("a Decimal alone", "return D('1.10')"),
    Case("keys that are numbers", "return {1: 'a', 2.5: 'b'}"),
    Case("keys that are None and booleans", "return {None: 'a', True: 'b', False: 'c'}"),
    Case("bytes", "return b'\\xff\\x00raw'"),
    Case("empty bytes", "return b''"),
    Case("5 MB", "return 'x' * 5_000_000"),
    Case("100 levels out", "a = []\nfor _ in range(100): a = [a]\nreturn a"),
    Case("an object with a method _asdict", "return [Named()]"),
    Case("a dict of another class", "return collections.Counter('aab')"),
    Case("the batch answer of SQS", "return {'batchItemFailures': [{'itemIdentifier': 'm-1'}]}"),
    Case("a set", "return {1}", same="type", because="Answers"),
    Case("a datetime", "return {'a': [{'when': datetime.datetime.now()}]}", same="type", because="Answers"),
    Case("an object", "return object()", same="type", because="Answers"),
    Case("bytes inside", "return {'a': b'x'}", same="nothing", because="Answers"),
    Case("a tuple as a key", "return {(1, 2): 3}", same="type", because="Answers"),
    Case("a cycle", "a = []; a.append(a); return a", same="type", because="Answers"),
    Case("an integer of 5,000 digits", "return [10 ** 5000]", same="type", because="Answers"),
    Case("a dict whose items raise", "return [Raising(a=1)]", same="value", because="Answers"),
    Case("a mock", "return unittest.mock.MagicMock()", same="type", because="Answers"),
    Case("bytes as a key", "return {b'a': 1}", same="nothing", because="Answers"),
    Case("NaN as a key", "return {float('nan'): 1}", same="nothing", because="Answers"),
    Case("NaN", "return {'a': float('nan')}", same="nothing", because="Answers"),
    Case("Infinity", "return float('inf')", same="nothing", because="Answers"),
    Case("a Decimal that is no number", "return D('NaN')", same="nothing", because="Answers"),
    Case("keys that collide", "return {1: 'a', '1': 'b'}", same="nothing", because="Answers"),
    Case("a coroutine", "async def later(): return 1\nreturn later()", same="nothing", because="Async handlers and generators"),
    Case("a generator", "return (b'x' for _ in range(3))", same="nothing", because="Async handlers and generators"),
)  # fmt: skip

# What is raised.
ERRORS = (
    Case("an exception", "raise ValueError('no')"),
    Case("an exception without words", "raise KeyError"),
    Case("a key that is missing", "return event['missing']"),
    Case("words beyond ASCII", "raise ValueError('grüße 🎞')", same="value", because="Errors"),
    Case("several lines", "raise ValueError('a\\nb\\tc')"),
    Case("an exception of one's own", "raise Own('x', 2)"),
    Case("a class whose name is beyond ASCII", "raise type('Größe', (Exception,), {})('x')", same="value", because="Errors"),
    Case("a deeper stack", "return outer(event)"),
    Case("an exception with a cause", "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('wrapped') from error"),
    Case("an exception group", "raise ExceptionGroup('several', [ValueError(1), KeyError(2)])"),
    Case("a failed assertion", "assert event == 1, 'not one'"),
    Case("an error inside a library", "return json.loads('{')"),
    Case("a system error", "open('/does/not/exist')"),
    Case("StopIteration", "return next(iter([]))"),
    Case("endless recursion", "return endless()", same="type", because="Errors"),
    Case("sys.exit", "sys.exit(3)", same="nothing", because="Errors"),
    Case("KeyboardInterrupt", "raise KeyboardInterrupt", same="nothing", because="Errors"),
    Case("a client context that is no JSON", "return 1", headers={"Lambda-Runtime-Client-Context": "{"}, same="type", because="Errors"),
    Case("an identity that is no JSON", "return 1", headers={"Lambda-Runtime-Cognito-Identity": "{"}, same="type", because="Errors"),
)  # fmt: skip

# What a handler can ask.
ASKED = (
    Case("the context's attributes", "return [context.function_name, context.function_version, context.memory_limit_in_mb, context.log_group_name, context.log_stream_name, context.invoked_function_arn, context.aws_request_id, context.tenant_id]"),
    Case("types of the context's attributes", "return {name: type(getattr(context, name)).__name__ for name in ('function_name', 'memory_limit_in_mb', 'aws_request_id', 'identity', 'client_context')}", same="nothing", because="Context"),
    Case("the time that remains", "left = context.get_remaining_time_in_millis(); return [type(left).__name__, 50_000 < left <= 60_000]"),
    Case("no client context", "return [context.client_context, context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id]"),
    Case("a client context", "c = context.client_context; return [c.custom, c.env, c.client.app_title, c.client.installation_id, c.client.app_package_name]",
         headers={"Lambda-Runtime-Client-Context": '{"custom": {"a": 1}, "env": {"b": "2"}, "client": {"app_title": "t", "installation_id": "i"}}'}),
    Case("a client context without client", "c = context.client_context; return [c.custom, c.env, c.client]", headers={"Lambda-Runtime-Client-Context": '{"custom": {}}'}),
    Case("an identity", "return [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id]",
         headers={"Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}'}),
    Case("trace headers of W3C", "return [context.w3c(), hasattr(context.client_context, 'w3c')]",
         headers={"Lambda-Runtime-Client-Context": '{"w3c": {"traceparent": "00-1", "other": "x", "baggage": 3}}'}),
    Case("the trace in the environment", "return os.environ.get('_X_AMZN_TRACE_ID')", headers={"Lambda-Runtime-Trace-Id": "Root=1-5e-1;Sampled=1"}),
    Case("the trace after it is gone", "return os.environ.get('_X_AMZN_TRACE_ID')"),
    Case("attributes of one's own on the context", "context.mine = 1; return context.mine"),
    Case("the working directory", "return os.getcwd() == os.environ['LAMBDA_TASK_ROOT']"),
    Case("the module's name", "return [__name__, handler.__module__]"),
    Case("the module is imported once", "import app; return app.handler is handler"),
    Case("state in a global", "return next(COUNTER)"),
    Case("state in a global, again", "return next(COUNTER)"),
    Case("formatters tell UTC", "return logging.Formatter.converter is time.gmtime"),
    Case("the root logger has one handler", "return [type(handler).__name__ for handler in logging.getLogger().handlers]"),
    Case("the root logger's level", "return logging.getLogger().level"),
    Case("a tenant", "return context.tenant_id", headers={"Lambda-Runtime-Aws-Tenant-Id": "blue"}),
    Case("another tenant after it", "return context.tenant_id", headers={"Lambda-Runtime-Aws-Tenant-Id": "green"}, same="nothing", because="Context"),
)  # fmt: skip

CASES = EVENTS + ANSWERS + ERRORS + ASKED

_TROUBLE = "def handler(event, context): return 1\n"
INIT_CASES = (
    InitCase("a missing module", "absent.handler", {}),
    InitCase("a missing module in a package", "pack.absent.handler", {"pack/__init__.py": ""}),
    InitCase("a missing handler", "app.absent", {"app.py": _TROUBLE}),
    InitCase("an import that fails inside", "app.handler", {"app.py": "import no_such_module\n" + _TROUBLE}),
    InitCase("a name that cannot be imported", "app.handler", {"app.py": "from json import no_such_name\n" + _TROUBLE}),
    InitCase("a module of the interpreter", "sys.handler", {"sys.py": _TROUBLE}, "type", "Handlers"),
    InitCase("no dot", "app", {"app.py": _TROUBLE}, "type", "Handlers"),
    InitCase("a syntax error", "app.handler", {"app.py": "def handler(:\n"}),
    InitCase("a syntax error inside", "app.handler", {"app.py": "import other\n" + _TROUBLE, "other.py": "1 +\n"}),
    InitCase("an exception at import", "app.handler", {"app.py": "raise ValueError('at import')\n"}, "type", "Handlers"),
    InitCase("an exception inside an import", "app.handler", {"app.py": "import other\n", "other.py": "def f(): 1 / 0\nf()\n"}, "type", "Handlers"),
)  # fmt: skip

_MODULE = """
import collections, datetime, decimal, enum, itertools, json, logging, os, sys, time, unittest.mock

D = decimal.Decimal
COUNTER = itertools.count()
Point = collections.namedtuple("Point", "x y")

class Text(str): pass
class Number(int): pass
class Real(float): pass
class Own(Exception): pass
class Raising(dict):
    def items(self): raise LookupError("mine")
class Named:
    def _asdict(self): return {"a": (1, {"b": None})}
class Color(enum.IntEnum):
    RED = 1

def outer(event): return inner(event)
def inner(event): raise LookupError("deep")
def endless(): return endless()

def handler(event, context):
    return globals()["case_" + context.aws_request_id.rpartition("-")[2]](event, context)
"""


def source_of(cases: tuple[Case, ...]) -> str:
    """The `app` module in which the last number of the request id chooses the case."""
    functions = [
        f"def case_{number}(event, context):\n" + "".join(f"    {line}\n" for line in case.code.splitlines())
        for number, case in enumerate(cases)
    ]
    return _MODULE + "\n" + "\n".join(functions)
