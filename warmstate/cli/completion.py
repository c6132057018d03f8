"""`warmstate completion SHELL`: verbs and options from the parser itself, instances from the running emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from warmstate.cli.problem import EXIT_OK

if TYPE_CHECKING:
    import argparse

__all__ = ["completion"]

WITH_INSTANCE = ("freeze", "thaw", "reset", "kill", "spindown", "state", "logs")
INSTANCES = '$(warmstate ps -q --json 2>/dev/null | sed -n \'s/.*"instance": "\\([^"]*\\)".*/\\1/p\')'


def completion(options: argparse.Namespace) -> int:
    """Print the script."""
    from warmstate.cli.main import build_parser

    verbs: dict[str, list[str]] = {}
    for action in build_parser()._actions:  # noqa: SLF001 - argparse has no public way to ask
        if action.dest == "verb":
            choices = cast("dict[str, argparse.ArgumentParser]", action.choices)
            verbs = {name: _long_options(verb) for name, verb in choices.items()}
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[options.shell](verbs))
    return EXIT_OK


def _long_options(verb: argparse.ArgumentParser) -> list[str]:
    actions = verb._actions  # noqa: SLF001 - as above
    return sorted({option for action in actions for option in action.option_strings if option.startswith("--")})


def _bash(verbs: dict[str, list[str]]) -> str:
    cases = "\n".join(f'    {name}) words="{" ".join(flags)}" ;;' for name, flags in verbs.items())
    return f"""_warmstate() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} words
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join(verbs)}" -- "$current")); return
  fi
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
  case ${{COMP_WORDS[1]}} in
    {"|".join(WITH_INSTANCE)}) words="$words {INSTANCES}" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _warmstate warmstate"""


def _zsh(verbs: dict[str, list[str]]) -> str:
    return f"#compdef warmstate\nautoload -Uz bashcompinit && bashcompinit\n{_bash(verbs)}"


def _fish(verbs: dict[str, list[str]]) -> str:
    lines = ["complete -c warmstate -f", f'complete -c warmstate -n __fish_use_subcommand -a "{" ".join(verbs)}"']
    for name, flags in verbs.items():
        lines += [f'complete -c warmstate -n "__fish_seen_subcommand_from {name}" -l {flag[2:]}' for flag in flags]
    names = " ".join(WITH_INSTANCE)
    lines.append(
        f'complete -c warmstate -n "__fish_seen_subcommand_from {names}" -a "{INSTANCES.replace("$(", "(", 1)}"'
    )
    return "\n".join(lines)
