"""What must not pass the type checkers: each line's error is expected, so an ignore that is not needed is an error itself."""

from __future__ import annotations

from warmstate import State, StatefulHandler, Tail, state, tail


class Wrong(StatefulHandler):
    """Declarations and uses that contradict their annotations."""

    number: State[int] = state(default="text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    names: Tail[str] = tail(max_items=2)

    def use(self) -> None:
        """Writes values of other types than declared."""
        self.number = "text"  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
        self.names.append(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
