"""What is remembered is given back for the same input only, and never piles up."""

from collections.abc import Iterator
from itertools import count

from vallum.network.memo import Memo


def test_the_same_input_is_worked_out_once_and_another_one_anew() -> None:
    memo, numbers = Memo[int](), count()
    asked = [memo.get("a", given, lambda: next(numbers)) for given in ((1, 2), (1, 2), (1, 3), (1, 2))]
    assert asked == [0, 0, 1, 2]


def test_keys_do_not_share_and_many_of_them_are_forgotten() -> None:
    memo: Memo[str] = Memo(most=3)
    made: list[str] = []

    def ask(key: str) -> str:
        return memo.get(key, (), lambda: made.append(key) or key)

    def answers() -> Iterator[str]:
        yield from map(ask, "abcabd")

    assert "".join(answers()) == "abcabd"
    assert made == ["a", "b", "c", "d"]
    ask("a")
    assert made[-1] == "a"
