"""What a function is: its configuration, and the environment variables that its processes see."""

from __future__ import annotations

import math
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from warmstate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ACCOUNT", "CLOCK_FILE", "CREDENTIALS_PATH", "INSPECT_FILE", "RESERVED", "Function"]

ACCOUNT: Final = "123456789012"
"""The account of every function here; the number that AWS uses in its documentation."""

INSPECT_FILE: Final = "warmstate-inspect.json"
"""In an environment's /tmp: what the instance says about itself before each next."""

CLOCK_FILE: Final = "warmstate-clock"
"""In an environment's /tmp: by how many seconds its two clocks were moved; see `warmstate.lifecycle.moved_clock`."""

CREDENTIALS_PATH: Final = "/2021-04-23/credentials"
"""Of the Runtime API's address: where a function with SnapStart has its credentials from."""

RESERVED: Final = frozenset(
    {
        "AWS_ACCESS_KEY",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
        "TZ",
    }
)
"""Names that the platform sets itself."""

VARIABLES_LIMIT: Final = 4_096
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_VARIABLE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]+")

InitializationType = Literal["on-demand", "provisioned-concurrency", "snap-start", "lambda-managed-instances"]


def _check_name(_instance: object, _attribute: attrs.Attribute[str], value: str) -> None:
    if not _NAME.fullmatch(value):
        raise ConfigurationError(f"'{value[:100]}' is no function name: use 1-64 letters, digits, - and _.")


def _check_environment(
    _instance: object, _attribute: attrs.Attribute[Mapping[str, str]], value: Mapping[str, str]
) -> None:
    for name in value:
        if name in RESERVED:
            raise ConfigurationError(f"the variable {name} is set by the platform; choose another name for yours.")
        if not _VARIABLE.fullmatch(name):
            raise ConfigurationError(
                f"'{name}' is no variable name on Lambda: it starts with a letter and has at least two letters, digits or _."
            )
    size = sum(len(name) + len(text) for name, text in value.items())
    if size > VARIABLES_LIMIT:
        raise ConfigurationError(f"the function's variables have {size} bytes; Lambda allows {VARIABLES_LIMIT} in all.")


def _real_path(path: str | os.PathLike[str]) -> str:
    return os.path.realpath(os.fspath(path))


def _this_python() -> str:
    return sys.executable


