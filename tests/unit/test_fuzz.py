"""Bad inputs for every parser: the corpus, what was once a defect among it, and some thousands of inputs made of it.

`make fuzz` gives them as many as you like.
"""

from __future__ import annotations

import random
import warnings

import pytest
from tests.fuzz.__main__ import Found
from tests.fuzz.mutate import mutated
from tests.fuzz.parsers import CORPUS, PARSERS, Parser

INPUTS = 150  # for each parser


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.corpus)
def test_bad_inputs_are_refused_with_what_is_wrong(parser: Parser) -> None:
    """No other exception than the parser's own, nothing that takes seconds, and a field where a person can mend one."""
    found, seeds = Found(), parser.seeds()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in seeds:
            found.give(parser, data)
        for seed in range(INPUTS):
            found.add(parser, seeds, seed)
    assert [defect[3] for defect in found.defects] == []
    assert found.counts["inputs"] == len(seeds) + INPUTS


def test_every_parser_has_inputs_of_both_kinds() -> None:
    """A corpus of which nothing is read would only be about the first check of a parser."""
    for parser in PARSERS:
        outcomes = [parser.reads(data) for data in parser.seeds()]
        assert None in outcomes or parser.corpus in ("addresses", "durations", "token", "scram"), parser.corpus
    assert {path.name for path in CORPUS.iterdir()} == {parser.corpus for parser in PARSERS}


def test_the_same_seed_makes_the_same_input() -> None:
    """So that a defect can be looked at again."""
    seeds = PARSERS[0].seeds()
    first, second = ([mutated(random.Random(seed), seeds) for seed in range(50)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 40
