"""Kafka's error codes that a reading meets, and what each means for it.

aiokafka has no classes for some of them (74, 75, 78), so they are numbers here.
Source: https://kafka.apache.org/41/design/protocol/#protocol_error_codes
"""

from __future__ import annotations

UNKNOWN_TOPIC_OR_PARTITION = 3
LEADER_NOT_AVAILABLE = 5
NOT_LEADER_OR_FOLLOWER = 6
REPLICA_NOT_AVAILABLE = 9
COORDINATOR_LOAD_IN_PROGRESS = 14
COORDINATOR_NOT_AVAILABLE = 15
NOT_COORDINATOR = 16
TOPIC_AUTHORIZATION_FAILED = 29
GROUP_AUTHORIZATION_FAILED = 30
UNSUPPORTED_VERSION = 35
KAFKA_STORAGE_ERROR = 56
GROUP_ID_NOT_FOUND = 69
FENCED_LEADER_EPOCH = 74
UNKNOWN_LEADER_EPOCH = 75
OFFSET_NOT_AVAILABLE = 78

LEADER_MOVED = frozenset(
    {
        UNKNOWN_TOPIC_OR_PARTITION,
        LEADER_NOT_AVAILABLE,
        NOT_LEADER_OR_FOLLOWER,
        REPLICA_NOT_AVAILABLE,
        KAFKA_STORAGE_ERROR,
        FENCED_LEADER_EPOCH,
        UNKNOWN_LEADER_EPOCH,
    }
)
"""The partition's metadata is old: read it again, then ask once more."""

COORDINATOR_MOVED = frozenset({COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR})
"""Another broker coordinates the group: find it again, then ask once more."""

_WORDS = {
    UNKNOWN_TOPIC_OR_PARTITION: "unknown topic or partition",
    LEADER_NOT_AVAILABLE: "no leader at present",
    NOT_LEADER_OR_FOLLOWER: "the leader has moved",
    REPLICA_NOT_AVAILABLE: "replica not available",
    COORDINATOR_LOAD_IN_PROGRESS: "the coordinator is still loading the group",
    COORDINATOR_NOT_AVAILABLE: "no coordinator at present",
    NOT_COORDINATOR: "the coordinator has moved",
    TOPIC_AUTHORIZATION_FAILED: "topic authorization failed",
    GROUP_AUTHORIZATION_FAILED: "group authorization failed",
    KAFKA_STORAGE_ERROR: "the broker's disk failed",
    OFFSET_NOT_AVAILABLE: "a just elected leader does not know the end yet",
}


def words(code: int) -> str:
    """The error in words, with its number."""
    return f"{_WORDS[code]} (error {code})" if code in _WORDS else f"error {code}"
