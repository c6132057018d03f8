"""
What an execution environment says about itself, read once from its variables.

1. Pure: a mapping comes in, facts come out; nothing here looks at `os.environ`.
2. A bad value of ours (`WARMSTATE_...`) is an error that names the variable, the value and what is allowed.
3. Of the platform's variables only those that change how the runtime works are checked; the rest may be absent or odd,
   as they are under emulators and in images.
"""

from __future__ import annotations

from warmstate.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LOG_LEVELS", "SETTINGS", "Environment"]

LOG_LEVELS = ("debug", "info", "warning", "error", "off")
"""What `WARMSTATE_LOG` accepts: from which level on the runtime's own notices are logged."""

SETTINGS = {
    "WARMSTATE_TMP": "directory for markers, journals and spill; default /tmp",
    "WARMSTATE_TRANSPORT": "client of the Runtime API: native or requests; default native",
    "WARMSTATE_THAW_AFTER": "seconds of freeze from which an instance counts as thawed; default 1",
    "WARMSTATE_SHUTDOWN_BUDGET": "seconds that before_shutdown, flushes and closing may take together; default 0.3",
    "WARMSTATE_INSPECT": "file that receives the instance's info() as JSON before each next; default none",
    "WARMSTATE_CLOCK": "file by which an emulator moves the instance's clocks; default none",
    "WARMSTATE_LOG": "from which level the runtime's own notices are logged: debug, info, warning, error, off; default warning",
    "WARMSTATE_EXTENSION": "on or off: register the silent internal extension that makes the platform send SIGTERM; default on",
    "WARMSTATE_ADOPT": "same-code or any-code: whose commits a new process takes over; any-code is for development; default same-code",
    "WARMSTATE_DUMP_STACKS": "seconds before a deadline at which all stacks are logged, 0 for never; default 0.2",
}
"""Every variable of ours that the runtime reads, and what it means."""

_TYPES = ("on-demand", "provisioned-concurrency", "snap-start", "lambda-managed-instances")
_LONGEST_TIMEOUT = 900.0  # seconds; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html


