"""`[tool.warmstate]` in a project's pyproject.toml."""

import pytest

from warmstate.errors import ConfigurationError
from warmstate.project import read_configuration


def test_it_is_read(tmp_path):
    """Whatever it says; nothing where there is no file, or none of our tables in it."""
    assert read_configuration(str(tmp_path)) == {}
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.other]\n")
    assert read_configuration(str(tmp_path)) == {}
    path.write_text('[tool.warmstate]\nport = 9100\n[tool.warmstate.functions.a]\nhandler = "a.A"\n')
    assert read_configuration(str(tmp_path)) == {"port": 9100, "functions": {"a": {"handler": "a.A"}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.warmstate]\nprot = 1\n", r"\[tool.warmstate\] in .* has the unknown key 'prot'; did you mean port\?"),
        ("[tool.warmstate.dev]\nzzz = 1\n", r"unknown key 'zzz'; it may have: reload, watch"),
        ("[tool.warmstate.functions.a]\nmemroy = 1\n", r"functions.a\] .* did you mean memory\?"),
        ("[tool.warmstate]\ndev = 1\n", r"tool.warmstate.dev in .* is no table"),
        ("[tool.warmstate\n", r"is no TOML"),
    ],
)
def test_what_it_cannot_say_is_refused(tmp_path, text, message):
    """The message names the file, the table and the nearest word."""
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_configuration(str(tmp_path))
