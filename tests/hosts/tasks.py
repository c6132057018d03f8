"""Handlers that several files of tests give to the runtime."""

from __future__ import annotations

TELL = """
import os
from warmstate import StatefulHandler

class Handler(StatefulHandler):
    def on_init(self, init):
        self.begun = [init.start, init.generation, init.reset_reason]

    def on_thaw(self, thaw):
        self.thaws = getattr(self, "thaws", 0) + 1

    def handle(self, event, context):
        if event.get("exit"):
            os._exit(3)
        thaw = context.thaw
        return {
            "start": context.start,
            "begun": self.begun,
            "generation": context.generation,
            "frozen_for": thaw and thaw.frozen_for,
            "thaws": getattr(self, "thaws", 0),
            "pid": os.getpid(),
        }

    def before_shutdown(self, shutdown):
        print("before_shutdown", shutdown.reason, shutdown.interrupted, flush=True)
"""

SLEEP = TELL.replace(
    "if event.get",
    "if event.get('sleep'): import time; print('sleeps', flush=True); time.sleep(event['sleep'])\n        if event.get",
    1,
)


BOTH = """
import functools
from warmstate import State, StatefulHandler, state

class Counter(StatefulHandler):
    seen: State[int] = state(default=0, survives="reset")

    def on_init(self, init):
        print("on_init", init.start, flush=True)

    def handle(self, event, context):
        self.seen += event
        return self.seen

    def before_shutdown(self, shutdown):
        print("before_shutdown", flush=True)

class Other(Counter):
    def handle(self, event, context):
        return counts(event, context)

counts = Counter.as_lambda_handler()

def wrapper(function):
    @functools.wraps(function)
    def wrapped(event, context):
        print("wrapped", flush=True)
        return function(event, context)
    return wrapped

class Proxy:
    def __getattr__(self, name):
        return getattr(counts, name)

    def __call__(self, event, context):
        print("wrapped", flush=True)
        return counts(event, context)

wrapped, proxy = wrapper(counts), Proxy()
"""
