"""Which machine a node is, when it is given up, and who may become one: tables, and a thousand thieves."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import replace

import pytest

from plan.given import NOW, ago
from spotcompute.model.node import CertificateRequest, CertificateUse, Node, NodeNames, NodeWishes, Pod, Taint
from spotcompute.plan import nodes as plan_nodes
from spotcompute.plan.nodes import (
    ENVIRONMENT_LABEL,
    INSTANCE_LABEL,
    INTERRUPTION_TAINT,
    NAMESPACE_LABEL,
    RELEASE_TAINT,
    STARTUP_TAINT,
    ZONE_LABEL,
    Bind,
    GiveUp,
    KeepFree,
    Machine,
    NodeStep,
    OpenAgain,
    states_of,
    to_approve,
    to_drain,
    to_evict,
)

STARTUP = Taint(STARTUP_TAINT, "NoSchedule")
MINE = Machine("ins-1", "jobs", "farm", "ap-guangzhou", "ap-guangzhou-3", "S5.MEDIUM4", NodeWishes(), ("10.0.0.1",))
OTHER = replace(MINE, id="ins-2", addresses=("10.0.0.2",))
GONE = replace(MINE, is_alive=False)
BOUND_LABELS = {ENVIRONMENT_LABEL: "farm", NAMESPACE_LABEL: "jobs", INSTANCE_LABEL: "ins-1"}


def next_steps(nodes: Iterable[Node], machines: Collection[Machine]) -> tuple[NodeStep, ...]:
    return plan_nodes.next_steps(nodes, machines, NOW)


def node(name: str = "ins-1", provider_id: str = "qcloud:///100003/ins-1", **more: object) -> Node:
    return replace(Node(name, f"uid-{name}", "7", provider_id, taints=(STARTUP,)), **more)


def bound(machine: Machine = MINE, **more: object) -> Node:
    """A node as it is after its binding."""
    fresh = node(machine.id, f"qcloud:///100003/{machine.id}", **more)
    (step,) = next_steps([replace(fresh, notice=None)], [replace(machine, is_alive=True)])
    assert isinstance(step, Bind)
    return replace(fresh, labels={**fresh.labels, **step.labels}, taints=step.taints)


def test_a_node_gets_its_environment_and_loses_the_start_up_taint() -> None:
    wishes = NodeWishes(labels=(("team", "render"),), taints=(Taint("spot", "NoSchedule", "yes"),))
    (step,) = next_steps([node()], [replace(MINE, wishes=wishes)])
    assert isinstance(step, Bind)
    assert step.labels[ENVIRONMENT_LABEL] == "farm"
    assert step.labels[ZONE_LABEL] == "ap-guangzhou-3"
    assert step.labels["team"] == "render"
    assert step.taints == (Taint("spot", "NoSchedule", "yes"),)


def test_what_is_bound_already_is_left_alone() -> None:
    assert next_steps([bound()], [MINE]) == ()


def test_a_taint_that_somebody_has_taken_off_is_not_put_on_again() -> None:
    machine = replace(MINE, wishes=NodeWishes(taints=(Taint("spot", "NoSchedule"),)))
    assert next_steps([replace(bound(machine), taints=())], [machine]) == ()


@pytest.mark.parametrize(
    ("stranger", "machines"),
    [
        pytest.param(node("worker-1", "aws:///eu/i-1"), [MINE], id="a node of another cloud"),
        pytest.param(node("ins-9", "qcloud:///1/ins-9"), [MINE], id="an instance that the ledger does not hold"),
        pytest.param(node("worker-1", "qcloud:///1/ins-1"), [MINE], id="a name that was not approved for it"),
        pytest.param(node("ins-1", "qcloud:///1/ins-2"), [MINE, OTHER], id="the provider id of another machine"),
        pytest.param(node("ins-1", "", taints=()), [GONE], id="a machine that is gone, and pods may be on the node"),
        pytest.param(node("ins-1", "qcloud:///1/ins-2"), [GONE], id="the same, and it says that it is another one"),
        pytest.param(
            node("10.0.0.1", ""),
            [replace(GONE, wishes=NodeWishes(NodeNames.PRIVATE_IP))],
            id="an address that may be another machine's by now",
        ),
        pytest.param(
            node("10.0.0.1", ""),
            [replace(one, wishes=NodeWishes(NodeNames.PRIVATE_IP), addresses=("10.0.0.1",)) for one in (MINE, OTHER)],
            id="an address that two machines have",
        ),
    ],
)
def test_a_node_that_is_no_machine_of_ours_is_left_alone(stranger: Node, machines: list[Machine]) -> None:
    assert next_steps([stranger], machines) == ()


@pytest.mark.parametrize("provider_id", ["", "qcloud:///100003/ins-1", "k3s-like://ins-1"])
def test_a_node_may_be_named_by_its_address(provider_id: str) -> None:
    machine = replace(MINE, wishes=NodeWishes(NodeNames.PRIVATE_IP))
    (step,) = next_steps([node("10.0.0.1", provider_id)], [machine])
    assert isinstance(step, Bind)


def test_only_one_node_is_a_machine() -> None:
    second = node("ins-1", "")
    assert next_steps([replace(bound(), name="ins-1-old"), second], [MINE]) == ()


def test_the_node_of_a_machine_that_is_gone_is_given_up_and_no_other() -> None:
    gone = replace(MINE, is_alive=False)
    (step,) = next_steps([bound(), bound(OTHER)], [gone, OTHER])
    assert isinstance(step, GiveUp)
    assert step.node.name == "ins-1"


def test_a_node_whose_machine_went_before_it_was_bound_is_bound_and_then_given_up() -> None:
    joining = node("ins-1", "")
    (step,) = next_steps([joining], [GONE])
    assert isinstance(step, Bind)
    assert step.taints == joining.taints, "no pod is to come"
    (last,) = next_steps([replace(joining, labels=step.labels)], [GONE])
    assert isinstance(last, GiveUp)


def test_a_node_of_a_machine_that_nobody_answers_for_is_left_alone() -> None:
    """It may have been retained or disowned, and may live."""
    assert next_steps([bound()], [OTHER]) == ()


@pytest.mark.parametrize("change", [{ENVIRONMENT_LABEL: "else"}, {NAMESPACE_LABEL: "else"}])
def test_the_label_of_another_environment_makes_it_another_node(change: dict[str, str]) -> None:
    labels = {**bound().labels, **change}
    assert next_steps([replace(bound(), labels=labels)], [replace(MINE, is_alive=False)]) == ()


#: NOW is 04:00 in UTC, and noon where the cloud's clocks are.
SOON, LATE = "2026-11-23 12:02:00", "2026-11-23 15:00:00"


@pytest.mark.parametrize("notice", [SOON, ""], ids=["with a time", "by the vendor's agent, which tells none"])
def test_a_node_with_notice_gets_no_new_pods_and_is_drained(notice: str) -> None:
    noticed = bound(notice=notice)
    (step,) = next_steps([noticed], [MINE])
    assert isinstance(step, KeepFree)
    assert INTERRUPTION_TAINT in step.taints
    assert set(noticed.taints) <= set(step.taints)
    assert to_drain([noticed], [MINE], NOW) == (), "first no new pod comes"
    after = replace(noticed, is_unschedulable=True, taints=step.taints)
    assert next_steps([after], [MINE]) == ()
    assert to_drain([after], [MINE], NOW) == (after,)
    assert to_drain([after], [replace(MINE, wishes=NodeWishes(drains_on_notice=False))], NOW) == ()


@pytest.mark.parametrize("notice", [LATE, "2026-11-23 11:00:00", "soon, I think"])
def test_a_notice_that_cannot_be_true_closes_no_node(notice: str) -> None:
    assert next_steps([bound(notice=notice)], [MINE]) == ()


def test_the_node_of_a_machine_to_be_released_is_closed_and_opened_again_when_it_stays() -> None:
    leaving = replace(MINE, is_leaving=True)
    (step,) = next_steps([bound()], [leaving])
    assert isinstance(step, KeepFree)
    closed = replace(bound(), is_unschedulable=True, taints=step.taints)
    assert RELEASE_TAINT in step.taints
    assert next_steps([closed], [leaving]) == ()
    assert to_drain([closed], [leaving], NOW) == (closed,)
    (step,) = next_steps([closed], [MINE])
    assert isinstance(step, OpenAgain)
    assert RELEASE_TAINT not in step.taints
    assert to_drain([closed], [MINE], NOW) == ()


def test_a_node_that_a_person_has_closed_stays_closed() -> None:
    assert next_steps([replace(bound(), is_unschedulable=True)], [MINE]) == ()


def test_pods_that_belong_to_the_node_or_must_not_be_disturbed_are_not_evicted() -> None:
    work = Pod("jobs", "a", "1", "ins-1")
    agent, kept = replace(work, uid="2", is_bound_to_node=True), replace(work, uid="3", is_kept=True)
    assert to_evict([work, agent, kept]) == (work,)


def test_the_work_on_a_node_is_counted_and_dated() -> None:
    pods = [
        Pod("jobs", "old", "1", "ins-1", started_at=ago(300)),
        Pod("jobs", "new", "2", "ins-1", started_at=ago(20)),
        Pod("jobs", "waiting", "3", "ins-1"),
        Pod("kube-system", "agent", "4", "ins-1", is_bound_to_node=True, is_kept=True, started_at=ago(900)),
        Pod("jobs", "elsewhere", "5", "worker-1", is_kept=True),
    ]
    states = states_of(
        [bound(is_ready=True), node("worker-1", "aws:///eu/i-1"), node("ins-2", "")], pods, [MINE, OTHER]
    )
    assert states.keys() == {"ins-1"}, "a node is nobody's until it is bound"
    state = states["ins-1"]
    assert (state.name, state.is_ready, state.pods, state.working_since) == ("ins-1", True, 3, ago(300))
    assert not state.is_kept
    assert states_of([bound()], [replace(pods[0], is_kept=True)], [MINE])["ins-1"].is_kept


# --- certificates ----------------------------------------------------------------------------------------------------


def request(name: str = "csr-1", machine: str = "ins-1", **more: object) -> CertificateRequest:
    made = CertificateRequest(
        name=name,
        use=CertificateUse.CLIENT,
        username="system:bootstrap:spotce",
        common_name=f"system:node:{machine}",
        organizations=("system:nodes",),
        usages=frozenset({"digital signature", "client auth"}),
    )
    return replace(made, **more)


SERVING = {
    "use": CertificateUse.SERVING,
    "username": "system:node:ins-1",
    "usages": frozenset({"digital signature", "server auth"}),
    "dns_names": frozenset({"ins-1"}),
    "addresses": frozenset({"10.0.0.1"}),
}


def test_a_machine_of_the_ledger_without_a_node_may_join() -> None:
    assert [one.name for one in to_approve([request()], [], [MINE])] == ["csr-1"]


@pytest.mark.parametrize(
    "stolen",
    [
        pytest.param(request(machine="ins-9"), id="no such instance"),
        pytest.param(request(common_name="admin"), id="no node at all"),
        pytest.param(request(organizations=("system:masters",)), id="another group"),
        pytest.param(request(organizations=("system:nodes", "system:masters")), id="one group more"),
        pytest.param(request(usages=frozenset({"client auth", "server auth"})), id="one usage more"),
        pytest.param(request(usages=frozenset({"digital signature"})), id="a usage too few"),
        pytest.param(request(dns_names=frozenset({"kubernetes.default"})), id="a name to serve under"),
        pytest.param(request(has_other_names=True), id="a name of another kind"),
        pytest.param(request(username="alice"), id="a person"),
        pytest.param(request(username="system:node:ins-2"), id="another node"),
        pytest.param(request(is_denied=True), id="denied by somebody"),
        pytest.param(request(use=CertificateUse.SERVING, usages=SERVING["usages"]), id="to serve, with a token"),
    ],
)
def test_a_token_alone_makes_no_node(stolen: CertificateRequest) -> None:
    assert to_approve([stolen], [], [MINE, OTHER]) == ()


def test_a_name_that_is_taken_is_not_given_twice() -> None:
    assert to_approve([request()], [bound()], [MINE]) == (), "there is a node of that name"
    assert to_approve([request(is_approved=True), request("csr-2")], [], [MINE]) == (), "a certificate was given"
    assert [one.name for one in to_approve([request("a"), request("b")], [], [MINE])] == ["a"], "of two, one"


def test_a_machine_that_is_gone_may_not_join() -> None:
    assert to_approve([request()], [], [replace(MINE, is_alive=False)]) == ()


def test_a_node_renews_its_own_certificate_and_gets_one_to_serve_with() -> None:
    renewal, serving = request(username="system:node:ins-1"), request("csr-2", **SERVING)
    assert to_approve([renewal, serving], [bound()], [MINE]) == (renewal, serving)
    assert to_approve([renewal, serving], [], [MINE]) == (), "it is no node yet"


@pytest.mark.parametrize(
    "change",
    [
        {"addresses": frozenset({"10.0.0.2"})},
        {"dns_names": frozenset({"ins-2"})},
        {"dns_names": frozenset(), "addresses": frozenset()},
        {"username": "system:node:ins-2"},
    ],
)
def test_a_node_serves_under_nothing_but_its_own_name_and_address(change: dict[str, object]) -> None:
    assert to_approve([request(**{**SERVING, **change})], [bound(), bound(OTHER)], [MINE, OTHER]) == ()


def test_of_a_thousand_requests_for_unknown_or_taken_names_none_is_approved() -> None:
    dice = random.Random(20261130)
    nodes, machines = [bound(), bound(OTHER)], [MINE, OTHER]
    for number in range(1000):
        name = dice.choice(["ins-1", "ins-2", "ins-3", "INS-1", "ins-1.", "", "master-0", f"ins-{number}x"])
        forged = request(
            f"csr-{number}",
            name,
            username=dice.choice(["system:bootstrap:spotce", "system:bootstrap:abcdef", "alice"]),
            usages=dice.choice([request().usages, SERVING["usages"]]),
            use=dice.choice(list(CertificateUse)),
            organizations=dice.choice([("system:nodes",), ("system:masters",), ()]),
        )
        assert to_approve([forged], nodes, machines) == (), forged


def test_a_second_node_of_one_machine_keeps_no_other_from_being_bound() -> None:
    again = replace(node(), uid="uid-again")
    stranger = node("a-worker", "aws:///eu/i-1")
    steps = next_steps([stranger, bound(), again, node("ins-2", "qcloud:///1/ins-2")], [MINE, OTHER])
    assert [step.node.name for step in steps] == ["ins-2"]
