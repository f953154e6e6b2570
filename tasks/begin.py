"""Actions around a run: begin it (lease, record, worktree with its inputs), note its progress, end it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ratchet import git
from ratchet.channels import Channels
from ratchet.errors import BadInput, LeaseHeld, NothingNew
from ratchet.features import load_feature
from ratchet.files import write_whole
from ratchet.release import ReleaseStore, write_manifest
from ratchet.runs import KIND, Owner, Run, change_run, find_run, open_run, runs_of
from ratchet.settings import Settings
from ratchet.store import Store
from tasks import version


def take_up(
    settings: Settings,
    store: Store,
    *,
    feature: str,
    run_id: str,
    flow_run_id: str | None,
    arms: tuple[str, ...] | None,
    has_ended: Callable[[Run], bool],
) -> Run:
    """Record a new run and take its feature's lease, or take an earlier one up where it stands.

    Args:
        has_ended: whether the process or flow run behind a run is gone for good; its lease is swept then.

    Raises:
        LeaseHeld: another run of the feature works or waits for an approval.
        UnknownFeature, GitIdentityMissing: before anything is recorded.
    """
    load_feature(settings.repo, feature)
    git.identity(settings.repo)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    run = Run(run_id=run_id, feature=feature, flow_run_id=flow_run_id, arms=arms, started_at=started)
    take_lease(settings, store, run, has_ended)
    run = open_run(store, run)
    return change_run(store, run.run_id, owner=Owner.me().model_dump())


def take_lease(settings: Settings, store: Store, run: Run, has_ended: Callable[[Run], bool]) -> None:
    """Take the feature's lease for a run; one whose owner is gone is swept first, and its worktree with it."""
    for holder in (store.lease_owner(run.lease), None):
        try:
            store.acquire_lease(run.lease, run.run_id)
            return
        except LeaseHeld as held:
            other = _recorded(store, str(held))
            if other is not None and (holder is None or not has_ended(other)):
                raise LeaseHeld(_refusal(other)) from held
            if other is not None and other.state in ("running", "awaiting"):
                change_run(store, other.run_id, state="failed", now="", error=other.error or "its process ended")
            version.remove_worktree(settings, version.run_folder(settings, str(held)))
            store.release_lease(run.lease, str(held))


def refuse_if_unchanged(settings: Settings, store: Store, run: Run) -> Run:
    """Note what the run starts from.

    Raises:
        NothingNew: there is no feedback yet, or a finished run started from exactly the same.
    """
    if git.show(settings.repo, version.latest_ref(run.feature), f"data/{run.feature}/raw.dvc") is None:
        raise NothingNew(
            f"no feedback yet for {run.feature}: send traffic and feedback through the gateway, "
            f"or `ratchet import FILE --feature {run.feature}`"
        )
    print_ = version.fingerprint(settings, run.feature)
    for earlier in runs_of(store, run.feature):
        is_final = earlier.state == "done" and earlier.decision not in ("expired", "stale")
        if earlier.run_id != run.run_id and is_final and earlier.fingerprint == print_:
            raise NothingNew(
                f"nothing new for {run.feature}: data, code, params and holdout are those of run {earlier.run_id} "
                f"({earlier.outcome})"
            )
    return change_run(store, run.run_id, fingerprint=print_)


def prepare(settings: Settings, store: Store, channels: Channels, run: Run) -> Path:
    """Open the run's worktree and lay its champion, its anchor and its reference into it. Returns the worktree.

    Raises:
        BadInput: the feature has no holdout yet.
    """
    state = channels.read(run.feature)
    releases = ReleaseStore.of(settings)
    tree = version.open_worktree(settings, run.run_id, run.feature, run.arms)
    data = tree / "data" / run.feature
    if not (data / "holdout.dvc").exists():
        version.remove_worktree(settings, version.run_folder(settings, run.run_id))
        raise BadInput(
            f"{run.feature} has no holdout, so nothing could be proven better: add labelled messages that no release "
            f"was trained on with `ratchet holdout add {run.feature} FILE`"
        )
    write_manifest(data / "champion.json", releases.get(state.stable))
    write_manifest(data / "anchor.json", releases.get(anchor_of(store, run.feature)))
    write_whole(data / "reference.json", reference_of(settings, store, run.feature))
    change_run(store, run.run_id, champion_id=state.stable)
    return tree


def reference_of(settings: Settings, store: Store, feature: str) -> str:
    """The profile of the data that the feature's last finished run committed, as JSON; `{}` where there is none."""
    for earlier in reversed(runs_of(store, feature)):
        if earlier.state == "done" and earlier.commit is not None:
            found = git.show(settings.repo, earlier.commit, f"data/{feature}/metrics/profile.json")
            if found is not None:
                return found
    return "{}\n"


def anchor_of(store: Store, feature: str) -> str:
    """The fixed release that every candidate is held against: the feature's v1."""
    found = store.document("anchor", feature)
    if found is None:
        raise BadInput(f"{feature} has no first release yet; `make up` and `ratchet run` make it")
    return str(found.body["release_id"])


def end(settings: Settings, store: Store, run_id: str, **changes: object) -> Run:
    """Write a run's last facts, free its lease and remove what is left of its worktree."""
    run = change_run(store, run_id, now="", **changes)
    store.release_lease(run.lease, run.run_id)
    version.remove_worktree(settings, version.run_folder(settings, run_id))
    return run


def _recorded(store: Store, run_id: str, limit_s: float = 2) -> Run | None:
    """The run that holds a lease; None where its process was killed between taking the lease and recording the run."""
    deadline = time.monotonic() + limit_s
    while store.document(KIND, run_id) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return find_run(store, run_id)


def _refusal(other: Run) -> str:
    doing = (
        f"waits for an approval: `ratchet approve {other.run_id}` or `ratchet reject {other.run_id}` comes first"
        if other.state == "awaiting"
        else f"is running ({other.now}); follow it with `ratchet status {other.feature}`"
    )
    return f"a second run of {other.feature} is refused: run {other.run_id} {doing}"
