"""The two errors of this project, named after who is at fault. Anything else that is raised is a bug.

`InputError`: the user wrote something that cannot be meant. `KernelError`: the node refused; it is retried
and the last good state stays.
"""


class InputError(Exception):
    """A wrong input. `str()` is one line: the place, what is wrong, what would be right.

    Args:
        place: file:line:column, or an object and its field.
        problem: what is wrong and the cure, in one line.
    """

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}" if place else problem)
        self.place = place
        self.problem = problem


class InputErrors(InputError):  # noqa: N818 - the plural says what it is
    """Several wrong inputs found in one reading. `str()` has a line for each."""

    def __init__(self, errors: tuple[InputError, ...]) -> None:
        super().__init__("", "\n".join(str(error) for error in errors))
        self.errors = errors


class KernelError(Exception):
    """The kernel or a program that speaks to it refused. The message names the operation and the reason."""
