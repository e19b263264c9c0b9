"""The words the operator uses for what it sees and does: condition types and their reasons.

One closed set, shared by status, Events, metrics and docs. A reason is one CamelCase word, so it can be a metric
label and an Event reason as it is.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """What a condition speaks about. Positive polarity where a person would expect it (`Ready`, `SourceHealthy`)."""

    READY = "Ready"
    SOURCE_HEALTHY = "SourceHealthy"
    ABLE_TO_SCALE = "AbleToScale"
    SCALING_LIMITED = "ScalingLimited"
    BACKPRESSURED = "Backpressured"
    PROMISE_KEPT = "PromiseKept"
    ALERT_FIRING = "AlertFiring"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ReadyReason(StrEnum):
    """Whether the controller can do its work for this resource."""

    WORKING = "Working"
    OBSERVING = "Observing"
    PAUSED = "Paused"
    PARTLY_PAUSED = "PartlyPaused"
    INVALID_SPEC = "InvalidSpec"
    TARGET_NOT_FOUND = "TargetNotFound"
    CONFLICTED = "Conflicted"
    INTERNAL_ERROR = "InternalError"


class SourceReason(StrEnum):
    """Whether the last reading was good enough to decide on, and if not, why."""

    VALID = "Valid"
    NOT_READ_YET = "NotReadYet"
    BROKER_UNREACHABLE = "BrokerUnreachable"
    ADDRESS_DENIED = "AddressDenied"
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    AUTHORIZATION_FAILED = "AuthorizationFailed"
    GROUP_NOT_FOUND = "GroupNotFound"
    TOPIC_NOT_FOUND = "TopicNotFound"
    MANUAL_ASSIGNMENT = "ManualAssignment"
    PARTIAL_READING = "PartialReading"
    PROCESSING_TIME_UNAVAILABLE = "ProcessingTimeUnavailable"
    KAFKA_CONNECT = "KafkaConnect"
    # The reading is good, and a person should look:
    OFFSET_BEYOND_END = "OffsetBeyondEnd"
    MESSAGES_LOST = "MessagesLost"
    RETENTION_NEAR = "RetentionNear"
    COMMITS_EXPIRE = "CommitsExpire"
    REBALANCING_LONG = "RebalancingLong"
    PROCESSING_TIME_FALLBACK = "ProcessingTimeFallback"

    @property
    def is_failure(self) -> bool:
        """Whether it says why there is no reading, or none to decide on."""
        return self in _SOURCE_FAILURES


_SOURCE_FAILURES = frozenset(
    {
        SourceReason.BROKER_UNREACHABLE,
        SourceReason.ADDRESS_DENIED,
        SourceReason.AUTHENTICATION_FAILED,
        SourceReason.AUTHORIZATION_FAILED,
        SourceReason.GROUP_NOT_FOUND,
        SourceReason.TOPIC_NOT_FOUND,
        SourceReason.MANUAL_ASSIGNMENT,
        SourceReason.PARTIAL_READING,
        SourceReason.PROCESSING_TIME_UNAVAILABLE,
        SourceReason.KAFKA_CONNECT,
    }
)


class ScaleReason(StrEnum):
    """Whether `/scale` of the target can be read and written."""

    READY_FOR_NEW_SCALE = "ReadyForNewScale"
    FAILED_GET_SCALE = "FailedGetScale"
    FAILED_UPDATE_SCALE = "FailedUpdateScale"
    FORBIDDEN = "Forbidden"
    REPLICAS_NOT_READY = "ReplicasNotReady"


class LimitReason(StrEnum):
    """Which limit changed the demand."""

    DESIRED_WITHIN_RANGE = "DesiredWithinRange"
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"
    PARTITION_LIMIT = "PartitionLimit"
    USEFUL_STEPS = "UsefulSteps"
    COOLDOWN = "Cooldown"
    STEP_LIMIT = "StepLimit"
    REBALANCING = "Rebalancing"
    PODS_STARTING = "PodsStarting"
    INEFFECTIVE = "Ineffective"
    LEARNING_CAPACITY = "LearningCapacity"
    PAUSED_REPLICAS = "PausedReplicas"
    PAUSED_SCALE_IN = "PausedScaleIn"
    PAUSED_SCALE_OUT = "PausedScaleOut"


class BackpressureReason(StrEnum):
    """Whether the group is behind, and why."""

    KEEPING_UP = "KeepingUp"
    UNDER_PROVISIONED = "UnderProvisioned"
    SLOW_DOWNSTREAM = "SlowDownstream"
    PARTITION_LIMIT = "PartitionLimit"
    MAX_REPLICAS = "MaxReplicas"
    STUCK_PARTITION = "StuckPartition"
    PARTITION_SKEW = "PartitionSkew"
    REBALANCING = "Rebalancing"
    LAG_UNKNOWN = "LagUnknown"


class PromiseReason(StrEnum):
    """Whether a message waited longer than promised."""

    WITHIN_PROMISE = "WithinPromise"
    DELAY_ABOVE_PROMISE = "DelayAbovePromise"
    PROMISE_TOO_SHORT = "PromiseTooShort"
    NO_PROMISE = "NoPromise"
    LAG_UNKNOWN = "LagUnknown"


class AlertReason(StrEnum):
    """Whether an alert of the spec fires."""

    THRESHOLD_CROSSED = "ThresholdCrossed"
    WITHIN_THRESHOLDS = "WithinThresholds"
    LAG_UNKNOWN = "LagUnknown"


class DecisionReason(StrEnum):
    """The one word for what a decision did."""

    AT_DEMAND = "AtDemand"
    SCALE_UP = "ScaleUp"
    SCALE_DOWN = "ScaleDown"
    SCALE_FROM_ZERO = "ScaleFromZero"
    SCALE_TO_ZERO = "ScaleToZero"
    HOLD_LAG_UNKNOWN = "HoldLagUnknown"
    HOLD_NOT_SCALABLE = "HoldNotScalable"
    LAG_UNKNOWN_TOO_LONG = "LagUnknownTooLong"
    HOLD_SCALE_UNKNOWN = "HoldScaleUnknown"
    HOLD_REBALANCING = "HoldRebalancing"
    HOLD_PODS_STARTING = "HoldPodsStarting"
    HOLD_COOLDOWN = "HoldCooldown"
    HOLD_HISTORY = "HoldHistory"
    HOLD_PROCESSING_TIME_UNKNOWN = "HoldProcessingTimeUnknown"
    LEARNING_CAPACITY = "LearningCapacity"
    BOUNDS_ENFORCED = "BoundsEnforced"
    HOLD_PAUSED = "HoldPaused"
    PAUSED = "Paused"


class GroupState(StrEnum):
    """The state of a group, in the broker's own words.

    KIP-848 adds Assigning and Reconciling; KIP-1071 (Streams) NotReady: a source topic is missing, nobody has a task.
    """

    STABLE = "Stable"
    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    ASSIGNING = "Assigning"
    RECONCILING = "Reconciling"
    NOT_READY = "NotReady"
    DEAD = "Dead"
    UNKNOWN = "Unknown"

    @property
    def rebalancing(self) -> bool:
        return self in _REBALANCING


_REBALANCING = frozenset(
    {
        GroupState.PREPARING_REBALANCE,
        GroupState.COMPLETING_REBALANCE,
        GroupState.ASSIGNING,
        GroupState.RECONCILING,
        GroupState.NOT_READY,
    }
)


class EventReason(StrEnum):
    """What an Event is about. Normal: what went as meant; Warning: what a person may have to look at."""

    # Normal
    TARGET_SCALED_UP = "TargetScaledUp"
    TARGET_SCALED_DOWN = "TargetScaledDown"
    LIMITS_ENFORCED = "LimitsEnforced"
    PARTITION_LIMIT_REACHED = "PartitionLimitReached"
    SOURCE_RECOVERED = "SourceRecovered"
    CAUGHT_UP = "CaughtUp"
    PROMISE_KEPT_AGAIN = "PromiseKeptAgain"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    READY_AGAIN = "ReadyAgain"
    ALERT_RESOLVED = "AlertResolved"
    # Warning
    SOURCE_FAILED = "SourceFailed"
    OFFSET_BEYOND_END = "OffsetBeyondEnd"
    MESSAGES_LOST = "MessagesLost"
    RETENTION_NEAR = "RetentionNear"
    COMMITS_EXPIRE = "CommitsExpire"
    REBALANCING_LONG = "RebalancingLong"
    PROCESSING_TIME_FALLBACK = "ProcessingTimeFallback"
    SCALE_FAILED = "ScaleFailed"
    DELETION_COST_FAILED = "DeletionCostFailed"
    TARGET_NOT_FOUND = "TargetNotFound"
    EXTERNAL_SCALE_DETECTED = "ExternalScaleDetected"
    CONFLICTING_AUTOSCALER = "ConflictingAutoscaler"
    SPEC_INVALID = "SpecInvalid"
    REPLICAS_NOT_READY = "ReplicasNotReady"
    PROMISE_BROKEN = "PromiseBroken"
    ALERT_FIRING = "AlertFiring"
    BACKPRESSURED = "Backpressured"
    INTERNAL_ERROR = "InternalError"
