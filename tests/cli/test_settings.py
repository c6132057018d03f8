"""Where `warmstate dev` is told something: the command line, then variables, then pyproject.toml, then the default."""

import shutil

import pytest

from warmstate.cli.arguments import build_parser
from warmstate.cli.dev_arguments import with_whole_debug
from warmstate.cli.functions import functions_from
from warmstate.cli.main import main
from warmstate.cli.problem import Problem
from warmstate.cli.settings import seconds, settle

PROJECT = """
[tool.warmstate]
port = 9100
[tool.warmstate.dev]
reload = "fresh"
idle = "90s"
max_age = "1h"
[tool.warmstate.functions.counter]
handler = "app.Counter"
memory = 256
timeout = 7
env = { CODEC = "h264" }
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("class Counter: ...\n")
    return tmp_path


def parsed(*arguments):
    return build_parser().parse_args(["dev", *arguments])


def told(environment, *arguments):
    """The options, and the function, that these places make."""
    options = parsed(*arguments)
    (function,) = functions_from(options, settle(options, environment))
    return options, function


def test_the_command_line_goes_before_variables_before_the_file_before_defaults(folder):
    """Each of the four places counts where those before it say nothing."""
    (folder / "pyproject.toml").write_text(PROJECT)
    environment = {"WARMSTATE_DEV_RELOAD": "off", "WARMSTATE_DEV_MEMORY": "512", "WARMSTATE_DEV_PORT": "9200"}
    options, function = told(environment, "-P", "9300")

    assert (options.invoke_port, options.reload, options.idle, options.strategy) == (9300, "off", 90.0, "aws")
    assert (function.memory_mb, function.timeout, function.tmp_mb, function.max_age) == (512, 7, 512, 3600.0)
    assert told(environment)[0].invoke_port == 9200
    assert told({})[0].invoke_port == 9100
    assert told({}, "--memory", "128")[1].memory_mb == 128


def test_another_file_can_be_named(folder):
    """--config reads that file in place of pyproject.toml."""
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "other.toml").write_text(PROJECT.replace("9100", "9999"))
    assert told({}, "--config", "other.toml")[0].invoke_port == 9999


@pytest.mark.parametrize(
    ("environment", "file", "arguments", "message"),
    [
        ({"WARMSTATE_DEV_RELAOD": "off"}, "", [], "there is no variable WARMSTATE_DEV_RELAOD"),
        (
            {"WARMSTATE_DEV_RELOAD": "maybe"},
            "",
            [],
            "WARMSTATE_DEV_RELOAD 'maybe' is not possible; write keep or fresh",
        ),
        ({"WARMSTATE_DEV_PORT": "many"}, "", [], "WARMSTATE_DEV_PORT 'many' is no whole number"),
        ({"WARMSTATE_DEV_IDLE": "soon"}, "", [], "WARMSTATE_DEV_IDLE 'soon' is no time"),
        ({}, '[tool.warmstate]\nport = "x"\n', [], "port in .tool.warmstate. 'x' is no whole number"),
        ({}, "[tool.warmstate.dev]\nwatch = 7\n", [], "watch in .tool.warmstate. '7' is no list of paths"),
        ({}, PROJECT.replace("256", '"lots"'), [], "memory of counter 'lots' is no whole number"),
        ({}, PROJECT.replace('{ CODEC = "h264" }', "7"), [], "env has to be a table"),
        ({}, PROJECT.replace('"app.Counter"', "7"), [], "handler has to be a text"),
        (
            {},
            PROJECT.replace("port = 9100", 'default = "nope"'),
            [],
            "the default 'nope', which is none of its functions: counter",
        ),
        ({}, PROJECT.replace("timeout = 7", "timeout = 901"), [], "a timeout of 901 s for counter"),
        ({}, "", ["--timeout", "901"], "a timeout of 901 s"),
        ({}, "", ["--watch", "nowhere"], "there is no nowhere to watch"),
        ({}, "", ["--runtime", "nosuch --really"], "there is no program nosuch"),
        ({}, "", ["--runtime", "./nosuch"], "there is no program ./nosuch"),
        ({}, "", ["--config", "none.toml"], "cannot read the configuration .*none.toml: No such file"),
    ],
)
def test_what_cannot_be_is_refused(folder, environment, file, arguments, message):
    """The message names the place, what it says and what it may say."""
    if file:
        (folder / "pyproject.toml").write_text(file)
    with pytest.raises(Problem, match=message):
        told(environment, "app.Counter", *arguments) if "counter" not in file else told(environment, *arguments)


def test_a_program_of_ones_own_is_found_as_in_a_shell(folder):
    """By its name, or by its path in the function's folder."""
    (folder / "mine").write_text("#!/bin/sh\n")
    (folder / "mine").chmod(0o755)
    assert told({}, "app.Counter", "--runtime", "./mine 1")[1].runtime == [f"{folder}/./mine", "1"]
    assert told({}, "app.Counter", "--runtime", "sh -x")[1].runtime == [shutil.which("sh"), "-x"]


def test_a_wrong_variable_is_told_with_the_nearest(folder, monkeypatch, capsys):
    """As a key of the file is."""
    monkeypatch.setenv("WARMSTATE_DEV_MEMROY", "1")
    assert main(["dev", "app.Counter"]) == 2
    assert "did you mean WARMSTATE_DEV_MEMORY?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "port", "handlers"),
    [
        ([], None, []),
        (["--debug"], 5678, []),
        (["--debug", "app.Counter"], 5678, ["app.Counter"]),
        (["app.Counter", "--debug"], 5678, ["app.Counter"]),
        (["--debug=6000", "app.Counter"], 6000, ["app.Counter"]),
        (["--debug", "6000", "app.Counter"], 6000, ["app.Counter"]),
        (["-d", "6000"], 6000, []),
        (["--debug-port", "6000"], 6000, []),
    ],
)
def test_debug_takes_a_port_or_none(arguments, port, handlers):
    """In one word or in two; what follows it without being a port is a handler."""
    options = build_parser().parse_args(with_whole_debug(["dev", *arguments]))
    assert (options.debug, options.handler) == (port, handlers)


@pytest.mark.parametrize("share", ["2", "-1", "x"])
def test_chaos_is_a_probability(share):
    """From 0 to 1."""
    with pytest.raises(Problem, match="is no probability"):
        parsed("--chaos", share)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--chaos-seed", "7"], "--chaos-seed is for --chaos P"),
        (["--wait", "--provisioned", "1"], "--wait does not go with --provisioned"),
        (["--wait", "--snap-start"], "--wait does not go with --snap-start"),
        (["--debug=5678", "--only-lambda-apis"], "--debug does not go with --only-lambda-apis"),
        (["--parameter-overrides", "A=1"], "--parameter-overrides is for -t TEMPLATE"),
        (["-t", "t.yaml", "--parameter-overrides", "A=1", "Counter"], "'Counter' is no value of a parameter"),
    ],
)
def test_what_contradicts_itself_is_refused(folder, arguments, what):
    """Instead of being forgotten."""
    with pytest.raises(Problem, match=what) as caught:
        told({}, *arguments)
    assert (caught.value.code, bool(caught.value.fix)) == ("WS203", True)


@pytest.mark.parametrize(("text", "value"), [("90", 90), ("1.5s", 1.5), ("6m", 360), ("1h", 3600), (7, 7)])
def test_times_as_people_write_them(text, value):
    """A number alone is seconds."""
    assert seconds(text, "") == value
