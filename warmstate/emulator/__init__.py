"""
A local Lambda that starts real processes and really freezes, thaws, resets and ends them.

It knows the platform's wire and lifecycle, never the user's class: any client of the Runtime API runs on it.
"""

from warmstate.emulator.emulator import Emulator
from warmstate.emulator.facts import Instance, InvokeResult
from warmstate.emulator.function import Function
from warmstate.emulator.journal import Event, Journal

__all__ = ["Emulator", "Event", "Function", "Instance", "InvokeResult", "Journal"]
