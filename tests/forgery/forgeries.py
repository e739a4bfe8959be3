"""The forgeries by hand: what somebody with too many rights writes, and what must come of it.

Each is one function that forges in a `Scene`; its row says what may be different afterwards. Rows say nothing where
nothing may be: the environment keeps its very machines, buys nothing, and its words become true again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from forgery.scene import NEIGHBOUR, VICTIM, Json, Scene
from forgery.unfold import members_of
from simulation.world import CLUSTER, IMAGES, SECRET
from spotcompute.model.identity import binding, launch_name, launch_token
from spotcompute.model.instance import Ownership
from spotcompute.model.launch import LaunchRequest, Template
from spotcompute.model.offering import Pool

POOL = ["ap-guangzhou-3", "S2.MEDIUM4"]

Forge = Callable[[Scene], None]


@dataclass(frozen=True, slots=True)
class Forgery:
    """One row. `says` is part of a condition that must be seen, as "Type Reason message".

    `replaced` and `bought` allow for machines of its own that the operator lets go and buys again.
    """

    name: str
    forge: Forge
    says: str = ""
    bought: int = 0
    replaced: int = 0


FORGERIES: dict[str, Forgery] = {}


def forgery(says: str = "", bought: int = 0, replaced: int = 0) -> Callable[[Forge], Forge]:
    """Register a function as a row, under its own name."""

    def register(forge: Forge) -> Forge:
        name = forge.__name__.replace("_", "-")
        FORGERIES[name] = Forgery(name, forge, says, bought, replaced)
        return forge

    return register


# --- members ---------------------------------------------------------------------------------------------------------


def member(scene: Scene, instance_id: object, **fields: Any) -> Json:
    """A member entry like those the operator writes, an hour old."""
    return {"id": instance_id, "pool": POOL, "launchedAt": scene.at(-3600), "seen": True, "arrived": True, **fields}


def claim(scene: Scene, *ids: object, **fields: Any) -> None:
    """Put members into the ledger."""
    scene.ledger(lambda ledger: ledger["members"].extend(member(scene, one, **fields) for one in ids))


def each_member(scene: Scene, **fields: Any) -> None:
    """Change every member that is there."""
    scene.ledger(lambda ledger: [one.update(fields) for one in ledger["members"]])


@forgery(says="NotOurs")
def a_strangers_machine_as_member(scene: Scene) -> None:
    claim(scene, scene.strangers["nobody"].id)


@forgery(says="NotOurs")
def another_clusters_machine_as_member(scene: Scene) -> None:
    claim(scene, scene.strangers["cluster-2"].id)


@forgery(says="NotOurs")
def the_neighbours_machine_as_member(scene: Scene) -> None:
    claim(scene, scene.living(NEIGHBOUR)[0].id)


@forgery(says="NotOurs")
def a_strangers_machine_said_to_be_verified(scene: Scene) -> None:
    claim(scene, scene.strangers["nobody"].id, verified=True)


@forgery(says="NotOurs")
def another_clusters_machine_said_to_be_verified(scene: Scene) -> None:
    claim(scene, scene.strangers["cluster-2"].id, verified=True)


@forgery(says="NotOurs")
def the_neighbours_machine_said_to_be_verified(scene: Scene) -> None:
    claim(scene, scene.living(NEIGHBOUR)[0].id, verified=True)


@forgery(says="NotOurs")
def strangers_to_be_released(scene: Scene) -> None:
    termination = {"cause": "ScaledDown", "recordedAt": scene.at(-100)}
    ids = [*(one.id for one in scene.strangers.values()), scene.living(NEIGHBOUR)[0].id]
    claim(scene, *ids, termination=termination, verified=True)


@forgery(says="NotOurs")
def strangers_whose_release_was_sent(scene: Scene) -> None:
    sent = {"cause": "Reclaimed", "recordedAt": scene.at(-9), "sentAt": scene.at(-900), "acceptedAt": scene.at(-900)}
    claim(scene, *(one.id for one in scene.strangers.values()), termination=sent)


@forgery()
def a_machine_that_never_was(scene: Scene) -> None:
    claim(scene, "ins-00000000")


@forgery()
def a_machine_that_never_was_and_is_to_be_released(scene: Scene) -> None:
    claim(scene, "ins-00000000", termination={"cause": "ScaledDown", "recordedAt": scene.at(-100)})


@forgery()
def a_machine_that_will_be_launched_in_a_century(scene: Scene) -> None:
    claim(scene, "ins-00000000", launchedAt="2126-01-01T00:00:00Z", seen=False)


@forgery(says="StateRefused LedgerRefused")
def ids_that_are_no_ids(scene: Scene) -> None:
    claim(
        scene, "", "ins-", "../../etc/passwd", "ins-\u0000", "ins-\u202e", "ins-1,ins-2", "ИНС-1", "ins-" + "a" * 9000
    )


@forgery(says="StateRefused LedgerRefused")
def an_id_that_is_a_number(scene: Scene) -> None:
    claim(scene, 7)


@forgery(says="StateRefused LedgerRefused")
def ten_thousand_members(scene: Scene) -> None:
    claim(scene, *(f"ins-{number:08x}" for number in range(10_000)))


@forgery()
def three_hundred_members_that_never_were(scene: Scene) -> None:
    claim(scene, *(f"ins-{number:08x}" for number in range(300)))


@forgery()
def no_members(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(members=[]))


@forgery()
def one_member_fewer(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger["members"].pop())


@forgery(says="EndNotConfirmed")
def all_are_said_to_be_lost(scene: Scene) -> None:
    each_member(scene, lost="Reclaimed")


@forgery(bought=3, replaced=3)
def all_are_said_to_have_been_released(scene: Scene) -> None:
    sent = scene.at(-1)
    accepted = {"cause": "ScaledDown", "recordedAt": sent, "sentAt": sent, "acceptedAt": sent, "attempts": 1}
    each_member(scene, termination=accepted)


@forgery(bought=3, replaced=3)
def all_are_to_be_released(scene: Scene) -> None:
    each_member(scene, termination={"cause": "ScaledDown", "recordedAt": scene.at(-1)})


@forgery(says="StateRefused LedgerRefused")
def a_release_for_no_known_cause(scene: Scene) -> None:
    each_member(scene, termination={"cause": "BecauseISaySo", "recordedAt": scene.at(-1)})


@forgery()
def a_release_attempted_very_often(scene: Scene) -> None:
    often = {"cause": "ScaledDown", "recordedAt": scene.at(-1), "attempts": 10**30}
    claim(scene, "ins-00000000", termination=often)


@forgery()
def members_in_pools_that_do_not_exist(scene: Scene) -> None:
    each_member(scene, pool=["mars-1", "\u0000" * 100])


@forgery()
def members_that_were_never_seen(scene: Scene) -> None:
    each_member(scene, seen=False, arrived=False, verified=False, launchedAt=scene.at(0))


@forgery(says="StateRefused LedgerRefused")
def members_without_anything(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(members=[{}]))


@forgery(says="NotOurs")
def a_young_strangers_machine_as_member(scene: Scene) -> None:
    young = scene.strangers["young"] = scene.buy("machine-of-young")
    claim(scene, young.id, launchedAt=scene.at(0))


@forgery()
def members_of_the_neighbour_and_their_releases(scene: Scene) -> None:
    theirs = members_of(scene.object(NEIGHBOUR)["status"]["ledger"])
    gone = {"cause": "EnvironmentDeleted", "recordedAt": scene.at(-60), "sentAt": scene.at(-60), "attempts": 3}
    scene.ledger(lambda ledger: ledger["members"].extend({**one, "termination": gone} for one in theirs))


# --- launches --------------------------------------------------------------------------------------------------------


def launch(scene: Scene, count: int = 1, **fields: Any) -> Json:
    """An open launch, authentic in every respect: cluster and identity are no secrets."""
    sequence = int(fields.get("sequence", int(scene.world.cloud.now)))
    ownership = Ownership(CLUSTER, scene.identity())
    request = LaunchRequest(
        pool=Pool(*POOL),
        count=count,
        name=launch_name(VICTIM, ownership, sequence, count),
        ownership=ownership,
        owner=f"default@{VICTIM}",
        template=Template(image_id=IMAGES[0]),
        max_price=Decimal("0.5"),
    )
    made = {
        "sequence": sequence,
        "token": launch_token(ownership, sequence, request.digest),
        "name": request.name,
        "pool": POOL,
        "count": count,
        "digest": request.digest,
        "bid": "0.5",
        "templateDigest": request.template_digest,
        "createdAt": scene.at(-1),
        "sentAt": scene.at(-1),
        "doubtful": True,
    }
    return {**made, **fields}


def intend(scene: Scene, *launches: Json, **fields: Any) -> None:
    """Put launches into the ledger, the last of which the ledger then knows as such."""

    def change(ledger: Json) -> None:
        last = max([ledger.get("sequence", 0), *(item["sequence"] for item in launches)])
        ledger.update(intents=[*ledger.get("intents", []), *launches], **({"sequence": last} | fields))

    scene.ledger(change)


@forgery(says="StateRefused LedgerRefused")
def a_launch_after_the_last(scene: Scene) -> None:
    intend(scene, launch(scene), sequence=1)


@forgery()
def an_authentic_launch(scene: Scene) -> None:
    intend(scene, launch(scene))


@forgery()
def five_authentic_launches_of_a_hundred(scene: Scene) -> None:
    now = int(scene.world.cloud.now)
    intend(scene, *(launch(scene, 100, sequence=now + number) for number in range(5)))


@forgery(says="StateRefused LedgerRefused")
def a_launch_under_another_token(scene: Scene) -> None:
    intend(scene, launch(scene, token="0" * 40))


@forgery(says="StateRefused LedgerRefused")
def a_launch_under_the_token_of_another(scene: Scene) -> None:
    intend(scene, launch(scene, token="x" * 64))


@forgery(says="StateRefused LedgerRefused")
def a_launch_with_another_digest(scene: Scene) -> None:
    intend(scene, launch(scene, digest="0" * 12))


@forgery(says="StateRefused LedgerRefused")
def a_launch_by_the_name_of_the_neighbour(scene: Scene) -> None:
    intend(scene, launch(scene, name=scene.living(NEIGHBOUR)[0].name, createdAt=scene.at(-200)))


@forgery(says="StateRefused LedgerRefused")
def a_launch_by_the_name_of_a_stranger(scene: Scene) -> None:
    intend(scene, launch(scene, name=scene.strangers["nobody"].name, createdAt=scene.at(-200)))


@forgery(says="StateRefused LedgerRefused")
def launches_by_names_that_are_none(scene: Scene) -> None:
    names = ["", "\u0000", "x" * 100_000, "{R:1}", "*", "-"]
    now = int(scene.world.cloud.now)
    many = (launch(scene, sequence=now + at, name=name, createdAt=scene.at(-200)) for at, name in enumerate(names))
    intend(scene, *many)


@forgery()
def a_launch_that_was_settled_long_ago(scene: Scene) -> None:
    old = int(scene.living()[0].created_at)
    intend(scene, launch(scene, 3, sequence=old, createdAt=scene.at(-1)))


@forgery(says="StateRefused LedgerRefused")
def a_launch_of_minus_five(scene: Scene) -> None:
    intend(scene, launch(scene, -5))


@forgery(says="StateRefused LedgerRefused")
def a_launch_of_none(scene: Scene) -> None:
    intend(scene, launch(scene, 0))


@forgery(says="StateRefused LedgerRefused")
def a_launch_of_very_many(scene: Scene) -> None:
    intend(scene, launch(scene, 10**18))


@forgery(says="StateRefused LedgerRefused")
def a_thousand_launches(scene: Scene) -> None:
    now = int(scene.world.cloud.now)
    intend(scene, *(launch(scene, sequence=now + number, createdAt=scene.at(-300)) for number in range(1000)))


@forgery(says="StateRefused LedgerRefused")
def a_launch_before_there_were_clouds(scene: Scene) -> None:
    intend(scene, launch(scene, createdAt="1970-01-01T00:00:00Z"))


@forgery()
def a_launch_of_the_year_2150(scene: Scene) -> None:
    intend(scene, launch(scene, createdAt="2150-01-01T00:00:00Z", sentAt="2150-01-01T00:00:00Z"))


@forgery(says="StateRefused LedgerRefused")
def a_launch_at_the_end_of_time(scene: Scene) -> None:
    intend(scene, launch(scene, createdAt="9999-12-31T23:59:59.999999Z"))


@forgery(says="StateRefused LedgerRefused")
def a_launch_without_a_time_zone(scene: Scene) -> None:
    intend(scene, launch(scene, createdAt="2027-01-15T08:00:00"))


@forgery()
def a_launch_that_found_the_neighbours_machine(scene: Scene) -> None:
    intend(scene, launch(scene, found=[scene.living(NEIGHBOUR)[0].id]))


@forgery(says="StateRefused LedgerRefused")
def a_launch_with_a_negative_sequence(scene: Scene) -> None:
    intend(scene, launch(scene, sequence=-1))


@forgery(says="StateRefused LedgerRefused")
def two_launches_of_one_sequence(scene: Scene) -> None:
    intend(scene, launch(scene), launch(scene, 2))


# --- sequence, rests, and the rest of the ledger ---------------------------------------------------------------------


@forgery()
def a_sequence_from_the_past(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(sequence=1))


@forgery()
def a_sequence_from_the_far_future(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(sequence=10**11 - 1))


@forgery(says="StateRefused LedgerRefused")
def a_negative_sequence(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(sequence=-1))


@forgery(says="StateRefused LedgerRefused")
def a_sequence_of_many_digits(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(sequence=10**30))


def rest(scene: Scene, **fields: Any) -> Json:
    """A backoff of the whole environment, as the ledger holds it under `rests`."""
    made = {
        "trouble": "InsufficientBalance",
        "code": "Forged",
        "message": "pay me",
        "failures": 1,
        "since": scene.at(-1),
        "failedAt": scene.at(-1),
        "until": scene.at(50),
        "generation": 1,
    }
    return {**made, **fields}


@forgery()
def a_rest_for_ever(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(rests=[rest(scene, until="2199-01-01T00:00:00Z")]))


@forgery(says="StateRefused LedgerRefused")
def a_rest_after_very_many_failures(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(rests=[rest(scene, pool=POOL, failures=10**30)]))


@forgery(says="StateRefused LedgerRefused")
def a_rest_without_a_failure(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(rests=[rest(scene, failures=0)]))


@forgery(says="StateRefused LedgerRefused")
def ten_thousand_rests(scene: Scene) -> None:
    rests = [rest(scene, pool=[f"z-{at}", "S1.X1"]) for at in range(10_000)]
    scene.ledger(lambda ledger: ledger.update(rests=rests))


@forgery()
def a_rest_that_tells_a_very_long_story(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(rests=[rest(scene, pool=POOL, message="x" * 200_000)]))


@forgery()
def a_quarantine_for_ever(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(quarantineUntil="2199-01-01T00:00:00Z"))


@forgery(says="StateRefused LedgerRefused")
def a_quarantine_at_the_end_of_time(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(quarantineUntil="9999-12-31T23:59:59Z"))


@forgery()
def another_account(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(account="somebody/ap-guangzhou"))


@forgery()
def an_attempt_that_was_made(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(attemptedGeneration=1))


@forgery()
def fields_nobody_knows(scene: Scene) -> None:
    scene.ledger(lambda ledger: ledger.update(launch=1000, rm="-rf /", __class__="x"))


@forgery()
def no_ledger(scene: Scene) -> None:
    scene.status(lambda status: status.pop("ledger"))


@forgery()
def an_empty_ledger(scene: Scene) -> None:
    scene.status(lambda status: status.update(ledger={}))


@forgery(says="StateRefused LedgerRefused")
def a_ledger_of_another_shape(scene: Scene) -> None:
    scene.status(lambda status: status.update(ledger={"environmentId": ["x"], "members": {"a": "b"}}))


@forgery(says="StateRefused LedgerRefused")
def a_ledger_nested_very_deeply(scene: Scene) -> None:
    deep: Json = {}
    for _ in range(400):
        deep = {"a": deep}
    scene.status(lambda status: status.update(ledger=deep))


@forgery()
def no_status_at_all(scene: Scene) -> None:
    scene.status(lambda status: status.clear())


@forgery()
def a_status_full_of_lies(scene: Scene) -> None:
    lies = {"phase": "Ready", "readyReplicas": 999, "replicas": 999, "environmentID": "x", "instances": [], "pools": []}
    true = {"type": "Ready", "status": "True", "reason": "Forged", "message": "all is well", "observedGeneration": 1}
    scene.status(lambda status: status.update(lies, conditions=[true]))


@forgery()
def a_ledger_of_yesterday(scene: Scene) -> None:
    blank = {"environmentId": scene.identity(), "sequence": 5}
    scene.status(lambda status: status.update(ledger=blank))


# --- identity --------------------------------------------------------------------------------------------------------


def of_this_object(nonce: str = "zzzzzz") -> str:
    """An identity that is bound to the victim as its own is, and yet is another."""
    return f"{binding(CLUSTER, 'default', VICTIM)}-{nonce}"


@forgery(says="StateRefused IdentityRefused")
def the_annotation_of_the_neighbour(scene: Scene) -> None:
    scene.annotate(scene.identity(NEIGHBOUR))


@forgery(says="StateRefused IdentityRefused")
def an_annotation_of_garbage(scene: Scene) -> None:
    scene.annotate("\u0000{{ }} ../../" * 50)


@forgery()
def no_annotation(scene: Scene) -> None:
    scene.annotate(None)


@forgery(says="StateRefused IdentityRefused")
def an_annotation_that_is_bound_to_it(scene: Scene) -> None:
    scene.annotate(of_this_object())


@forgery()
def neither_annotation_nor_ledger(scene: Scene) -> None:
    scene.annotate(None)
    scene.status(lambda status: status.clear())


@forgery(says="StateRefused IdentityRefused")
def an_annotation_that_is_bound_to_it_and_no_ledger(scene: Scene) -> None:
    scene.status(lambda status: status.pop("ledger"))
    scene.annotate(of_this_object())


@forgery(says="StateRefused IdentityRefused")
def a_ledger_of_an_identity_that_is_bound_to_it(scene: Scene) -> None:
    scene.ledger(lambda ledger: (ledger.clear(), ledger.update(environmentId=of_this_object(), sequence=7)))


@forgery(says="StateRefused IdentityRefused")
def annotation_and_ledger_of_an_identity_that_is_bound_to_it(scene: Scene) -> None:
    def forge(obj: Json) -> None:
        obj["status"]["ledger"] = {"environmentId": of_this_object(), "sequence": 7}
        obj["metadata"]["annotations"]["spotcompute.dev/environment-id"] = of_this_object()

    scene.world.api.edit("default", VICTIM, forge)


@forgery(says="StateRefused IdentityRefused")
def a_ledger_of_the_neighbour(scene: Scene) -> None:
    theirs = scene.object(NEIGHBOUR)["status"]["ledger"]
    scene.status(lambda status: status.update(ledger=theirs))


# --- the cloud's tags and names --------------------------------------------------------------------------------------


@forgery()
def our_tags_on_a_strangers_machine(scene: Scene) -> None:
    scene.tag(scene.strangers["nobody"], scene.living()[0].tags)


@forgery()
def our_form_of_name_on_a_strangers_machine(scene: Scene) -> None:
    scene.strangers["nobody"].name = scene.living()[0].name


@forgery(says="NotOurs")
def our_tags_on_a_strangers_machine_that_is_claimed(scene: Scene) -> None:
    scene.tag(scene.strangers["nobody"], {**scene.living()[0].tags, "spotcompute-environment": "0000000000-aaaaaa"})
    claim(scene, scene.strangers["nobody"].id, termination={"cause": "ScaledDown", "recordedAt": scene.at(-100)})


@forgery()
def a_foreign_machine_tagged_as_an_orphan(scene: Scene) -> None:
    gone = f"{binding(CLUSTER, 'default', 'gone')}-gone00"
    tags = {**scene.living()[0].tags, "spotcompute-environment": gone, "spotcompute-owner": "default@gone"}
    scene.tag(scene.strangers["nobody"], tags)


@forgery()
def another_owner_in_a_tag(scene: Scene) -> None:
    for one in scene.living():
        scene.tag(one, {**one.tags, "spotcompute-owner": "kube-system@gone"})


@forgery()
def a_machine_of_ours_moved_to_the_neighbour(scene: Scene) -> None:
    scene.tag_for_a_while(scene.living()[0], scene.living(NEIGHBOUR)[0].tags)


@forgery()
def a_machine_of_ours_moved_to_another_cluster(scene: Scene) -> None:
    scene.tag_for_a_while(scene.living()[0], scene.marks_of_other_cluster)


@forgery()
def machines_of_ours_without_tags(scene: Scene) -> None:
    for one in scene.living():
        scene.tag_for_a_while(one, {})


@forgery()
def machines_of_ours_by_other_names(scene: Scene) -> None:
    for one in scene.living():
        one.name = scene.living(NEIGHBOUR)[0].name


# --- the notes about accounts ----------------------------------------------------------------------------------------


@forgery()
def notes_that_are_none(scene: Scene) -> None:
    texts = ["", "{", "[]", "7", "null", '{"namespace": 7, "secret": [], "region": {}}', "[" * 100_000, "\u0000"]
    scene.world.api.accounts.update({f"forged-{number}": text for number, text in enumerate(texts)})


@forgery()
def notes_about_secrets_of_others(scene: Scene) -> None:
    for number, namespace in enumerate(("kube-system", "default", "../x", "a/b?c=d#e", "\u0000")):
        text = f'{{"namespace": "{namespace}", "secret": "{SECRET}", "region": "a.evil.example/{number}"}}'
        scene.world.api.accounts[f"forged-{number}"] = text.replace("\u0000", "\\u0000")


@forgery()
def no_notes(scene: Scene) -> None:
    scene.world.api.accounts.clear()
