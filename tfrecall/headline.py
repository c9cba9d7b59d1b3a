"""The figures that lead tables, chosen of those that were computed."""

from collections.abc import Iterable

# A list that is looked at, and one that is handed on to a ranking.
_SHORT, _HANDED_ON = 10, 50


def headline(metrics: Iterable[str], *, of_users: bool = True) -> list[str]:
    """Hit rates in lists of 10, of 50 and in the longest; NDCG of 10; MRR; recall of a user's items in 20.

    Where the lengths that were measured are others, the shortest list that is no shorter than 10 stands
    for 10, or the longest there is; 50 and 20 are left out.

    Args:
        metrics: names of what was computed.
        of_users: whether means over users lead, too; without, the columns fit a terminal.

    >>> headline(["hit_rate@20", "hit_rate@200", "ndcg@20", "ndcg@200", "mrr"])
    ['hit_rate@20', 'hit_rate@200', 'ndcg@20', 'mrr']
    """
    there = list(metrics)
    ks = sorted(int(name.partition("@")[2]) for name in there if name.startswith("hit_rate@"))
    if not ks:
        return [name for name in there if name == "mrr"]
    short = next((k for k in ks if k >= _SHORT), ks[-1])
    wanted = dict.fromkeys(
        [
            f"hit_rate@{short}",
            f"hit_rate@{_HANDED_ON}",
            f"hit_rate@{ks[-1]}",
            f"ndcg@{short}",
            "mrr",
            "user_recall@20",
        ]
    )
    return [n for n in wanted if n in there and (of_users or not n.startswith("user_"))]
