"""Successive halving: turns within a budget, after each round of which the worse half stops."""

import math
from collections.abc import Callable, Sequence


def halve(
    names: Sequence[str],
    seconds: float,
    turn: Callable[[str, float, int], float],
    score: Callable[[str], float],
) -> list[str]:
    """Give turns in rounds of an equal share of what is left, until one name is left and has had its round.

    Within a round what a turn leaves over goes to those after it, as does what it takes too much.

    Args:
        names: those who take part, of whom equal ones stay in this order.
        seconds: the budget of all rounds.
        turn: gives a name a turn of some seconds, 0 or less when the budget is spent, in a round of a number
            from 1; returns the seconds it took.
        score: score of a name after its turn, higher is better.

    Returns:
        The names that the last round had: one, or none of none.

    >>> given = []
    >>> halve(["a", "b", "c"], 60, lambda *turn: given.append(turn) or turn[1], {"a": 1, "b": 3, "c": 2}.get)
    ['b']
    >>> [(name, round(seconds)) for name, seconds, _ in given]
    [('a', 7), ('b', 7), ('c', 7), ('b', 10), ('c', 10), ('b', 20)]
    """
    alive, rounds = list(names), math.ceil(math.log2(len(names))) + 1 if names else 0
    for number in range(1, rounds + 1):
        share = seconds / (rounds + 1 - number)
        for place, name in enumerate(alive):
            took = turn(name, share / (len(alive) - place), number)
            share, seconds = share - took, seconds - took
        if number < rounds:
            alive = sorted(alive, key=score, reverse=True)[: math.ceil(len(alive) / 2)]
    return alive
