"""Three brokers that many users log in to: each user has connections of its own to each of them."""

from __future__ import annotations

from typing import Any

from bed.kafka import Kafka, _Broker
from bed.processes import free_port

_HOST = "127.0.0.1"


def user_names(count: int) -> list[str]:
    """The password of each is the name."""
    return [f"user-{number:03d}" for number in range(count)]


class LoginKafka(Kafka):
    """`with LoginKafka(users=50) as kafka`: `kafka.login_bootstrap` wants PLAIN, `kafka.bootstrap` stays open."""

    def __init__(self, *, users: int, **more: Any) -> None:
        super().__init__(brokers=3, **more)
        self._users = user_names(users)
        self.login_ports = [free_port(_HOST) for _ in range(3)]

    @property
    def login_bootstrap(self) -> str:
        return ",".join(f"{_HOST}:{port}" for port in self.login_ports)

    def _properties(self, broker: _Broker) -> dict[str, str]:
        usual = super()._properties(broker)
        users = " ".join(f'user_{name}="{name}"' for name in self._users)
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        return {
            **usual,
            "listeners": f"{usual['listeners']},LOGIN://{_HOST}:{self.login_ports[broker.number]}",
            "listener.security.protocol.map": f"{usual['listener.security.protocol.map']},LOGIN:SASL_PLAINTEXT",
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.login.plain.sasl.jaas.config": f"{module} required {users};",
        }
