"""Forty bugs of other operators, and the same mistakes planted in our code: data for the gate and for the docs.

Each row tells what went wrong elsewhere, with its public source, and what it cost. Its mutants are the plausible way to
make that mistake here; the tests named beside each must notice. Apart from `gate`, which only carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake: in `file` of operator/spotcompute, `before` (which stands there exactly once) becomes `after`."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One bug of somebody else: what happened, where it is told, what it cost, and our mutants of it."""

    number: int
    bug: str
    source: str
    cost: str
    mutants: tuple[Mutant, ...]


def faults(scenario: str) -> str:
    """The test that lets every kind of request of a scenario fail."""
    return f"tests/simulation/test_fault_points.py::test_one_fault_of_each_kind_in[{scenario}]"


CRASH_LOOP = "tests/simulation/test_fault_points.py::test_killed_at_the_same_point_twenty_times_it_buys_no_more"
REFERENCES = "tests/simulation/test_fault_points.py::test_a_reference_run_launches_what_its_scenario_wants"
SAFEGUARDS = "tests/simulation/test_fault_points.py::test_what_makes_a_launch_safe_is_written_before_it"
RESTORED = "tests/simulation/test_fault_points.py::test_who_was_restored_waits_until_lists_would_show_what_it_forgot"
NOBODY = "tests/simulation/test_fault_points.py::test_who_never_owned_anything_is_let_go_without_asking_the_cloud"
PAIRS = "tests/simulation/test_fault_points.py::test_pairs_of_faults_in[scale-up]"
HISTORIES = "tests/simulation/test_histories.py::test_histories_from[0]"
IDENTITY_CHOICE = "tests/plan/test_identity_choice.py"
PLANNER, LEDGER_SYNC = "tests/plan/test_planner.py", "tests/plan/test_ledger_sync.py"
OUTCOMES, ACT, ORPHANS = "tests/plan/test_outcomes.py", "tests/reconcile/test_act.py", "tests/plan/test_orphans.py"
STORE, AUDIT, INVENTORY = "tests/kube/test_store.py", "tests/kube/test_audit.py", "tests/cloud/test_inventory.py"

