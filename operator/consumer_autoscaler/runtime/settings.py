"""How one operator process runs, from the command line or the environment (`CONSUMER_AUTOSCALER_…`)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from consumer_autoscaler.sources.address_policy import AddressPolicy, Endpoint

PREFIX = "CONSUMER_AUTOSCALER_"


class InvalidSettings(ValueError):
    """A setting cannot be used; the message names it and says what it must be."""


class Settings(BaseModel):
    """Everything that is not in the resources. Times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespaces: tuple[str, ...] = Field(
        default=(), description="Namespaces to serve, separated by commas; all when empty."
    )
    label_selector: str = Field(
        default="",
        max_length=1000,
        description="Serve only resources whose labels match, as in `shard=a` or `team in (shop,billing)`; all when"
        " empty. Each part needs a Lease of its own: --lease-name.",
    )
    kubeconfig: Path | None = Field(
        default=None, description="Kubeconfig to use; in a pod its service account is the default."
    )
    listen_host: str = Field(default="0.0.0.0", description="Address of /metrics, /healthz, /readyz and /explain.")
    port: int = Field(default=8080, ge=0, le=65535, description="Port of the same; 0 takes a free one.")
    leader_election: bool = Field(default=True, description="Hold a Lease before doing anything.")
    lease_namespace: str = Field(default="", description="Namespace of the Lease; the pod's own when empty.")
    lease_name: str = Field(default="consumer-autoscaler", min_length=1, description="Name of the Lease.")
    lease_duration_seconds: float = Field(
        default=15, gt=0, description="Another process takes over when the Lease was not renewed for this long."
    )
    identity: str = Field(
        default_factory=socket.gethostname, min_length=1, description="Name of this process in the Lease."
    )
    request_timeout_seconds: float = Field(
        default=8, gt=0, le=60, description="Longest wait for one answer of a broker or the API server."
    )
    resync_seconds: float = Field(default=300, ge=1, description="All resources are listed anew this often.")
    denied_cidrs: tuple[str, ...] = Field(
        default=(),
        description="Networks that resources lead to nowhere in, separated by commas; besides loopback, link-local,"
        " cloud metadata, unspecified and multicast addresses, which are always denied.",
    )
    allowed_endpoints: tuple[str, ...] = Field(
        default=(),
        description="When given, only these are connected to for resources: networks and names (with all names below),"
        " with a port if only that one, as in `10.0.0.0/8,kafka.svc:9092`. With `podMetrics` the pods' network, too.",
    )
    allow_loopback: bool = Field(
        default=False,
        description="Connect to loopback addresses for resources, for an operator on the machine of its brokers.",
    )
    allow_passwords_without_tls: bool = Field(
        default=False,
        description="Allow logins that show a secret without TLS: to brokers, token endpoints and Prometheus.",
    )
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least level logged.")
    log_format: str = Field(default="text", pattern="^(text|json)$", description="text or json.")

    @model_validator(mode="after")
    def _parts_do_not_share_a_lease(self) -> Self:
        # With one Lease for two parts the second operator would stand by for ever, and its part be served by none.
        if self.label_selector and self.leader_election and "lease_name" not in self.model_fields_set:
            raise ValueError("--label-selector needs a --lease-name of its own, different for each part")
        return self

    @field_validator("denied_cidrs")
    @classmethod
    def _networks(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            ip_network(text)
        return texts

    @field_validator("allowed_endpoints")
    @classmethod
    def _endpoints(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            Endpoint.parse(text)
        return texts

    def address_policy(self) -> AddressPolicy:
        """Of every connection that is made for a resource."""
        return AddressPolicy(
            denied=tuple(ip_network(text) for text in self.denied_cidrs),
            allowed=tuple(Endpoint.parse(text) for text in self.allowed_endpoints),
            allow_loopback=self.allow_loopback,
        )

    def effective_lease_namespace(self) -> str:
        """The namespace for the Lease: as set, else the pod's, else `default`."""
        if self.lease_namespace:
            return self.lease_namespace
        own = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
        return own.read_text().strip() if own.is_file() else "default"


def read_settings(flags: Mapping[str, object], environment: Mapping[str, str] | None = None) -> Settings:
    """Flags that are not None win over the environment, that over the defaults. Raises InvalidSettings."""
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for name in Settings.model_fields:
        text = environment.get(PREFIX + name.upper())
        if text is not None:
            values[name] = text
        if flags.get(name) is not None:
            values[name] = flags[name]
    for name in _LISTS:
        if isinstance(values.get(name), str):
            values[name] = [part.strip() for part in str(values[name]).split(",") if part.strip()]
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{_flag(item['loc'])}: {item['msg']}" for item in error.errors(include_url=False))
        raise InvalidSettings(problems) from None


_LISTS = tuple(name for name, field in Settings.model_fields.items() if field.default == ())


def _flag(location: Sequence[int | str]) -> str:
    return "--" + str(location[0]).replace("_", "-") if location else "settings"