def _positive(_instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < math.inf:
        raise ConfigurationError(f"{attribute.name} is {value}; it must be more than 0.")


def _share(_instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigurationError(f"{attribute.name} is {value}; it must be from 0 to 1.")


@attrs.frozen(kw_only=True)
class Function:
    """
    A function of the local Lambda: what one configures there, and what only a local one has.

    Attributes:
        name: 1 to 64 letters, digits, - and _.
        handler: What the runtime finds in _HANDLER.
        task_root: The folder with its code: the working directory, read-only for the function where the system allows it.
        environment: The function's variables, 4 KB in all. One that names an existing folder makes that visible and writable.
        share: Further folders of this machine to make so; on Lambda there are none.
        memory_mb: Memory of all its processes; over it they are killed.
        tmp_mb: Size of /tmp, where each environment can have one of its own.
        timeout: Seconds that an invocation may take.
        init_timeout: Seconds that init may take on demand.
        idle_timeout: Seconds without an event after which an instance is spun down; None for never.
        max_age: Seconds after which an idle instance is spun down however often it is used; None for never.
        chaos: The probability that an instance is reset, killed or spun down before it is given an event.
        chaos_seed: Makes these mishaps the same ones each time, for the same events one after the other.
        max_instances: Environments at once; beyond it events are throttled.
        max_concurrency: Makes it a function on Managed Instances: that many invocations at once in one process, no freezes.
        freeze: False leaves idle instances running, for debuggers.
        attached: No process is started: yours, for example in a debugger, calls the Runtime API at `/.rt/NAME` of the
            emulator's address. It is never frozen, and its memory is not known.
        provisioned: Environments that are initialized when the function is added.
        snap_start: Init, then a wait in restore/next; the first event finds a restored instance.
        tenant_isolation: Each environment serves one tenant, and every event must name one.
        read_only: Whether the task root is read-only, where the system allows it.
        inspect: Whether warmstate's runtime writes what it holds before each next, for `Emulator.state`.
        runtime: The command that speaks the Runtime API; by default a `bootstrap` in the task root, else warmstate's own.
        python: The interpreter that warmstate's own bootstrap runs.
        execution_env: AWS_EXECUTION_ENV, by which AWS's own client changes its ways; None leaves it out.
        extensions: A folder of external extensions, as /opt/extensions.
        version: The version that events without a qualifier run, as told to the function and the caller.
        region: Of its ARN, and of AWS_REGION.
        log_format: AWS_LAMBDA_LOG_FORMAT.
        log_level: AWS_LAMBDA_LOG_LEVEL; None leaves it out.
        url_mode: How its URL answers.
        retry_delays: Seconds before each further try of an asynchronous event.
        strategy: Which idle instance takes an event: "aws" the one used last, "round-robin" the one used longest ago, which
            shows hidden state early, "newest" the one that began last.
        stream_limit: Whether streamed answers are slowed down to Lambda's 2 MB a second after the first 6 MB.

    Raises:
        ConfigurationError: A value that Lambda does not allow; the message says what it allows.
    """

    name: str = attrs.field(validator=_check_name)
    handler: str
    task_root: str = attrs.field(default=".", converter=_real_path)
    environment: Mapping[str, str] = attrs.field(factory=dict, validator=_check_environment)
    share: Sequence[str] = ()
    memory_mb: int = attrs.field(default=1024, validator=_positive)
    tmp_mb: int = attrs.field(default=512, validator=_positive)
    timeout: float = attrs.field(default=30.0, validator=_positive)
    init_timeout: float = attrs.field(default=10.0, validator=_positive)
    idle_timeout: float | None = 360.0
    max_age: float | None = None
    chaos: float = attrs.field(default=0.0, validator=_share)
    chaos_seed: int | None = None
    max_instances: int = attrs.field(default=10, validator=_positive)
    max_concurrency: int | None = None
    freeze: bool = True
    attached: bool = False
    provisioned: int = 0
    snap_start: bool = False
    tenant_isolation: bool = False
    read_only: bool = True
    inspect: bool = False
    runtime: Sequence[str] | None = None
    python: str = attrs.field(factory=_this_python)
    execution_env: str | None = None
    extensions: str | None = None
    version: str = "$LATEST"
    region: str = "us-east-1"
    log_format: Literal["Text", "JSON"] = "Text"
    log_level: str | None = None
    url_mode: Literal["BUFFERED", "RESPONSE_STREAM"] = "BUFFERED"
    retry_delays: Sequence[float] = (60.0, 120.0)
    strategy: Literal["aws", "round-robin", "newest"] = "aws"
    stream_limit: bool = False

    def __attrs_post_init__(self) -> None:
        if not os.path.isdir(self.task_root):
            raise ConfigurationError(f"the task root {self.task_root} of function '{self.name}' is no folder.")
        if not 0 <= self.provisioned <= self.max_instances:
            raise ConfigurationError(f"provisioned is {self.provisioned}; it must be from 0 to {self.max_instances}.")
        if self.max_concurrency is not None and self.max_concurrency < 1:
            raise ConfigurationError("max_concurrency must be at least 1, or None for one invocation at a time.")
        if self.chaos and (self.attached or self.is_managed):
            raise ConfigurationError(
                "chaos strikes an instance that has one invocation at a time and processes of its own: leave out "
                "max_concurrency and attached."
            )
        if self.attached and (self.provisioned or self.snap_start or self.max_concurrency or self.extensions):
            raise ConfigurationError(
                "an attached function goes with neither provisioned concurrency, SnapStart, Managed Instances nor extensions."
            )
        if self.tenant_isolation and (self.provisioned or self.snap_start or self.max_concurrency):
            raise ConfigurationError(
                "tenant isolation goes with neither provisioned concurrency, SnapStart nor Managed Instances."
            )
        if self.snap_start and (self.provisioned or self.max_concurrency):
            raise ConfigurationError("SnapStart goes with neither provisioned concurrency nor Managed Instances.")

    @property
    def arn(self) -> str:
        """The function's ARN, without a qualifier."""
        return f"arn:aws:lambda:{self.region}:{ACCOUNT}:function:{self.name}"

    @property
    def is_managed(self) -> bool:
        """Whether it runs on Managed Instances."""
        return self.max_concurrency is not None

    @property
    def initialization_type(self) -> InitializationType:
        """What AWS_LAMBDA_INITIALIZATION_TYPE says in environments that are made for an event."""
        if self.is_managed:
            return "lambda-managed-instances"
        return "snap-start" if self.snap_start else "on-demand"

    @property
    def init_limit(self) -> float:
        """Seconds that init may take where it is not part of an invocation; 10 s on demand, as on Lambda."""
        if self.initialization_type == "on-demand":
            return self.init_timeout
        return max(130.0, self.timeout)

    def command(self) -> list[str]:
        """The program that speaks the Runtime API, in the platform's order of looking for it."""
        if self.runtime is not None:
            return list(self.runtime)
        own = os.path.join(self.task_root, "bootstrap")
        if os.path.isfile(own) and os.access(own, os.X_OK):
            return [own]
        return ["/bin/sh", packaged_bootstrap()]

    def variables(
        self, *, runtime_api: str, log_stream: str, tmp: str, initialization_type: InitializationType, token: str
    ) -> dict[str, str]:
        """The environment variables of a process, and nothing of the emulator's own environment."""
        snap_start = initialization_type == "snap-start"
        values = {
            "_HANDLER": self.handler,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "LAMBDA_TASK_ROOT": self.task_root,
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": self.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_INITIALIZATION_TYPE": initialization_type,
            "AWS_LAMBDA_LOG_FORMAT": self.log_format,
            "AWS_LAMBDA_METADATA_API": runtime_api,
            "AWS_LAMBDA_METADATA_TOKEN": token,
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
            "LANG": "en_US.UTF-8",
            "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin",
            "TZ": ":UTC",
            "WARMSTATE_PYTHON": self.python,
            "WARMSTATE_CLOCK": f"{tmp}/{CLOCK_FILE}",
            "WARMSTATE_TMP": tmp,
        }
        if snap_start:
            values |= {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{runtime_api}{CREDENTIALS_PATH}",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
            }
        else:
            values |= {
                "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
                "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
                "AWS_ACCESS_KEY_ID": "local",
                "AWS_SECRET_ACCESS_KEY": "local",
                "AWS_SESSION_TOKEN": "local",
            }
        if tmp != "/tmp":  # noqa: S108 - no mount namespace: point what asks for a temporary folder at ours
            values["TMPDIR"] = tmp
        if self.inspect:
            values["WARMSTATE_INSPECT"] = f"{tmp}/{INSPECT_FILE}"
        if self.max_concurrency is not None:
            values["AWS_LAMBDA_MAX_CONCURRENCY"] = str(self.max_concurrency)
        if self.log_level is not None:
            values["AWS_LAMBDA_LOG_LEVEL"] = self.log_level
        if self.execution_env is not None:
            values["AWS_EXECUTION_ENV"] = self.execution_env
        return values | dict(self.environment)


def packaged_bootstrap() -> str:
    """
    warmstate's bootstrap: inside the installed package, or at the top of a checkout.

    Raises:
        ConfigurationError: It is in neither place.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for folder in (package, os.path.dirname(package)):
        path = os.path.join(folder, "bootstrap")
        if os.path.isfile(path):
            return path
    raise ConfigurationError(f"warmstate's bootstrap is not in {package}; install warmstate again, or give `runtime`.")
