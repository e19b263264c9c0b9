"""Everything that reads what others wrote, each with what it may answer.

A parser gives None for what it can use, and the words of its refusal for what it cannot; any other exception is a
defect. `names` says whether the words tell where the problem is: a field, a line, an option. Parsers of what nobody
wrote by hand (answers of brokers) need not name a field, only end in an error of their own kind.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consumer_autoscaler.convert import report
from consumer_autoscaler.convert.documents import BadDocument, Documents, read
from consumer_autoscaler.convert.everything import convert_all
from consumer_autoscaler.convert.hpa import Stream
from consumer_autoscaler.decision.bundle import BadBundle, load
from consumer_autoscaler.resource import memory
from consumer_autoscaler.resource.pauses import pauses
from consumer_autoscaler.resource.spec import InvalidSpec, parse
from consumer_autoscaler.runtime.settings import InvalidSettings, read_settings
from consumer_autoscaler.simulation import option_values
from consumer_autoscaler.simulation.prometheus import parse_range
from consumer_autoscaler.simulation.trace import BadTrace, Trace, parse_trace
from consumer_autoscaler.sources.address_policy import AS_INSTALLED, AddressDenied
from consumer_autoscaler.sources.exposition import MalformedMetrics, read_families, read_samples
from consumer_autoscaler.sources.kafka.access import tokens
from consumer_autoscaler.sources.kafka.access.client_properties import BadProperties, properties_of, security_of
from consumer_autoscaler.sources.kafka.access.refusal import AuthenticationFailed
from consumer_autoscaler.sources.kafka.access.scram import BadScram, Scram
from consumer_autoscaler.sources.kafka.broker import parse_address
from consumer_autoscaler.sources.kafka.groups.kinds import DESCRIPTIONS
from consumer_autoscaler.sources.kafka.groups.streams import partition_owners
from consumer_autoscaler.sources.kafka.groups.streams_assignment import read_tasks
from consumer_autoscaler.sources.kafka.wire import requests as wire
from consumer_autoscaler.sources.kafka.wire.codec import DECODE_ERRORS, Cursor
from consumer_autoscaler.sources.kafka.wire.share import read_share_offsets
from consumer_autoscaler.sources.pod_pages import read_page
from consumer_autoscaler.sources.presets import PRESETS
from consumer_autoscaler.sources.prometheus_http import PrometheusFailed, Server, _data, _entries

CORPUS = Path(__file__).parent / "corpus"
NOW = 1_767_225_600.0

Reads = Callable[[bytes], "str | None"]


@dataclass(frozen=True, slots=True)
class Parser:
    """`corpus` is the folder with its seeds; `names` what every refusal must match."""

    corpus: str
    reads: Reads
    names: re.Pattern[str] | None = None
    share: float = 1.0  # of the inputs that each gets; less for what is slow

    def seeds(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted((CORPUS / self.corpus).iterdir())]


def _json(data: bytes) -> Any:
    """A body has been JSON before it gets to us: what is none is given as a text."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


_METADATA = {"namespace": "n", "name": "m", "uid": "u"}


def _resource(data: bytes) -> str | None:
    body = _json(data)
    try:
        parse(
            body
            if isinstance(body, Mapping)
            else {"metadata": {"namespace": "n", "name": "m", "uid": "u"}, "spec": body}
        )
    except InvalidSpec as problem:
        bad = [words for words in problem.problems if not _FIELD.match(words)]
        return bad[0] if bad else problem.problems[0]
    return None


_FIELD = re.compile(r"(spec|metadata)(\.[A-Za-z0-9_\"'/.-]+|\[[^\]]+\])*: ")


def _annotations(data: bytes) -> str | None:
    metadata = _json(data)
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("annotations") or {}, Mapping):
        return None  # the API server takes nothing else
    problems = pauses(metadata).problems
    return problems[0] if problems else None


def _status(data: bytes) -> str | None:
    status = _json(data)
    memory.learned_from(status if isinstance(status, Mapping) else {}, NOW).history()
    return None


def _exposition(data: bytes) -> str | None:
    said = read_page(data, PRESETS, "g", frozenset({"t"}), NOW)
    for name in ("kafka_consumer_processing_seconds", "kafka_stream_thread_process_latency_avg"):
        try:
            read_families(data, name, any_prefix=True)
            read_samples(data, name)
        except MalformedMetrics as problem:
            return f"{name}: {problem}"
    return said if isinstance(said, str) else None


def _prometheus_instant(data: bytes) -> str | None:
    try:
        _entries(_data(Server(address="http://p"), 200, data))
    except PrometheusFailed as failed:
        return str(failed)
    return None


def _prometheus_range(data: bytes) -> str | None:
    try:
        _used(parse_range(_text(data), "load", "load.json"))
    except BadTrace as problem:
        return str(problem)
    return None


def _used(trace: Trace) -> None:
    """What can be read can be computed with."""
    total = trace.mean_over(trace.starts, trace.starts + 60.0)
    assert all(map(math.isfinite, (trace.end, *total.tolist())))


def _trace(data: bytes) -> str | None:
    try:
        _used(parse_trace(_text(data), "load", "load.csv"))
    except BadTrace as problem:
        return str(problem)
    return None


