"""The source of the handler that runs a fault, and then tells whether it leaked."""

from __future__ import annotations

import textwrap

__all__ = ["source_of"]

_MODULE = """
import asyncio, builtins, ctypes, datetime, decimal, gc, inspect, json, locale, logging, os, resource, signal, socket
import subprocess, sys, tempfile, threading, time, warnings
PY311 = sys.version_info >= (3, 11)
PID, HOME, KEEP = os.getpid(), os.getcwd(), []
GETPID = os.getpid
os.umask(0o022)

class Hostile:
    def __repr__(self): raise RuntimeError
    __str__ = __repr__

class Unprintable(Exception):
    def __str__(self): raise RuntimeError
    __repr__ = __str__

class Liar(Exception):
    @property
    def __class__(self): raise RuntimeError

class Closed(Exception):
    def __getattribute__(self, name): raise RuntimeError

class Nameless(Exception, metaclass=type("Meta", (type,), {"__name__": property(lambda cls: 1 / 0)})):
    pass

class Leaving(Exception):
    def __str__(self): sys.exit(3)

def failing_generator(after=0):
    for number in range(after): yield b"x"
    raise ValueError("x")

def iter_of(items):
    yield from items

def forking_generator():
    yield b"a"
    os.fork()
    yield b"b"

async def forking_async_generator():
    yield b"a"
    os.fork()
    await asyncio.sleep(0)
    yield b"b"

async def forking_coroutine():
    os.fork()
    await asyncio.sleep(0)
    return {"pid": GETPID()}

class Broken:
    def __getattr__(self, name): raise RuntimeError(name)

def stubborn_generator():
    try:
        while True: yield b"x" * 1000 if time.time() < STOP else stop()
    except GeneratorExit:
        raise ValueError("no")

def stop(): raise ValueError("enough")

async def failing_coroutine():
    await asyncio.sleep(0)
    raise ValueError("x")

def USE_UP():
    KEEP.append(opened := [])
    try:
        while True: opened.append(os.open("/dev/null", 0))
    except OSError: pass

def CLOSE_SOCKETS():
    for number in range(3, 100):
        try: socket.socket(fileno=number).close()
        except OSError: pass

def UMASK():
    mask = os.umask(0); os.umask(mask); return mask

def VM():
    return int(open("/proc/self/statm").read().split()[0]) * 4096

def handler(event, context):
    global STOP
    if event["fault"]:
        STOP = time.time() + 0.2
        SECONDS = context.get_remaining_time_in_millis() / 1000
        return fault(event, context, SECONDS)
    return {"pid": GETPID(), "id": context.aws_request_id, "probe": bool(PROBE), "n": event["n"]}

def fault(event, context, SECONDS):
FAULT
    return {"pid": GETPID()}
"""


def source_of(code: str, probe: str) -> str:
    """The `app` module of a fault."""
    return _MODULE.replace("FAULT", textwrap.indent(code, "    ")).replace("PROBE", probe)
