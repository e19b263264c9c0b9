"""The four kinds of groups and how each is described. A broker knows a group as one kind and as no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from consumer_autoscaler.decision.values import GroupKind
from consumer_autoscaler.sources.kafka.groups.facts import GroupFacts, parse_classic, parse_consumer
from consumer_autoscaler.sources.kafka.groups.shares import parse_share
from consumer_autoscaler.sources.kafka.groups.streams import parse_streams
from consumer_autoscaler.sources.kafka.wire.requests import (
    Answer,
    Described,
    Request,
    describe_classic,
    describe_consumer,
    read_classic,
    read_consumer,
)
from consumer_autoscaler.sources.kafka.wire.share import describe_share, read_share
from consumer_autoscaler.sources.kafka.wire.streams import describe_streams, read_streams


class Description(NamedTuple):
    """`request` asks for groups; `read` cuts the answer into groups; `parse` reads a group's part of that version."""

    request: Callable[[Iterable[str]], Request]
    read: Callable[[Answer], Iterator[Described]]
    parse: Callable[[bytes, int], GroupFacts]


DESCRIPTIONS: Mapping[GroupKind, Description] = {
    GroupKind.CLASSIC: Description(
        describe_classic, lambda answer: read_classic(answer.data), lambda body, _: parse_classic(body)
    ),
    GroupKind.CONSUMER: Description(describe_consumer, read_consumer, parse_consumer),
    GroupKind.SHARE: Description(describe_share, read_share, parse_share),
    GroupKind.STREAMS: Description(describe_streams, read_streams, parse_streams),
}