def _durations(data: bytes) -> str | None:
    refusal = None
    for line in _text(data).splitlines()[:20]:
        for reads in (
            lambda text: option_values.duration("--start", text),
            option_values.noise,
            lambda text: option_values.fault(text, 12),
        ):
            try:
                reads(line)
            except option_values.WrongUse as problem:
                refusal = str(problem)
                if not _OPTION.match(refusal):
                    return refusal
    return refusal


_OPTION = re.compile(r"--[a-z-]+", re.DOTALL)


def _addresses(data: bytes) -> str | None:
    text = _text(data)
    for part in text.split(",")[:20]:
        with contextlib.suppress(ValueError):
            parse_address(part)
        with contextlib.suppress(AddressDenied):
            AS_INSTALLED.check("name", part.strip(), 1)
    refusal = None
    for name in ("denied_cidrs", "allowed_endpoints", "namespaces", "port", "request_timeout_seconds"):
        try:
            read_settings({name: text}, {})
        except InvalidSettings as problem:
            refusal = str(problem)
            if not refusal.startswith("--" + name.replace("_", "-")):
                return f"does not name {name}: {refusal}"
    return refusal


def _convert(data: bytes) -> str | None:
    try:
        documents = Documents(read(_text(data)))
    except BadDocument as problem:
        return str(problem)
    results = convert_all(documents, Stream(bootstrap_servers="k:9092", consumer_group="g"))
    report.as_text(results), report.as_yaml(results), json.dumps(report.as_json(results))
    for result in results:
        if result.body is None and not any(note.where for note in result.notes):
            return f"{result.origin} is refused without a field"
    return None


def _client_properties(data: bytes) -> str | None:
    try:
        security_of(properties_of(_text(data).replace("location", "certificates")))  # no files of this machine
    except BadProperties as problem:
        return str(problem)
    return None


def _bundle(data: bytes) -> str | None:
    try:
        load(_json(data))
    except BadBundle as problem:
        return str(problem)
    return None


def _token(data: bytes) -> str | None:
    for status in (200, 401, 503):
        try:
            tokens._read("the token endpoint id", status, data)
        except (AuthenticationFailed, ConnectionError) as problem:
            refusal = str(problem)
    return refusal


def _scram(data: bytes) -> str | None:
    try:
        Scram("sha256", "user", "password", nonce="fuzzed").final(data.replace(b"i=", b"i=0")[:2000])
        Scram("sha256", "user", "password", nonce="fuzzed").verify(data)
    except BadScram as problem:
        return str(problem)
    return None


def _kafka(reads: Callable[[bytes], Iterable[object]]) -> Reads:
    """Through to the last item: what is read is read in slices."""

    def one(data: bytes) -> str | None:
        try:
            for _ in reads(data):
                pass
        except DECODE_ERRORS as problem:
            return str(problem)
        return None

    return one


def _metadata(data: bytes) -> Iterable[object]:
    cursor = Cursor(data)
    yield from wire.read_brokers(cursor)
    yield from wire.read_topics(cursor)


def _described(kind: str, version: int) -> Callable[[bytes], Iterable[object]]:
    description = next(each for name, each in DESCRIPTIONS.items() if name.name == kind)

    def reads(data: bytes) -> Iterable[object]:
        for described in description.read(wire.Answer(version, data)):
            if not described.error:
                yield description.parse(described.body, version)
                if kind == "STREAMS":
                    yield partition_owners(described.body)

    return reads


def _tasks(data: bytes) -> Iterable[object]:
    yield read_tasks(data)


PARSERS: tuple[Parser, ...] = (
    Parser("resource", _resource, _FIELD),
    Parser("annotations", _annotations, re.compile(r"metadata\.annotations")),
    Parser("status", _status),
    Parser("exposition", _exposition),
    Parser("prometheus-instant", _prometheus_instant),
    Parser("prometheus-range", _prometheus_range, re.compile(r"load\.json: ")),
    Parser("trace", _trace, re.compile(r"load\.csv:(\d+:)? ")),
    Parser("durations", _durations, _OPTION),
    Parser("addresses", _addresses, re.compile(r"--(denied-cidrs|allowed-endpoints|namespaces|port|request-timeout)")),
    Parser("convert", _convert, re.compile(r"no YAML: |document \d+ "), share=0.05),
    Parser("client-properties", _client_properties, re.compile(r"(security|sasl|ssl)\.")),
    Parser("bundle", _bundle, re.compile(r"bundle")),
    Parser("token", _token),
    Parser("scram", _scram),
    Parser("kafka-metadata", _kafka(_metadata)),
    Parser("kafka-coordinators", _kafka(wire.read_coordinators)),
    Parser("kafka-commits", _kafka(wire.read_committed)),
    Parser("kafka-ends", _kafka(wire.read_offsets)),
    Parser("kafka-classic", _kafka(_described("CLASSIC", 5))),
    Parser("kafka-consumer-v0", _kafka(_described("CONSUMER", 0))),
    Parser("kafka-consumer-v1", _kafka(_described("CONSUMER", 1))),
    Parser("kafka-share", _kafka(_described("SHARE", 1))),
    Parser("kafka-streams", _kafka(_described("STREAMS", 0))),
    Parser("kafka-share-offsets-v0", _kafka(lambda data: read_share_offsets(wire.Answer(0, data)))),
    Parser("kafka-share-offsets-v1", _kafka(lambda data: read_share_offsets(wire.Answer(1, data)))),
    Parser("kafka-tasks", _kafka(_tasks)),
)