ROWS: tuple[Row, ...] = (
    Row(
        1,
        "the id of a new machine was kept in memory and written later; the write conflicted",
        "CAPA 6131",
        "bought twice, leaked",
        (
            Mutant(
                "launch-before-the-intent-is-written",
                "reconcile/reconciler.py",
                "            await self._commit(run)\n            await self._act(run, plan)\n",
                "            await self._act(run, plan)\n",
                (faults("scale-up"),),
            ),
        ),
    ),
    Row(
        2,
        "a crash right after the purchase; every restart bought one more",
        "CAPA 5794",
        "endless purchases",
        (
            Mutant(
                "a-token-for-every-attempt",
                "reconcile/act.py",
                "action.intent.token, environment))",
                '__import__("uuid").uuid4().hex, environment))',
                (ACT, CRASH_LOOP, HISTORIES),
            ),
        ),
    ),
    Row(
        3,
        "one empty answer was read as: the machine is gone",
        "CAPA 2915, 2957",
        "bought twice",
        (
            Mutant(
                "one-empty-list-is-proof",
                "plan/ledger_sync.py",
                "        return was_missed_often(member, absence, self._policy) or has_proof",
                "        return True or has_proof",
                (LEDGER_SYNC,),
            ),
        ),
    ),
    Row(
        4,
        "two reconciles of one object within a second",
        "CAPA 5512",
        "bought twice, leaked",
        (
            Mutant(
                "a-key-in-work-is-given-out-again",
                "runtime/workqueue.py",
                "        if key not in self._started:\n            self._line.put_nowait(key)\n",
                "        self._line.put_nowait(key)\n",
                ("tests/runtime/test_workqueue.py",),
            ),
        ),
    ),
    Row(
        5,
        "what was made could not be written down, so it was made again in every loop",
        "CAPA 4723",
        "endless purchases, quota",
        (
            Mutant(
                "a-failed-commit-is-overlooked",
                "reconcile/reconciler.py",
                '        await self._save(run, intent_status(run.raw.get("status") or {}, run.situation.ledger, '
                "run.activities))\n",
                "        try:\n"
                '            await self._save(run, intent_status(run.raw.get("status") or {}, run.situation.ledger, '
                "run.activities))"
                "\n"
                "        except Exception:\n"
                "            pass\n",
                (PAIRS, HISTORIES),
            ),
        ),
    ),
    Row(
        6,
        "what had been launched was known to a cache in memory only",
        "karpenter 1448",
        "bought twice",
        (
            Mutant(
                "intents-are-not-written",
                "api/ledger.py",
                "        intents=ledger.intents,\n",
                "        intents=(),\n",
                (faults("create-5"),),
            ),
        ),
    ),
    Row(
        7,
        "after a crash it provisioned before it knew what there was",
        "karpenter 2534, 2956",
        "too many",
        (
            Mutant(
                "a-lost-ledger-launches-at-once",
                "plan/identity_choice.py",
                "ledger = Ledger(environment_id) if is_first else in_quarantine(Ledger(environment_id), now, policy)",
                "ledger = Ledger(environment_id)",
                (IDENTITY_CHOICE, RESTORED),
            ),
        ),
    ),
    Row(
        8,
        "somebody else's patch came between purchase and status write",
        "ACK 2062, 2267",
        "bought twice until quota",
        (
            Mutant(
                "status-is-written-over-other-versions",
                "kube/client.py",
                'patch = {"metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]}, "status": changes}',
                'patch = {"status": changes}',
                ("tests/kube/test_client.py", "tests/kube/test_client_real.py"),
            ),
        ),
    ),
    Row(
        9,
        "a stale cache, and a cloud that shows late what it has",
        "crossplane-runtime 283, provider-aws 802, 825",
        "bought twice, leaked",
        (
            Mutant(
                "old-news-replace-new",
                "kube/store.py",
                '(known is not None and int(known) >= int(obj["metadata"]["resourceVersion"]))',
                "(known is not None and int(known) < 0)",
                (STORE,),
            ),
        ),
    ),
    Row(
        10,
        "leadership lost in mid-create, with machines on their way",
        "MCM 318, 349, 432",
        "6 of 9 leaked",
        (
            Mutant(
                "no-answer-is-taken-for-no",
                "plan/outcomes.py",
                "        elif isinstance(result, OutcomeUnknown):\n            self._keep_open(result)\n",
                "        elif isinstance(result, OutcomeUnknown):\n            self._refused(result)\n",
                (faults("create-5"),),
            ),
        ),
    ),
    Row(
        11,
        "a machine that took long to start was dropped from the state",
        "terraform-provider-tencentcloud 79, 268",
        "bought twice",
        (
            Mutant(
                "a-young-machine-can-be-gone",
                "plan/ledger_sync.py",
                "if not is_old_enough(member, self._observed.observed_at, self._policy):",
                "if False:",
                (LEDGER_SYNC,),
            ),
        ),
    ),
    Row(
        12,
        "the SDK's retryer sends again after success; its breaker swallows errors",
        "tencentcloud-sdk-python (read and run), 183",
        "bought three times",
        (
            Mutant(
                "the-sdk-retries-by-itself",
                "cloud/tencent/client.py",
                "disable_region_breaker=True, retryer=None)",
                'disable_region_breaker=True, retryer=__import__("tencentcloud.common.retry", fromlist=["x"])'
                ".StandardRetryer(max_attempts=3))",
                ("tests/cloud/test_transport.py",),
            ),
        ),
    ),
    Row(
        13,
        "a token was used again with other parameters",
        "boto3 4406, runs-on 251, ubicloud 5898, bors 830",
        "stuck, or the wrong machines",
        (
            Mutant(
                "the-token-ignores-the-request",
                "model/identity.py",
                '{ownership.environment_id}/{sequence}/{digest}"',
                '{ownership.environment_id}/{sequence}"',
                ("tests/plan/test_identity.py",),
            ),
        ),
    ),
    Row(
        14,
        "DELETE raced with the finalizer's patch, and both succeeded",
        "kubernetes 77988, 110521, 129584",
        "leaked",
        (
            Mutant(
                "no-orphan-is-ever-ended",
                "plan/orphans.py",
                "and sightings[instance.id].count >= SIGHTINGS\n",
                "and sightings[instance.id].count < 0\n",
                (faults("orphans"),),
            ),
        ),
    ),
    Row(
        15,
        "the finalizer was set only when the first reconcile ended",
        "cluster-api-provider-outscale 917",
        "leaked",
        (
            Mutant(
                "the-finalizer-comes-later",
                "reconcile/identity.py",
                "(claims.annotation == ledger.environment_id and claims.has_finalizer):",
                "claims.annotation == ledger.environment_id or claims.ledger is None:",
                (SAFEGUARDS,),
            ),
        ),
    ),
    Row(
        16,
        'deleted while a purchase that "failed" was on its way',
        "cluster-api-provider-cloudstack 191, KubeOne 811",
        "leaked",
        (
            Mutant(
                "let-go-with-a-launch-in-flight",
                "model/ledger.py",
                "return not self.intents and not self.members and self.quarantine_until is None",
                "return not self.members and self.quarantine_until is None",
                (faults("delete-while-creating"),),
            ),
        ),
    ),
    Row(
        17,
        "machines arrived after their owner had been deleted",
        "MCM 473",
        "leaked",
        (
            Mutant(
                "nobody-waits-for-late-requests",
                "plan/policy.py",
                "return self.replay_window + self.signature_lifetime + self.listing_lag_max",
                "return self.replay_window",
                (LEDGER_SYNC, faults("delete-while-creating")),
            ),
        ),
    ),
    Row(
        18,
        "NotFound in answer to a release was taken for its end",
        "karpenter-provider-gcp 242",
        "leaked",
        (
            Mutant(
                "not-found-ends-a-member",
                "plan/outcomes.py",
                "        ledger = ledger.with_member(replace(member, termination=termination))\n",
                "        ledger = ledger.with_member(replace(member, termination=termination))\n"
                "        if isinstance(outcome.result, InstanceGone):\n"
                "            ledger = ledger.without_member(instance_id)\n",
                (OUTCOMES,),
            ),
        ),
    ),
    Row(
        19,
        "the finalizer went before the machine had",
        "karpenter 1195, KubeOne 345",
        "leaked",
        (
            Mutant(
                "asked-to-end-is-ended",
                "reconcile/reconciler.py",
                "if desired.deleting and ledger.is_empty:",
                "if desired.deleting and all(m.termination for m in ledger.members.values()):",
                (faults("delete"),),
            ),
        ),
    ),
    Row(
        20,
        "one in ten of a thousand machines survived a scale-down",
        "karpenter-provider-aws 549",
        "leaked",
        (
            Mutant(
                "only-the-first-hundred-go",
                "reconcile/act.py",
                "for start in range(0, len(ids), size))",
                "for start in range(0, min(len(ids), 1), size))",
                (ACT,),
            ),
        ),
    ),
    Row(
        21,
        "machines were known by host name and address, which came again",
        "karpenter-provider-aws 2734",
        "20 leaked in ten days",
        (
            Mutant(
                "the-name-is-enough",
                "plan/ledger_sync.py",
                "        return instance.ownership == self._desired.ownership\n",
                "        return is_named_by_us(instance, self._desired.ownership)\n",
                (LEDGER_SYNC,),
            ),
        ),
    ),
    Row(
        22,
        "the orphan search went by the pool's name; two clusters killed each other's machines hourly",
        "karpenter-provider-oci 30",
        "foreign machines killed",
        (
            Mutant(
                "orphans-of-every-cluster",
                "plan/orphans.py",
                "        instance.ownership.cluster_id == cluster_id\n"
                "        and is_bound_to(instance.ownership.environment_id, cluster_id, *owner)\n"
                "        and is_named_by_us",
                "        is_named_by_us",
                (ORPHANS,),
            ),
        ),
    ),
    Row(
        23,
        "after an outage of the API server the sweep saw no owners",
        "MCM 657",
        "everything killed",
        (
            Mutant(
                "a-list-is-believed",
                "reconcile/orphan_sweep.py",
                "                looks[key] = await self._has_no_owner(instance)\n",
                "                looks[key] = True\n",
                ("tests/reconcile/test_orphan_sweep.py", HISTORIES),
            ),
            Mutant(
                "a-list-that-lacks-what-we-know-is-believed",
                "reconcile/orphan_sweep.py",
                "        if missing:\n",
                "        if False:\n",
                ("tests/reconcile/test_orphan_sweep.py",),
            ),
        ),
    ),
    Row(
        24,
        "the sweep raced with a purchase under way",
        "MCM-provider-aws 127, MCM 583",
        "new machines killed",
        (
            Mutant(
                "the-newborn-can-be-orphans",
                "plan/orphans.py",
                "        and swept_at - instance.created_at >= policy.orphan_age_min\n",
                "",
                (ORPHANS,),
            ),
        ),
    ),
    Row(
        25,
        "tagged as ours, and not ours",
        "karpenter-provider-aws 3951, autoscaler 3959, 5829",
        "foreign machines killed",
        (
            Mutant(
                "tags-are-enough-to-adopt",
                "plan/ledger_sync.py",
                "            if not is_named_by_us(instance, self._desired.ownership):\n                continue\n",
                "",
                (LEDGER_SYNC,),
            ),
            Mutant(
                "ended-whatever-the-tags-say",
                "plan/release.py",
                "    if instance.ownership != situation.desired.ownership:\n",
                "    if False:\n",
                (PLANNER,),
            ),
        ),
    ),
    Row(
        26,
        "machines that died at birth were replaced at once, for ever",
        "karpenter-provider-aws 1905",
        "235 machines in 12 h for one pod",
        (
            Mutant(
                "early-losses-are-not-counted",
                "plan/ledger_sync.py",
                "        if is_early(member, self._now, self._policy):\n",
                "        if False:\n",
                (LEDGER_SYNC,),
            ),
        ),
    ),
    Row(
        27,
        "without capacity it asked in a hot loop",
        "karpenter 3198, karpenter-provider-aws 9616",
        "2,700 claims in 90 minutes",
        (
            Mutant(
                "no-rest-after-a-refusal",
                "plan/outcomes.py",
                "        self.ledger = self.ledger.with_backoff(backoff)\n        if intent.on_demand and not",
                "        del backoff\n        if intent.on_demand and not",
                (OUTCOMES,),
            ),
        ),
    ),
    Row(
        28,
        "what was deleted in the console was bought until the account was full",
        "CAPA 1368, KubeOne 381",
        "quota used up",
        (
            Mutant(
                "launches-in-flight-do-not-count",
                "plan/capacity.py",
                "    return units_of(occupying(ledger), desired) + on_its_way + to_be_taken_over(ledger)\n",
                "    return units_of(occupying(ledger), desired)\n",
                ("tests/plan/test_capacity.py", PLANNER),
            ),
        ),
    ),
    Row(
        29,
        "every object polled the cloud by itself",
        "kubernetes 31858, CAPA 1275",
        "throttled at 20 clusters",
        (
            Mutant(
                "a-sweep-for-everybody",
                "cloud/inventory.py",
                "age(sweep.started_at, self._clock()) <= self._tempo.oldest_view",
                "age(sweep.started_at, self._clock()) < timedelta(0)",
                (INVENTORY,),
            ),
        ),
    ),
    Row(
        30,
        "a handler patched its object for ever",
        "kopf 686, 731",
        "the API server throttled",
        (
            Mutant(
                "the-same-status-is-written-again",
                "kube/client.py",
                '        changes = merge_patch(obj.get("status") or {}, status)\n',
                "        changes = merge_patch({}, status)\n",
                ("tests/kube/test_client.py", "tests/kube/test_client_real.py"),
            ),
            Mutant(
                "a-status-with-the-time-in-it",
                "report/status.py",
                '        "observedGeneration": situation.desired.generation,\n        "environmentID"',
                '        "observedGeneration": situation.desired.generation,\n'
                '        "lastLook": to_text(situation.now),\n        "environmentID"',
                (faults("create-1"),),
            ),
        ),
    ),
    Row(
        31,
        "the schema lacked a field of status, which was silently dropped",
        "homelab 441, kopf 321, 308",
        "a retry counter that stayed 0",
        (
            Mutant(
                "the-schema-prunes-the-ledger",
                "api/status.py",
                '        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},\n',
                "",
                ("tests/api/test_crd.py", "tests/kube/test_client_real.py"),
            ),
        ),
    ),
    Row(
        32,
        "credentials were invalid when it came to delete",
        "CAPA 2270, 2606, 3694",
        "stuck",
        (
            Mutant(
                "who-owns-nothing-must-ask-too",
                "reconcile/reconciler.py",
                "if environment.deleting and (is_nobody or (ledger is not None and ledger.is_blank)):",
                "if environment.deleting and is_nobody:",
                (NOBODY,),
            ),
        ),
    ),
    Row(
        33,
        "a deleted namespace took the key before the machines",
        "kopf 75, ray 21684, ionoscloud 111",
        "stuck or leaked",
        (
            Mutant(
                "the-secret-is-not-guarded",
                "kube/sources.py",
                "            await self._kube.protect_secret(namespace, secret)\n",
                "            pass\n",
                (faults("namespace-deleted"),),
            ),
        ),
    ),
    Row(
        34,
        "after a restart in mid-create: cannot determine creation result, for ever",
        "crossplane 3037, crossplane-runtime 340, upjet 681",
        "stuck until a person came",
        (
            Mutant(
                "doubt-without-end",
                "plan/ledger_sync.py",
                "return self._observed.observed_at >= deadline and intent.name in self._observed.searched",
                "return False",
                (LEDGER_SYNC,),
            ),
        ),
    ),
    Row(
        35,
        "one id that had vanished spoiled the whole batch",
        "autoscaler 3255, cloudbreak 14575, buildkite 305",
        "stuck, leaked",
        (
            Mutant(
                "a-bad-id-spoils-its-batch",
                "reconcile/act.py",
                "named = batch if len(batch) == 1 else",
                "named = batch if batch else",
                (ACT,),
            ),
        ),
    ),
    Row(
        36,
        "the watch was dead, or etcd had gone back in time",
        "kopf 585, 787, 957, kubernetes 107457",
        "blind",
        (
            Mutant(
                "the-audit-believes-in-progress",
                "kube/audit.py",
                '            if live["metadata"]["resourceVersion"] != version:\n',
                '            if int(live["metadata"]["resourceVersion"]) > int(version or 0):\n',
                (AUDIT,),
            ),
            Mutant(
                "a-ledger-that-went-back-is-believed",
                "plan/identity_choice.py",
                "    if ledger.sequence < claims.last_known_sequence:\n",
                "    if False:\n",
                (IDENTITY_CHOICE, REFERENCES, faults("etcd-restored")),
            ),
        ),
    ),
    Row(
        37,
        "a stale peer froze the operator",
        "kopf 1266, 734, kubernetes 23731, cilium 42920",
        "two at work, or none",
        (
            Mutant(
                "peers-can-pause-us",
                "runtime/shell.py",
                "    settings.peering.standalone = True\n",
                "    settings.peering.standalone = False\n",
                ("tests/runtime/test_settings_of_kopf.py",),
            ),
        ),
    ),
    Row(
        38,
        "a restored object had another uid, and nothing was recognised",
        "KubeOne 2279, crossplane 1382, outscale 457",
        "bought again, never deleted",
        (
            Mutant(
                "a-restored-object-is-a-stranger",
                "reconcile/identity.py",
                "            return await self._alive(environment)\n",
                "            return ()\n",
                (REFERENCES,),
            ),
        ),
    ),
    Row(
        39,
        "status grew beyond what can be stored",
        "renovate-operator 616, cloudnative-pg 6328, cassandra-operator 34",
        "records lost, object unwritable",
        (
            Mutant(
                "a-history-without-end",
                "report/history.py",
                "    return _cut(lines) if activities else lines\n",
                "    return lines\n",
                ("tests/report/test_history.py",),
            ),
        ),
    ),
    Row(
        40,
        "keys and user data in logs",
        "CVE-2020-8563, CVE-2025-7445, keda 7688, kopf 1087",
        "credentials lost",
        (
            Mutant(
                "keys-are-not-cut-out-of-logs",
                "cloud/tencent/provider.py",
                "        redaction.register(credentials.secret_id, credentials.secret_key, credentials.token)\n",
                "",
                ("tests/telemetry/test_redaction.py",),
            ),
            Mutant(
                "the-sdk-may-log",
                "cloud/tencent/client.py",
                "    logger.setLevel(logging.CRITICAL + 1)\n    logger.propagate = False\n"
                "    if _nothing not in logger.filters:\n        logger.addFilter(_nothing)\n",
                "    del logger\n",
                ("tests/cloud/test_transport.py",),
            ),
        ),
    ),
)


def mutants() -> tuple[Mutant, ...]:
    """All of them, in the order of the rows."""
    return tuple(mutant for row in ROWS for mutant in row.mutants)
