"""The modes of search on the Richmond corpus: which finds the passage that answers, and how far up.

    python benchmarks/search_modes.py [--json]

Thirty hand-made questions in three kinds: in other words than the passage, with a name in them, and with a number in
them. Each names words that only the passage that answers has. Embeddings are those of the local default; the index is
the reference, so that nothing is approximate. Reported are the share of questions whose passage is first, and among the
first three, and the mean reciprocal rank within ten; and the milliseconds of a search, the query's embedding included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from typing import Any, NamedTuple, get_args

import storycore
from storycore.app import Store
from storycore.corpus import richmond
from storycore.search import Hit, Mode

DEEP = 10


class Labelled(NamedTuple):
    """A question, and words that only the passage that answers it has."""

    kind: str
    text: str
    answer: str


QUESTIONS = [
    Labelled(
        "meaning", "Which African American woman founded a financial institution for small savers?", "Penny Savings"
    ),
    Labelled("meaning", "Who first sold beer packed in metal containers?", "beer in a can"),
    Labelled("meaning", "At what spot do trains cross above each other?", "pass over one another at the same spot"),
    Labelled("meaning", "Why was the canal abandoned?", "sold what it owned to the Richmond and Alleghany"),
    Labelled("meaning", "How was the arsenal saved when the city burned?", "stood armed guard around the buildings"),
    Labelled("meaning", "public transport without paying", "the company stopped taking fares"),
    Labelled("meaning", "a train that lies underground", "its roof fell in on a work train"),
    Labelled("meaning", "organ transplantation pioneers", "first human heart transplants"),
    Labelled("meaning", "Where were people sold before the war?", "largest market for enslaved people"),
    Labelled("meaning", "jewelled eggs made for the tsar", "imperial Easter eggs"),
    Labelled("name", "Elizabeth Van Lew", "built a ring of informants"),
    Labelled("name", "Chimborazo", "Chimborazo Hospital spread"),
    Labelled("name", "GWAR", "GWAR, founded by students"),
    Labelled("name", "Bonsack", "James Bonsack"),
    Labelled("name", "Minoru Yamasaki", "silver tower by Minoru Yamasaki"),
    Labelled("name", "What did Kehinde Wiley make?", "Rumors of War"),
    Labelled("name", "Sally Bell's Kitchen lunches", "Sally Bell's Kitchen has packed"),
    Labelled("name", "the owner Qimonda", "Qimonda, failed"),
    Labelled("name", "Elmira Royster", "fell in love with a neighbor"),
    Labelled("name", "Which artist started Mending Walls?", "Hamilton Glass started"),
    Labelled("number", "locomotive number 231", "number 231, is sealed"),
    Labelled("number", "What happened on January 24, 1935?", "January 24, 1935"),
    Labelled("number", "76,000 soldiers", "Some 76,000 sick"),
    Labelled("number", "Interstate 95", "now part of Interstate 95"),
    Labelled("number", "7.6 miles", "The line is 7.6 miles long"),
    Labelled("number", "the year 1733", "He named the place in 1733"),
    Labelled("number", "1,100 pieces of artillery", "cast close to 1,100 pieces"),
    Labelled("number", "September 8, 2021", "lifted the figure on September 8, 2021"),
    Labelled("number", "opened in 1895", "opened in 1895, whose lobby"),
    Labelled("number", "a law of 1730", "A law of 1730 required"),
]


async def ranks(store: Store, mode: Mode) -> dict[str, list[int | None]]:
    """Kind of question to the place of each passage that answers, from 1; ``None``: not among the first ten."""
    found: dict[str, list[int | None]] = {}
    for question in QUESTIONS:
        hits = await store.search(question.text, mode=mode, top_k=DEEP)
        found.setdefault(question.kind, []).append(place(hits, question.answer))
    return found


def place(hits: list[Hit], answer: str) -> int | None:
    """Where the passage is that has the words of the answer, line ends aside."""
    texts = [" ".join(hit.text.replace("*", "").split()) for hit in hits]
    return next((rank for rank, text in enumerate(texts, 1) if answer in text), None)


def figures(found: list[int | None]) -> dict[str, float]:
    """What is reported of a kind of question."""
    return {
        "first": sum(rank == 1 for rank in found) / len(found),
        "among three": sum(rank is not None and rank <= 3 for rank in found) / len(found),
        "mrr": statistics.fmean(1 / rank if rank else 0.0 for rank in found),
    }


async def milliseconds(store: Store, mode: Mode) -> float:
    """The median wall time of a search."""
    spent = []
    for question in QUESTIONS:
        begun = time.perf_counter()
        await store.search(question.text, mode=mode)
        spent.append((time.perf_counter() - begun) * 1000)
    return statistics.median(spent)


async def measured() -> dict[str, Any]:
    """Mode to its figures, by kind of question and for all."""
    report: dict[str, Any] = {}
    async with storycore.open("memory", overrides={"embedder": "minilm://"}) as store:
        await store.init()
        await store.ingest(richmond())
        for mode in get_args(Mode):
            found = await ranks(store, mode)
            everything = [rank for each in found.values() for rank in each]
            report[mode] = {kind: figures(each) for kind, each in {**found, "all": everything}.items()}
            report[mode]["milliseconds"] = await milliseconds(store, mode)
    return report


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description="Compare the modes of search on a small labelled set.")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    report = asyncio.run(measured())
    if options.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{'mode':8} {'kind':8} {'first':>6} {'three':>6} {'mrr':>6}")
    for mode, kinds in report.items():
        for kind, each in kinds.items():
            if kind != "milliseconds":
                print(f"{mode:8} {kind:8} {each['first']:6.2f} {each['among three']:6.2f} {each['mrr']:6.2f}")
        print(f"{mode:8} {kinds['milliseconds']:.1f} ms")


if __name__ == "__main__":
    main()
