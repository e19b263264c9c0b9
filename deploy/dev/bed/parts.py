"""Where the bed's programs come from."""

from __future__ import annotations

from bed.jvm import KAFKA_NEWEST_VERSION, KAFKA_OLD_VERSION, KAFKA_VERSION, java, kafka_libs

__all__ = ["KAFKA_NEWEST_VERSION", "KAFKA_OLD_VERSION", "KAFKA_VERSION", "java", "kafka_libs"]
