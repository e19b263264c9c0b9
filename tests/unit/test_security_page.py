"""docs/security.md claims what tests hold: each row of its tables and each sentence about rights names its tests here.

A row that is added has no tests and fails; a test that is renamed or removed fails, too.
"""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from bed.paths import REPOSITORY

PAGE = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")

# By how a row's first cell, or a sentence, begins.
HELD_BY: dict[str, tuple[str, ...]] = {
    # What the operator may do
    "The whole list is": (
        "tests/integration/test_rights.py::test_the_manifests_give_the_same",
        "tests/integration/test_rights.py::test_the_chart_gives_what_it_is_told_to_and_nothing_else",
    ),
    "It writes `scale` of": (
        "tests/integration/test_rights.py::test_the_manifests_give_the_same",
        "tests/integration/test_operator.py::test_observe_and_paused_write_nothing",
    ),
    "It never changes a Deployment otherwise": (
        "tests/integration/test_manifests.py::test_the_roles_give_each_right_that_the_operator_checks_and_little_more",
        "tests/integration/test_rights.py::test_the_chart_changes_nothing_that_admits_requests",
    ),
    "Pods pass the `restricted`": (
        "tests/integration/test_manifests.py::test_the_pods_are_admitted_where_the_restricted_standard_is_enforced",
    ),
    # Who is trusted with what
    "**whoever may create a ConsumerAutoscaler in a namespace**": (
        "tests/unit/test_no_namespace_from_specs.py::test_namespaces_are_taken_from_metadata_only",
        "tests/unit/test_no_namespace_from_specs.py::test_no_field_of_a_spec_is_a_namespace_or_a_file",
        "tests/unit/test_no_namespace_from_specs.py::test_a_name_cannot_be_a_path",
    ),
    "whoever may read a ConsumerAutoscaler": ("tests/integration/test_canary.py::test_no_secret_shows_anywhere",),
    "brokers, Prometheus, token endpoints, pods that are read": (
        "tests/wire/test_processing_scrape.py::test_a_redirect_is_not_followed",
        "tests/wire/test_prometheus_faults.py::test_a_redirect_and_a_proxy_of_the_environment_are_not_followed",
        "tests/unit/test_no_namespace_from_specs.py::test_files_are_read_in_few_places_and_none_is_named_by_a_resource",
        "tests/unit/test_decision_properties.py::test_it_holds_in_every_life",
    ),
    "whoever reaches port 8080": (
        "tests/integration/test_operator.py::test_explain_live_is_for_those_who_may_read_the_resource",
    ),
    # Threats
    "a resource uses the operator's wider rights": (
        "tests/unit/test_no_namespace_from_specs.py::test_namespaces_of_secrets_come_from_the_resource",
        "tests/unit/test_no_namespace_from_specs.py::test_secrets_are_asked_for_in_one_place_by_name",
        "tests/unit/test_no_namespace_from_specs.py::test_a_namespace_beside_a_name_changes_nothing",
        "tests/integration/test_kafka_secrets.py::test_a_right_on_secrets_that_is_missing_is_named",
    ),
    "a resource makes the operator ask inner addresses": (
        "tests/wire/test_address_guard.py::test_nothing_of_a_resource_is_connected_to_but_through_the_policy",
        "tests/wire/test_address_guard.py::test_a_name_is_looked_up_once_for_a_connection",
        "tests/wire/test_address_guard.py::test_prometheus_and_token_endpoints_are_checked_by_what_their_names_lead_to",
        "tests/wire/test_processing_scrape.py::test_a_proxy_of_the_environment_is_not_used",
        "tests/integration/test_bad_input.py::test_an_address_that_may_not_be_connected_to_is_named",
        "tests/integration/test_advertised_addresses.py::"
        "test_an_address_that_a_real_broker_advertises_is_refused_at_once",
    ),
    "a hostile broker collects passwords": (
        "tests/integration/test_kafka_access.py::test_every_wrong_way_in_is_named_with_its_remedy",
        "tests/integration/test_kafka_secrets.py::test_a_plain_password_without_tls_needs_the_operators_leave",
        "tests/unit/test_kafka_security.py::test_a_context_checks_certificates_and_names",
        "tests/unit/test_kafka_security.py::test_a_scram_server_must_know_the_password_too",
        "tests/wire/test_prometheus_faults.py::test_tls_checks_the_certificate_before_the_login_is_shown",
    ),
    "one Prometheus for many tenants": (
        "tests/wire/test_prometheus_faults.py::test_each_fault_has_its_kind_and_words_with_a_remedy",
    ),
    "wrong numbers lead to a wrong scaling": (
        "tests/unit/test_decision_properties.py::test_it_holds_in_every_life",
        "tests/integration/test_faults.py::test_a_group_deleted_with_a_backlog_holds",
        "tests/unit/test_decision_unavailable.py::test_it_never_lowers_and_never_exceeds_the_maximum",
    ),
    "a huge or slow answer, a resource with absurd values": (
        "tests/unit/test_fuzz.py::test_bad_inputs_are_refused_with_what_is_wrong",
        "tests/unit/test_kafka_security.py::test_an_answer_in_pieces_is_put_together_and_an_endless_one_is_not",
        "tests/unit/test_kafka_security.py::test_a_scram_answer_that_makes_no_sense_or_would_keep_us_busy_is_refused",
        "tests/wire/test_processing_scrape.py::test_hanging_pods_do_not_keep_healthy_ones_waiting",
        "tests/wire/test_processing_scrape.py::test_all_pods_together_have_a_bounded_time",
        "tests/integration/test_crd.py::test_every_field_refuses_a_wrong_type_and_a_value_out_of_bounds",
        "tests/integration/test_bad_input.py::test_a_sound_resource_is_not_disturbed",
    ),
    "two operators write at once": (
        "tests/integration/test_faults.py::test_a_leader_that_was_stopped_writes_nothing_when_it_wakes_up",
        "tests/integration/test_label_selector.py::test_two_parts_do_not_scale_one_target",
        "tests/e2e/test_leader.py::test_a_leader_that_is_killed_is_followed_within_the_lease",
    ),
    "secrets in logs": (
        "tests/integration/test_canary.py::test_no_secret_shows_anywhere",
        "tests/integration/test_kafka_secrets.py::test_no_secret_shows_in_logs_status_events_or_pages",
        "tests/unit/test_kafka_security.py::test_no_secret_shows_in_a_repr",
    ),
    "a tampered image or chart": (
        "tests/integration/test_chart_checklist.py::test_the_chart_has",
        "tests/unit/test_workflows.py::test_actions_of_others_are_pinned_by_commit",
        "tests/unit/test_licences.py::test_the_lock_is_read_whole",
    ),
    # Where resources may lead
    "always": ("tests/unit/test_address_policy.py::test_what_is_always_denied_names_its_class_and_what_to_do",),
    "without `--allow-loopback`": ("tests/unit/test_address_policy.py::test_loopback_is_denied_unless_allowed",),
    "with `--denied-cidrs": ("tests/unit/test_address_policy.py::test_a_denied_network_is_named",),
    "with `--allowed-endpoints": (
        "tests/unit/test_address_policy.py::test_with_allowed_endpoints_only_these_are_connected_to",
        "tests/wire/test_address_guard.py::test_allowed_endpoints_hold_for_names_as_they_are_written",
    ),
    "IPv4 addresses count in their IPv6 forms": (
        "tests/unit/test_address_policy.py::test_an_ipv4_address_is_known_in_every_ipv6_form",
    ),
}
NO_CLAIM = {"cluster administrators", "Who", "Threat", ""}  # who may do everything, and heads of tables


