"""Near misses: the known word that a misspelt one was probably meant to be. Cold."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def distance(one: str, other: str) -> int:
    """How many letters have to be put in, taken out, replaced or swapped with their neighbour (optimal string
    alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest(word: str, known: "Iterable[str]") -> str:
    """The one of `known` that is nearest to `word`, "" where none is near: another letter case, one edit in words of
    up to five letters, two in longer ones. Of several equally near ones the first."""
    if len(word) < 2 or len(word) > 64:
        return ""
    folded = word.casefold()
    best, least = "", 2 if len(word) < 6 else 3
    for name in known:
        if abs(len(name) - len(word)) >= least or name == word:
            continue
        count = distance(folded, name.casefold())
        if count < least and count < len(name) - 1:
            best, least = name, count
            if not count:
                break
    return best


def hint(word: str, known: "Iterable[str]", form: str = "{}") -> str:
    """`did you mean "..."?`, or "". form: how the known word is written."""
    name = nearest(word, known)
    return f'did you mean "{form.format(name)}"?' if name else ""
