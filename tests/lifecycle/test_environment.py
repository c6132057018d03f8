"""What an execution environment says about itself."""

from __future__ import annotations

import pytest

from warmstate.errors import ConfigurationError
from warmstate.lifecycle.environment import SETTINGS, Environment

LAMBDA = {
    "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001",
    "_HANDLER": "app.Handler",
    "LAMBDA_TASK_ROOT": "/var/task",
    "AWS_LAMBDA_FUNCTION_NAME": "timelapse",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
    "AWS_LAMBDA_LOG_FORMAT": "JSON",
    "AWS_LAMBDA_LOG_LEVEL": "debug",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "provisioned-concurrency",
    "_LAMBDA_TELEMETRY_LOG_FD": "62",
}


def test_the_platforms_variables():
    """What Lambda sets is understood."""
    environment = Environment.from_mapping(LAMBDA)

    assert ("169.254.100.1:9001", "app.Handler") == (environment.runtime_api, environment.handler)
    assert ("timelapse", 1024, None) == (environment.function_name, environment.memory_mb, environment.log_group_name)
    assert ("json", "DEBUG", 62) == (environment.log_format, environment.log_level, environment.telemetry_log_fd)
    assert "provisioned-concurrency" == environment.initialization_type
    assert not environment.is_managed_instance


def test_nothing_is_needed():
    """An empty environment is one: the test kit has no variables."""
    environment = Environment.from_mapping({})

    assert ("/tmp", "native", 1.0, 0.3) == (
        environment.tmp,
        environment.transport,
        environment.thaw_after,
        environment.shutdown_budget,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WARMSTATE_TMP", "relative/path"),
        ("WARMSTATE_TMP", "/a\0b"),
        ("WARMSTATE_TRANSPORT", "curl"),
        ("WARMSTATE_THAW_AFTER", "soon"),
        ("WARMSTATE_THAW_AFTER", "-1"),
        ("WARMSTATE_THAW_AFTER", "nan"),
        ("WARMSTATE_SHUTDOWN_BUDGET", "inf"),
        ("WARMSTATE_DUMP_STACKS", "1s"),
        ("WARMSTATE_LOG", "verbose"),
        ("WARMSTATE_EXTENSION", "maybe"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "0"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "many"),
        ("AWS_LAMBDA_MAX_CONCURRENCY", "99999"),
    ],
)
def test_a_bad_value_names_itself(name, value):
    """The message says which variable has which value, so that nobody has to search."""
    with pytest.raises(ConfigurationError) as caught:
        Environment.from_mapping({name: value})

    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_an_empty_setting_is_its_default(name):
    """`NAME=` in a template means nothing was chosen."""
    default, chosen = Environment.from_mapping({}), Environment.from_mapping({name: ""})

    assert [getattr(default, field) for field in Environment.__slots__] == [
        getattr(chosen, field) for field in Environment.__slots__
    ]


@pytest.mark.parametrize("memory", ["", "much", "-1", "0", "1e3"])
def test_odd_platform_values_do_no_harm(memory):
    """Emulators set what they like; what only informs is unknown then."""
    assert Environment.from_mapping({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory}).memory_mb is None


@pytest.mark.parametrize(
    ("name", "escapes"),
    [
        (None, True),
        ("AWS_Lambda_Image", True),
        ("AWS_Lambda_python3.11", True),
        ("AWS_Lambda_python3.12", False),
        ("AWS_Lambda_python3.14", False),
        ("AWS_Lambda_nodejs22.x", True),
    ],
)
def test_where_text_is_escaped(name, escapes):
    """Answers look as they do with the stock client of the same runtime."""
    variables = {"AWS_EXECUTION_ENV": name} if name else {}

    assert escapes is Environment.from_mapping(variables).escapes_text
