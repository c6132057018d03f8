"""`warmstate completion SHELL`: verbs, options and their values from the parser itself, names from the running emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

from warmstate.cli.output import print_json
from warmstate.cli.problem import EXIT_OK, Problem

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["completion"]

NAMES = {"INSTANCE": "instances", "FUNCTION": "functions"}
"""Of what the emulator has names, by the word that stands for one in the help."""


@attrs.frozen
class _Verb:
    """What may follow a verb: its options with their help, what each takes, what its own words are."""

    name: str
    text: str
    options: dict[str, str]
    values: dict[str, str]
    """Of the options that take a value: the words that it may be; none where it is anything, as a file."""
    words: str
    """As the values: "@instances" and "@functions" stand for names that the emulator has."""


def completion(options: argparse.Namespace) -> int:
    """Print the script, or, for the scripts, the names of what runs now: none where nothing answers."""
    if options.shell in NAMES.values():
        for name in _running(options):
            print(name)
        return EXIT_OK
    verbs = list(_verbs())
    script = {"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](verbs)
    if options.json:
        print_json({"v": 1, "shell": options.shell, "script": script})
    else:
        print(script)
    return EXIT_OK


def _running(options: argparse.Namespace) -> list[str]:
    from warmstate.cli.client import Client

    key = {"instances": "instance", "functions": "name"}[options.shell]
    try:
        return [str(found[key]) for found in Client(options).get(f"/{options.shell}")]
    except Problem:
        return []


def _verbs() -> Iterator[_Verb]:
    from warmstate.cli.arguments import build_parser

    actions = build_parser()._actions  # noqa: SLF001 - argparse has no public way to ask
    chosen = next(action for action in actions if action.dest == "verb")
    for name, parser in cast("dict[str, argparse.ArgumentParser]", chosen.choices).items():
        yield _verb(name, parser.description or "", parser)


def _verb(name: str, text: str, parser: argparse.ArgumentParser) -> _Verb:
    options: dict[str, str] = {}
    values: dict[str, str] = {}
    words: list[str] = []
    for action in parser._actions:  # noqa: SLF001 - as above
        known = _names(action) or " ".join(map(str, action.choices or ()))
        if not action.option_strings:
            words.append(known)
        for option in action.option_strings:
            options[option] = action.help or ""
            if action.nargs != 0:
                values[option] = known
    return _Verb(name, text, options, values, " ".join(filter(None, words)))


def _names(action: argparse.Action) -> str:
    word = str(action.metavar or action.dest).upper()
    return "bash zsh fish" if word == "SHELL" else f"@{NAMES[word]}" if word in NAMES else ""


def _bash(verbs: list[_Verb]) -> str:
    lines = [
        "_warmstate() {",
        "  local current=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} words=",
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f'    words="{" ".join(verb.name for verb in verbs)}"',
        '  else case "$verb ${COMP_WORDS[COMP_CWORD-1]}" in',
    ]
    known = [(f'"{verb.name} {option}"', words) for verb in verbs for option, words in verb.values.items()]
    lines += [f'    {pattern}) words="{_asked(words)}" ;;' for pattern, words in known if words]
    lines.append(f"    {'|'.join(pattern for pattern, words in known if not words)}) ;;")
    for verb in verbs:
        long = " ".join(option for option in verb.options if option.startswith("--"))
        lines.append(f'    "{verb.name} "*) words="{f"{long} {_asked(verb.words)}".strip()}" ;;')
    return "\n".join(
        [
            *lines,
            "  esac; fi",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o default -F _warmstate warmstate",  # default: files, where there is nothing else
        ]
    )


def _asked(words: str, shell: str = "$({})") -> str:
    """Words, with those that only the emulator knows asked for when they are wanted."""
    command = "warmstate completion {} 2>/dev/null"
    return " ".join(shell.format(command.format(word[1:])) if word[0] == "@" else word for word in words.split())


def _zsh(verbs: list[_Verb]) -> str:
    return "\n".join(
        [
            "#compdef warmstate",
            "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }",
            "autoload -Uz bashcompinit && bashcompinit",
            _bash(verbs),
        ]
    )


def _fish(verbs: list[_Verb]) -> str:
    lines = ["complete -c warmstate -f"]
    for verb in verbs:
        lines.append(f"complete -c warmstate -n __fish_use_subcommand -a {verb.name} -d {_quoted(verb.text)}")
        begin = f'complete -c warmstate -n "__fish_seen_subcommand_from {verb.name}"'
        if verb.words:
            lines.append(f'{begin} -a "{_asked(verb.words, "({})")}"')
        for option, text in verb.options.items():
            kind = "-l" if option.startswith("--") else "-s"
            line = f"{begin} {kind} {option.lstrip('-')} -d {_quoted(text)}"
            if option in verb.values:
                words = verb.values[option]
                line += f' -x -a "{_asked(words, "({})")}"' if words else " -r -F"
            lines.append(line)
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "'" + text.replace("%%", "%").replace("\\", "\\\\").replace("'", "\\'") + "'"