class Environment:
    """
    The facts of one execution environment, fixed for the life of the process.

    `runtime_api` is `host:port`, possibly with a path, and empty where no Runtime API is there (the test kit).
    `function_name`, `function_version`, `log_group_name`, `log_stream_name` are None where the platform set none.
    `memory_mb` is in MB (None when unknown), `timeout`, `thaw_after`, `shutdown_budget` and `dump_stacks` in seconds.
    `max_concurrency` is set on Managed Instances alone.
    """

    __slots__ = (
        "adopt",
        "dump_stacks",
        "execution_env",
        "extension",
        "function_name",
        "function_version",
        "handler",
        "initialization_type",
        "inspect",
        "log",
        "log_format",
        "log_group_name",
        "log_level",
        "log_stream_name",
        "max_concurrency",
        "memory_mb",
        "runtime_api",
        "shutdown_budget",
        "task_root",
        "telemetry_log_fd",
        "thaw_after",
        "timeout",
        "tmp",
        "transport",
    )

    def __init__(
        self,
        *,
        runtime_api: str = "",
        handler: str = "",
        task_root: str = "",
        function_name: str | None = None,
        function_version: str | None = None,
        memory_mb: int | None = None,
        log_group_name: str | None = None,
        log_stream_name: str | None = None,
        initialization_type: str = "on-demand",
        max_concurrency: int | None = None,
        execution_env: str | None = None,
        log_format: str = "text",
        log_level: str | None = None,
        telemetry_log_fd: int | None = None,
        timeout: float = _LONGEST_TIMEOUT,
        tmp: str = "/tmp",  # noqa: S108 - the one place that Lambda lets a function write to
        transport: str = "native",
        thaw_after: float = 1.0,
        shutdown_budget: float = 0.3,
        inspect: str | None = None,
        log: str = "warning",
        extension: bool = True,
        dump_stacks: float = 0.2,
        adopt: str = "same-code",
    ) -> None:
        self.runtime_api = runtime_api
        self.handler = handler
        self.task_root = task_root
        self.function_name = function_name
        self.function_version = function_version
        self.memory_mb = memory_mb
        self.log_group_name = log_group_name
        self.log_stream_name = log_stream_name
        self.initialization_type = initialization_type
        self.max_concurrency = max_concurrency
        self.execution_env = execution_env
        self.log_format = log_format
        self.log_level = log_level
        self.telemetry_log_fd = telemetry_log_fd
        self.timeout = timeout
        self.tmp = tmp
        self.transport = transport
        self.thaw_after = thaw_after
        self.shutdown_budget = shutdown_budget
        self.inspect = inspect
        self.log = log
        self.extension = extension
        self.dump_stacks = dump_stacks
        self.adopt = adopt

    @classmethod
    def from_mapping(cls, variables: Mapping[str, str]) -> Environment:
        """
        The environment that `variables` (usually `os.environ`) describe.

        Raises:
            ConfigurationError: a variable has a value that cannot be used; the message names it.
        """
        get = variables.get
        concurrency = get("AWS_LAMBDA_MAX_CONCURRENCY")
        kind = get("AWS_LAMBDA_INITIALIZATION_TYPE") or "on-demand"
        log_fd = get("_LAMBDA_TELEMETRY_LOG_FD")
        return cls(
            runtime_api=get("AWS_LAMBDA_RUNTIME_API", ""),
            handler=get("_HANDLER", ""),
            task_root=get("LAMBDA_TASK_ROOT", ""),
            function_name=get("AWS_LAMBDA_FUNCTION_NAME"),
            function_version=get("AWS_LAMBDA_FUNCTION_VERSION"),
            memory_mb=_positive_or_none(get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")),
            log_group_name=get("AWS_LAMBDA_LOG_GROUP_NAME"),
            log_stream_name=get("AWS_LAMBDA_LOG_STREAM_NAME"),
            initialization_type=kind if kind in _TYPES else "on-demand",
            max_concurrency=_concurrency(concurrency) if concurrency else None,
            execution_env=get("AWS_EXECUTION_ENV"),
            log_format="json" if get("AWS_LAMBDA_LOG_FORMAT", "").lower() == "json" else "text",
            log_level=get("AWS_LAMBDA_LOG_LEVEL", "").upper() or None,
            telemetry_log_fd=int(log_fd) if log_fd and log_fd.isdecimal() else None,
            # Only AWS's own emulator tells the timeout; elsewhere the deadline of each invocation does.
            timeout=float(_positive_or_none(get("AWS_LAMBDA_FUNCTION_TIMEOUT")) or _LONGEST_TIMEOUT),
            tmp=_directory(variables, "WARMSTATE_TMP", "/tmp"),  # noqa: S108 - see __init__
            transport=_one_of(variables, "WARMSTATE_TRANSPORT", ("native", "requests"), "native"),
            thaw_after=_seconds(variables, "WARMSTATE_THAW_AFTER", 1.0),
            shutdown_budget=_seconds(variables, "WARMSTATE_SHUTDOWN_BUDGET", 0.3),
            inspect=get("WARMSTATE_INSPECT") or None,
            log=_one_of(variables, "WARMSTATE_LOG", LOG_LEVELS, "warning"),
            extension=_one_of(variables, "WARMSTATE_EXTENSION", ("on", "off"), "on") == "on",
            dump_stacks=_seconds(variables, "WARMSTATE_DUMP_STACKS", 0.2),
            adopt=_one_of(variables, "WARMSTATE_ADOPT", ("same-code", "any-code"), "same-code"),
        )

    @property
    def is_managed_instance(self) -> bool:
        """Whether several invocations run at once in this process and nothing is ever frozen."""
        return self.max_concurrency is not None

    @property
    def init_limit(self) -> float:
        """
        Seconds that init may take: ten on demand, longer where it is prepared ahead.

        Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
        """
        return 10.0 if self.initialization_type == "on-demand" else 130.0

    @property
    def escapes_text(self) -> bool:
        r"""
        Whether answers carry non-ASCII text as `\u` escapes, as the stock client does outside managed Python >= 3.12.

        Source: awslambdaric 4.2.2, lambda_runtime_marshaller.py.
        """
        name, _, version = (self.execution_env or "").partition("AWS_Lambda_python3.")
        return bool(name) or not version.isdecimal() or int(version) < 12

    @property
    def identity(self) -> str:
        """What stays the same as long as the sandbox does and differs between sandboxes, as far as variables tell."""
        return "/".join((self.function_name or "", self.function_version or "", self.log_stream_name or ""))

    def __repr__(self) -> str:
        return f"<Environment {self.function_name or 'unnamed'}, handler={self.handler!r}, {self.initialization_type}>"


def _positive_or_none(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and int(text) > 0 else None


def _concurrency(text: str) -> int:
    number = _positive_or_none(text)
    if number is None or number > 1600:
        raise ConfigurationError(
            f"AWS_LAMBDA_MAX_CONCURRENCY is {text!r}; it must be a whole number from 1 to 1600, or not set at all."
        )
    return number


def _one_of(variables: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    text = variables.get(name)
    if not text:
        return default
    if text.lower() not in allowed:
        raise ConfigurationError(f"{name} is {text!r}; it must be one of: {', '.join(allowed)}.")
    return text.lower()


def _seconds(variables: Mapping[str, str], name: str, default: float) -> float:
    text = variables.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number <= 86_400.0:  # also false for nan
        raise ConfigurationError(
            f"{name} is {text!r}; it must be a number of seconds from 0 to 86400, for example {default}."
        )
    return number


def _directory(variables: Mapping[str, str], name: str, default: str) -> str:
    text = variables.get(name) or default
    if not text.startswith("/") or "\0" in text:
        raise ConfigurationError(
            f"{name} is {text!r}; it must be an absolute path of a directory, for example {default}."
        )
    return text