def claims() -> list[str]:
    """The first cell of each row, each sentence about rights, and what is said of addresses beside their table."""
    rows = [line.split("|")[1].strip() for line in PAGE.splitlines() if re.match(r"\|(?!-)", line)]
    rights = _section("What the operator may do")
    addresses = _section("Where resources may lead")
    sentences = re.split(r"(?<=[.])\s+(?=[A-Z])", " ".join(rights.split()))
    forms = [line for line in addresses.splitlines() if line.startswith("IPv4")]
    return [claim for claim in [*sentences, *rows, *forms] if claim not in NO_CLAIM]


def _section(title: str) -> str:
    found = re.search(rf"## {title}\n(.*?)\n## ", PAGE, re.DOTALL)
    assert found is not None
    return found[1].strip()


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: re.sub(r"\W+", "-", claim)[:40])
def test_a_claim_is_held_by_tests(claim: str) -> None:
    held = [tests for begins, tests in HELD_BY.items() if claim.startswith(begins)]
    assert len(held) == 1, f"no tests are named for: {claim}"
    assert held[0]


@pytest.mark.parametrize("test", sorted({test for tests in HELD_BY.values() for test in tests}))
def test_a_test_that_holds_a_claim_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert name in functions_of(file)
    assert name.startswith("test_")


def test_nothing_is_held_that_is_not_claimed() -> None:
    """A claim that was taken back takes its entry with it."""
    assert [begins for begins in HELD_BY if not any(claim.startswith(begins) for claim in claims())] == []
