"""From KEDA's ScaledObjects and from HPAs to ConsumerAutoscalers: pure functions, objects in, objects and notes out.

Every part that is not taken over as it was is named with the reason; what would not do what it did is refused.
"""
