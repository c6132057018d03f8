"""
Every error of warmstate.

    WarmstateError
    ├── DeclarationError            a class declares a slot, tail or resource in a way that cannot work
    ├── ConfigurationError          an environment variable or option has a value that cannot be used
    ├── HandlerError                the configured handler cannot be loaded
    │   ├── MalformedHandlerName
    │   ├── HandlerImportError
    │   ├── HandlerSyntaxError
    │   ├── HandlerNotFound
    │   └── BuiltInModuleConflict
    ├── PayloadError                an event or an answer is not what JSON and the platform allow
    │   ├── EventDecodeError
    │   ├── EventRefused            an event arrived in a form that can only be answered with an error
    │   ├── ContextDecodeError
    │   ├── AnswerEncodeError
    │   └── AnswerTooLarge
    ├── DeadlinePassed              the deadline of an invocation was over before its work could count
    ├── ResetRequested              raised by a handler that wants a fresh process
    ├── TransportError              the Runtime API cannot be reached or speaks nonsense
    │   └── UnanswerableEvent       an event came without a request id to answer it under
    ├── LifecycleError              a call that the lifecycle does not allow now
    ├── CommitError                 committed state could not be written, so the invocation fails
    ├── CodecError                  a value cannot be encoded or decoded, with the path to it
    ├── BudgetExceeded              a value does not fit the bytes allowed to stay resident
    ├── TenantMismatch              an event of one tenant reached an environment of another
    ├── FlushError                  a tail's flush method failed; the batch is kept
    └── ResourceError               a resource cannot be opened

Each class has a `wire_type`: the `errorType` under which the platform and the caller see it.
The first sentence of its docstring says what happened, the second what to do; docs/reference.md shows them as a table.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmstate.wire.runtime_api import Invocation

__all__ = [
    "AnswerEncodeError",
    "AnswerTooLarge",
    "BudgetExceeded",
    "BuiltInModuleConflict",
    "CodecError",
    "CommitError",
    "ConfigurationError",
    "ContextDecodeError",
    "DeadlinePassed",
    "DeclarationError",
    "EventDecodeError",
    "EventRefused",
    "FlushError",
    "HandlerError",
    "HandlerImportError",
    "HandlerNotFound",
    "HandlerSyntaxError",
    "LifecycleError",
    "MalformedHandlerName",
    "PayloadError",
    "ResetRequested",
    "ResourceError",
    "TenantMismatch",
    "TransportError",
    "UnanswerableEvent",
    "WarmstateError",
]


class WarmstateError(Exception):
    """
    The base of every error that warmstate raises.

    Catch one of its subclasses; this one is for those who want them all.
    """

    wire_type = "Runtime.WarmstateError"
    """The `errorType` under which the platform and the caller see this error."""


class DeclarationError(WarmstateError, TypeError):
    """
    Raised when a class is created whose slots, tails or resources cannot work as declared.

    Write what the message shows.
    """

    wire_type = "Runtime.DeclarationError"


class ConfigurationError(WarmstateError, ValueError):
    """
    Raised when an environment variable or option has a value that cannot be used; the message names it.

    Correct the variable or option that the message names.
    """

    wire_type = "Runtime.ConfigurationError"


class HandlerError(WarmstateError):
    """
    Raised when the configured handler cannot be loaded.

    Look at the function's handler setting; the subclass says what is wrong with it.
    """

    wire_type = "Runtime.HandlerError"


class MalformedHandlerName(HandlerError):
    """
    Raised when the handler's name has no module and attribute part.

    Name it `module.Class` or `module.function`.
    """

    wire_type = "Runtime.MalformedHandlerName"


class HandlerImportError(HandlerError):
    """
    Raised when the handler's module, or something it imports, cannot be imported.

    Add the missing module to the package or a layer, built for the function's Python and processor.
    """

    wire_type = "Runtime.ImportModuleError"


class HandlerSyntaxError(HandlerError):
    """
    Raised when the handler's module, or something it imports, is not valid Python.

    Mend the line that the trace shows; it may be too new for the function's Python.
    """

    wire_type = "Runtime.UserCodeSyntaxError"


class HandlerNotFound(HandlerError):
    """
    Raised when the handler's module has no attribute of the configured name.

    Correct the name after the last dot.
    """

    wire_type = "Runtime.HandlerNotFound"


class BuiltInModuleConflict(HandlerError):
    """
    Raised when the handler's module has the name of a module built into the interpreter.

    Rename the file: Python finds its own module first.
    """

    wire_type = "Runtime.BuiltInModuleConflict"


class PayloadError(WarmstateError, ValueError):
    """
    Raised when an event or an answer is not what JSON and the platform allow.

    See the subclass.
    """

    wire_type = "Runtime.PayloadError"


class EventDecodeError(PayloadError):
    """
    Raised when an event's body is not the UTF-8 JSON that its content type promises.

    Mend what the caller sends, or its content type; other types than JSON reach the handler as bytes.
    """

    wire_type = "Runtime.UnmarshalError"


class ContextDecodeError(PayloadError):
    """
    Raised when the client context or the Cognito identity of a request is not the JSON object that it must be.

    Mend what the caller sends as client context.
    """

    wire_type = "Runtime.LambdaContextUnmarshalError"


class EventRefused(PayloadError):
    """
    Raised when an event arrived in a form that can only be answered with an error; carries its invocation.

    Send what Lambda accepts; events larger than 6 MB belong into S3.
    """

    wire_type = "Runtime.InvalidEvent"

    def __init__(self, message: str, invocation: Invocation) -> None:
        super().__init__(message)
        self.invocation = invocation


class AnswerEncodeError(PayloadError):
    """
    Raised when a handler's result cannot be written as JSON; the message has the path to the value.

    Convert the value at that path, or return `Raw`.
    """

    wire_type = "Runtime.MarshalError"


class AnswerTooLarge(PayloadError):
    """
    Raised when an answer is larger than the platform accepts; carries both sizes in bytes.

    Return a reference, or stream the answer from a generator.
    """

    wire_type = "Function.ResponseSizeTooLarge"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"Response payload size exceeded maximum allowed payload size ({limit} bytes): this answer has {size} bytes. "
            "Return a reference (for example an object's key), or stream the answer from a generator."
        )
        self.size = size
        self.limit = limit


class DeadlinePassed(WarmstateError):
    """
    Raised when the deadline of an invocation was over before its work could count; nothing of it is committed.

    Raise the function's timeout, or do less in one invocation; look at `context.remaining`.
    """

    wire_type = "Runtime.DeadlinePassed"


class ResetRequested(WarmstateError):
    """
    Raised by a handler to fail its invocation and continue in a fresh process of the same environment.

    Raise it when the process itself is beyond repair; committed slots are kept as of the last commit.
    """

    wire_type = "Function.ResetRequested"


class TransportError(WarmstateError, ConnectionError):
    """
    Raised when the Runtime API cannot be reached or answers with something that is not its protocol.

    Nothing on Lambda: the process ends and the platform starts another. Elsewhere, start what serves `AWS_LAMBDA_RUNTIME_API`.
    """

    wire_type = "Runtime.TransportError"


class UnanswerableEvent(TransportError):
    """
    Raised when an event came without a request id under which it could be answered; the event is dropped.

    Report it to whoever serves the Runtime API.
    """

    wire_type = "Runtime.UnanswerableEvent"


class LifecycleError(WarmstateError, RuntimeError):
    """
    Raised on a call that the lifecycle does not allow in the present state.

    Call it where the message says that it works.
    """

    wire_type = "Runtime.LifecycleError"


class CommitError(WarmstateError):
    """
    Raised when committed state could not be written; the invocation fails and the last commit stays valid.

    Look at the space in `/tmp` and at `WARMSTATE_TMP`.
    """

    wire_type = "Runtime.CommitError"


class CodecError(WarmstateError, ValueError):
    """
    Raised when a value cannot be encoded or decoded; `path` leads to it, for example `$.a[3].b`.

    Annotate the type that the value really has, or give it one of the types that the codec knows.
    """

    wire_type = "Runtime.CodecError"

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(message if path == "$" else f"{path}: {message}")
        self.message = message
        self.path = path


class BudgetExceeded(WarmstateError):
    """
    Raised when a value can never fit the bytes allowed to stay resident; the old value is kept.

    Store less under one key, or raise `store_budget` or the function's memory.
    """

    wire_type = "Runtime.BudgetExceeded"


class TenantMismatch(WarmstateError):
    """
    Raised when an event of one tenant reaches an environment, or state, that belongs to another.

    Make the function with tenant isolation, and keep no partition of the store across invocations.
    """

    wire_type = "Runtime.TenantMismatch"


class FlushError(WarmstateError):
    """
    Raised when a tail's flush method failed where its success was needed; the batch is kept.

    See the cause: the flush method's own error. Items that a flush could not write are offered again.
    """

    wire_type = "Runtime.FlushError"


class ResourceError(WarmstateError):
    """
    Raised when a resource cannot be opened; the cause is chained.

    See the cause: the resource's own error.
    """

    wire_type = "Runtime.ResourceError"
