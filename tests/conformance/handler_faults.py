"""What handlers do to a runtime: each row is one handler that misbehaves once."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["HANDLER_FAULTS", "HandlerFault"]


class HandlerFault(NamedTuple):
    """
    `code` is the body of the handler for the faulty event; `answer` what it must lead to: "error", "response" or either.

    `probe` is an expression that a later handler evaluates; it must be true, or the fault leaked.
    `error_type` is what the caller must see; `restarts` marks what no process survives: the next one answers.
    """

    id: str
    name: str
    code: str
    answer: str = "error"
    error_type: str | None = None
    probe: str = "True"
    restarts: bool = False
    variables: dict[str, str] = {}  # noqa: RUF012 - never changed


F = HandlerFault

HANDLER_FAULTS = (
    F("H1", "exception", "raise ValueError('x')", error_type="ValueError"),
    F("H1", "exception group", "raise ExceptionGroup('g', [ValueError(1)]) if PY311 else ValueError", "error"),
    F("H1", "exception class without arguments", "raise KeyError", error_type="KeyError"),
    F("H1", "StopIteration", "raise StopIteration", error_type="StopIteration"),
    F("H2", "sys.exit()", "sys.exit()", error_type="Runtime.HandlerExit"),
    F("H2", "sys.exit(0)", "sys.exit(0)", error_type="Runtime.HandlerExit"),
    F("H2", "sys.exit with text", "sys.exit('bye')", error_type="Runtime.HandlerExit"),
    F("H2", "exit whose code cannot be shown", "raise SystemExit(Hostile())", error_type="Runtime.HandlerExit"),
    F("H3", "KeyboardInterrupt", "raise KeyboardInterrupt", error_type="KeyboardInterrupt"),
    F("H3", "GeneratorExit", "raise GeneratorExit", error_type="GeneratorExit"),
    F("H3", "own BaseException", "raise type('Own', (BaseException,), {})()", error_type="Own"),
    F("H3", "BaseExceptionGroup", "raise BaseExceptionGroup('g', [KeyboardInterrupt()]) if PY311 else GeneratorExit"),
    F("H3", "SIGINT to itself", "os.kill(os.getpid(), signal.SIGINT); time.sleep(1)", "any"),
    F("H4", "os._exit", "os._exit(3)", "none", restarts=True),
    F("H4", "segfault", "ctypes.string_at(0)", "none", restarts=True),
    F("H5", "endless recursion", "def f(): f()\nf()", error_type="RecursionError"),
    F("H5", "a recursion limit of 60", "sys.setrecursionlimit(len(inspect.stack(0)) + 30)\nraise ValueError('x')"),
    F("H5", "recursion with a low limit", "sys.setrecursionlimit(len(inspect.stack(0)) + 30)\ndef f(): f()\nf()"),
    F("H6", "MemoryError", "raise MemoryError", error_type="MemoryError"),
    F("H6", "an allocation that is too large", "bytearray(1 << 62)", error_type="MemoryError"),
    F("H6", "memory used up", "resource.setrlimit(resource.RLIMIT_AS, (VM() + 64_000_000, -1))\nx = []\nwhile True: x.append(bytearray(1_000_000))", error_type="MemoryError"),
    F("H7", "slower than its deadline", "time.sleep(SECONDS + 0.3)", "any"),
    F("H9", "a set", "return {1, 2}", error_type="Runtime.MarshalError"),
    F("H9", "a datetime", "return {'a': [datetime.datetime.now()]}", error_type="Runtime.MarshalError"),
    F("H9", "an object", "return object()", error_type="Runtime.MarshalError"),
    F("H9", "a tuple as a key", "return {(1, 2): 3}", error_type="Runtime.MarshalError"),
    F("H9", "a coroutine from a sync function", "async def f(): return {'late': 1}\nreturn f()", "response"),
    F("H10", "NaN", "return float('nan')", error_type="Runtime.MarshalError"),
    F("H10", "Infinity, deep inside", "return {'a': [{'b': float('-inf')}]}", error_type="Runtime.MarshalError"),
    F("H11", "bytes", "return b'\\xff\\x00'", "response"),
    F("H11", "bytes inside", "return {'a': b'x'}", error_type="Runtime.MarshalError"),
    F("H12", "a lone surrogate", "return {'a': '\\ud800'}", "response"),
    F("H13", "a cycle", "a = []; a.append(a); return a", error_type="Runtime.MarshalError"),
    F("H13", "100,000 levels", "a = []\nfor _ in range(100_000): a = [a]\nreturn a", error_type="Runtime.MarshalError"),
    F("H14", "keys that collide", "return {1: 'a', '1': 'b'}", error_type="Runtime.MarshalError"),
    F("H15", "7 MB", "return 'x' * 7_000_000", error_type="Function.ResponseSizeTooLarge"),
    F("H15", "7 MB of bytes", "return b'x' * 7_000_000", error_type="Function.ResponseSizeTooLarge"),
    F("H16", "a generator that raises at once", "return failing_generator()", error_type="ValueError"),
    F("H16", "a generator that raises later", "return failing_generator(5)", "response"),
    F("H16", "a generator that yields an int", "return iter_of([b'a', 5])", "response"),
    F("H16", "a generator that is never closed", "return stubborn_generator()", "response"),
    F("H17", "an exception whose str raises", "raise Unprintable()", error_type="Unprintable"),
    F("H17", "an exception whose class name is hostile", "raise type('a\\r\\nb', (Exception,), {})()"),
    F("H17", "an exception whose class lies", "raise Liar()", error_type="Liar"),
    F("H17", "an exception without attributes", "raise Closed()", error_type="Closed"),
    F("H17", "an exception whose class has no name", "raise Nameless()", error_type="Nameless"),
    F("H17", "an exception that exits when asked", "raise Leaving()", error_type="Leaving"),
    F("H18", "a surrogate in the message", "raise ValueError('\\ud800')", error_type="ValueError"),
    F("H18", "line breaks and NULs in the message", "raise ValueError('a\\r\\n\\0b')", error_type="ValueError"),
    F("H18", "a message of 10 MB", "raise ValueError('x' * 10_000_000)", error_type="ValueError"),
    F("P32", "3,000 causes", "e = None\nfor i in range(3000):\n n = ValueError(i); n.__cause__ = e; e = n\nraise e"),
    F("H19", "a thread left behind", "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()", "response"),
    F("H19", "a thread that is not a daemon", "threading.Thread(target=time.sleep, args=(60,)).start()", "response"),
    F("H19", "a thread that raises", "threading.Thread(target=lambda: 1 / 0).start()", "response"),
    F("H20", "a child left behind", "subprocess.Popen(['sleep', '60'])", "response"),
    F("H20", "a child that died", "subprocess.Popen(['true'])", "response"),
    F("H21", "a fork that returns", "os.fork()", "response"),
    F("H21", "a fork that raises", "\nif os.fork() == 0: raise ValueError\n", "response"),
    F("H22", "2 MB of output", "print('x' * 2_000_000)", "response"),
    F("H22", "2 MB of output without a line end", "sys.stdout.write('x' * 2_000_000)", "response"),
    F("H23", "stdout is None", "sys.stdout = sys.stderr = None\nraise ValueError('x')"),
    F("H23", "stdout is closed", "sys.stdout.close(); sys.stderr.close()\nraise ValueError('x')"),
    F("H23", "descriptors 0 to 2 are closed", "os.closerange(0, 3)\nraise ValueError('x')"),
    F("H24", "all descriptors are closed", "os.closerange(3, 1024)", "response"),
    F("H24", "really all descriptors", "os.closerange(0, 1024)", "response"),
    F("H25", "a working directory that is gone", "d = tempfile.mkdtemp(); os.chdir(d); os.rmdir(d)", "response", probe="os.getcwd() == HOME"),
    F("H25", "another working directory", "os.chdir('/')", "response", probe="os.getcwd() == HOME"),
    F("H26", "an empty environment", "os.environ.clear()", "response", probe="'AWS_LAMBDA_RUNTIME_API' in os.environ and 'PATH' in os.environ"),
    F("H26", "another AWS region", "os.environ['AWS_REGION'] = 'mars-1'", "response"),
    F("H27", "umask", "os.umask(0o777)", "response", probe="UMASK() == 0o022"),
    F("H27", "locale", "locale.setlocale(locale.LC_ALL, 'C.UTF-8')", "response"),
    F("H27", "decimal context", "decimal.getcontext().prec = 1", "response", probe="decimal.getcontext().prec == 28"),
    F("H27", "socket default timeout", "socket.setdefaulttimeout(0.001)", "response", probe="socket.getdefaulttimeout() is None"),
    F("H27", "SIGTERM ignored", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", "response", probe="signal.getsignal(signal.SIGTERM) != signal.SIG_IGN"),
    F("H27", "an alarm that goes off later", "signal.signal(signal.SIGALRM, lambda *a: 1 / 0); signal.setitimer(signal.ITIMER_REAL, 0.05)", "response"),
    F("H27", "wakeup descriptor", "signal.set_wakeup_fd(-1)", "response"),
    F("H27", "sys.settrace", "sys.settrace(lambda *a: None)", "response", probe="sys.gettrace() is None"),
    F("H27", "sys.setprofile", "sys.setprofile(lambda *a: None)", "response", probe="sys.getprofile() is None"),
    F("H27", "recursion limit", "sys.setrecursionlimit(200)", "response", probe="sys.getrecursionlimit() == 1000"),
    F("H27", "warnings as errors", "warnings.simplefilter('error')", "response"),
    F("H27", "garbage collector off", "gc.disable()", "response", probe="gc.isenabled()"),
    F("H27", "sys.modules cleared", "sys.modules.clear()", "response"),
    F("H27", "json broken", "json.dumps = json.loads = None", "response"),
    F("H27", "builtins damaged", "builtins.print = builtins.open = None", "response"),
    F("H27", "most builtins gone", "for n in 'len int str isinstance type getattr print open dict list bytes max min any all map set'.split(): vars(builtins)[n] = None", probe="len('x') == 1"),
    F("H27", "no clocks", "for n in dir(time): vars(time)[n] = None", "response"),
    F("H27", "the runtime's modules are gone, and a stream", "for n in [n for n in sys.modules if n.startswith('warmstate')]: del sys.modules[n]\nreturn iter_of([b'a'])", "any"),
    F("H27", "os functions damaged", "os.write = os.getpid = os.pwrite = None", "response"),
    F("H27", "sys.path emptied", "sys.path.clear()", "response"),
    F("H28", "descriptors used up", "x = []\ntry:\n while True: x.append(os.open('/dev/null', 0))\nexcept OSError: KEEP.append(x)", "response"),
    F("H28", "descriptors used up, and a failure", "x = []\nKEEP.append(x)\nwhile True: x.append(os.open('/dev/null', 0))", error_type="OSError"),
    F("H28", "descriptors used up, and a stream", "USE_UP()\nreturn iter_of([b'a'])", "any"),
    F("H28", "descriptors used up, and a coroutine", "USE_UP()\nreturn failing_coroutine()"),
    F("H28", "the API's sockets closed and descriptors used up", "CLOSE_SOCKETS(); USE_UP()", "response"),
    F("H28", "everything closed and descriptors used up", "os.closerange(0, 20_000); USE_UP()", "response"),
    F("H28", "a limit of no descriptors", "resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\nraise ValueError('x')", error_type="ValueError"),
    F("H29", "logging shut down", "logging.shutdown(); logging.getLogger().handlers.clear()", "response"),
    F("H29", "logging disabled", "logging.disable(logging.CRITICAL)", "response"),
    F("H30", "a context that is emptied", "vars(context).clear()", "response"),
    F("H30", "a context of other values", "context.aws_request_id = 'other'; context._epoch_deadline_time_in_ms = 0", "response"),
    F("H31", "an async handler that raises", "return failing_coroutine()", error_type="ValueError"),
    F("H31", "asyncio.run inside", "asyncio.run(asyncio.sleep(0))", "response"),
    F("H31", "a loop that is closed", "asyncio.new_event_loop().close(); asyncio.set_event_loop(None)", "response"),
)  # fmt: skip
