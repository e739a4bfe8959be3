"""kopf's settings that a trap of its hangs on, and handlers that would spring one."""

from __future__ import annotations

import inspect
from typing import Any, cast

import kopf

from runtime.fakes import cluster_around
from spotcompute.kube.names import CRD_NAME, FINALIZER
from spotcompute.kube.store import Store
from spotcompute.runtime.shell import DRAIN_SECONDS, Shell, build_registry, kopf_settings
from spotcompute.settings import Settings


class Silent:
    """Stands for every part that is not asked here."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def make_shell() -> Shell:
    silent = cast(Any, Silent())
    return Shell(
        Settings(),
        login=silent,
        cluster=cluster_around(silent, Store(lambda uid: None)),
        reconciler=silent,
        queue=silent,
        supervisor=silent,
    )


def test_trap_4_kopfs_finalizer_is_not_ours() -> None:
    assert kopf_settings(is_namespaced=False).persistence.finalizer != FINALIZER


def test_trap_8_and_9_no_limit_makes_objects_wait_for_each_other() -> None:
    assert kopf_settings(is_namespaced=False).queueing.worker_limit is None


def test_trap_11_nobody_elses_operator_can_pause_us() -> None:
    assert kopf_settings(is_namespaced=False).peering.standalone


def test_trap_12_kopf_posts_no_events() -> None:
    assert not kopf_settings(is_namespaced=False).posting.enabled


def test_trap_1_a_silent_watch_is_given_up_before_the_api_servers_cache_forgets() -> None:
    assert 60 < kopf_settings(is_namespaced=False).watching.inactivity_timeout <= 75


def test_lists_are_not_chunked_because_an_expired_page_ends_kopf() -> None:
    assert kopf_settings(is_namespaced=False).watching.chunk_size is None


def test_an_api_server_that_is_away_for_five_minutes_is_waited_for_and_not_for_ever() -> None:
    backoffs = cast(tuple[float, ...], kopf_settings(is_namespaced=False).networking.error_backoffs)
    assert 300 < sum(backoffs) < 600


def test_kopf_ends_itself_only_after_our_drain() -> None:
    timeout = kopf_settings(is_namespaced=False).process.ultimate_exiting_timeout
    assert timeout is not None
    assert timeout > DRAIN_SECONDS


def test_one_definition_is_watched_not_all() -> None:
    selectors = kopf_settings(is_namespaced=False).watching.field_selectors
    assert list(selectors.values()) == [f"metadata.name={CRD_NAME}"]


def test_one_namespace_needs_no_cluster_wide_rights() -> None:
    assert kopf_settings(is_namespaced=True).scanning.disabled
    assert not kopf_settings(is_namespaced=False).scanning.disabled


def test_traps_3_5_17_and_19_kopf_has_no_handler_that_owns_a_finalizer_or_a_task() -> None:
    registry = build_registry(make_shell())
    assert registry._spawning.get_all_handlers() == []
    assert registry._changing.get_all_handlers() == []
    assert registry._indexing.get_all_handlers() == []
    assert len(registry._watching.get_all_handlers()) == 1


def test_trap_18_the_one_event_handler_runs_in_the_loop_not_in_a_thread() -> None:
    (handler,) = build_registry(make_shell())._watching.get_all_handlers()
    assert inspect.iscoroutinefunction(handler.fn)


def test_registries_are_not_shared() -> None:
    assert build_registry(make_shell()) is not build_registry(make_shell())
    assert kopf.get_default_registry()._watching.get_all_handlers() == []
