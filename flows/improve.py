"""Flow `improve`: one cycle of one feature, from its feedback to a rollout or to a reasoned no.

The flow orders, retries and waits. What it has done stands in the run's record in the store, never in memory, so a
process that takes over - after an approval, or after kill -9 - goes on from there.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Completed, Failed, State

from flows.session import Session, open_session
from ratchet.errors import NothingNew, RatchetError, StageFailed
from ratchet.features import load_feature
from ratchet.files import read_json
from ratchet.params import load_params
from ratchet.process import die_with_parent
from ratchet.runs import Run, StageTiming, change_run, find_run
from tasks import version
from tasks.approve import carry_out, take_answer
from tasks.await_approvals import collect
from tasks.begin import end, prepare, refuse_if_unchanged, take_up
from tasks.first_release import ensure_first_release
from tasks.harvest import harvest_feature
from tasks.look import record_look, refuse_retired
from tasks.plan_look import refuse_unsupported
from tasks.publish import keep_reports, publish, rows_of
from tasks.report.page import approval_markdown

MARGIN_S = 24 * 3600  # Prefect lets go of a run a day after it has expired by its feature's own rule


class ApprovalForm(RunInput):
    """What a person fills in to let a release go live, or not."""

    decision: Literal["approve", "reject"] = "approve"
    approver: str
    digest_prefix: str
    code: str
    reason: str = ""


@flow(name="improve", flow_run_name="improve-{feature}", persist_result=False)
def improve(feature: str, arms: list[str] | None = None) -> State:
    """Run one improvement cycle of a feature.

    Args:
        feature: the feature's name, a folder of features/.
        arms: the arms to try; the default is params.yaml's.
    """
    die_with_parent()  # of the process that serves the flows: killed with it, the next start may go on at once
    run_id = f"{feature}-{str(flow_run.id)[:8]}"
    with open_session() as session:
        try:
            ended = over(session, run_id)
            if ended is not None:
                return told(ended)
            run = begin(session, feature, run_id, tuple(arms) if arms else None)
            if run.state == "running":
                run = compute(session, run)
            while run.state == "awaiting" and run.decision is None:
                run = ask_for_approval(session, run)
            return close(session, run)
        except NothingNew as nothing:
            end(session.settings, session.store, run_id, state="done", outcome="nothing_new", reasons=(str(nothing),))
            return Completed(name="NothingNew", message=str(nothing))
        except RatchetError as error:
            fail(session, run_id, error)
            return Failed(message=str(error))


def begin(session: Session, feature: str, run_id: str, arms: tuple[str, ...] | None) -> Run:
    """Take the feature's lease and the run's record; make v1 if the feature is new."""
    settings = session.settings
    run = take_up(
        settings,
        session.store,
        feature=feature,
        run_id=run_id,
        flow_run_id=str(flow_run.id),
        arms=arms,
        has_ended=has_ended,
    )
    ensure_first_release(settings, session.store, session.ledger, session.channels, feature)
    return run


def compute(session: Session, run: Run) -> Run:
    """Harvest, run the graph's stages one by one, publish. Repeatable: DVC's run-cache keeps finished stages."""
    settings, store = session.settings, session.store
    note(session, run, "harvest")
    harvest_task(session, run.feature)
    run = refuse_if_unchanged(settings, store, run)
    tree = prepare(settings, store, session.channels, run)
    arms = load_params(tree / "params.yaml").arms
    timings: list[StageTiming] = []
    for name in version.stage_names(tree):
        note(session, run, name, timings)
        if name.startswith("tune") and not any(timing.stage.startswith("tune") for timing in timings):
            # The reports hold the traffic that a next holdout is drawn from, also where the present one is used up.
            keep_reports(settings, run, tree / "data" / run.feature)
            refuse_retired(tree, run.feature, session.ledger, store)
            refuse_unsupported(tree, load_feature(tree, run.feature), session.ledger)
        if name == "evaluate":
            record_look(tree, run.feature, arms, session.ledger, run.run_id)
        try:
            timings.append(stage_task.with_options(task_run_name=name)(session, run, tree, name))
        except StageFailed as failed:
            if name != "data_gate":
                raise
            return block(session, run, tree, str(failed))
    note(session, run, "publish", timings)
    return publish_task(session, find_run(store, run.run_id), tree)


@task(name="harvest", retries=1, cache_policy=NO_CACHE, persist_result=False)
def harvest_task(session: Session, feature: str) -> None:
    """Bring new interactions and feedback, scrubbed, into DVC history."""
    report = harvest_feature(session.settings, session.store, feature)
    get_run_logger().info("harvested %s", report)


@task(name="stage", cache_policy=NO_CACHE, persist_result=False)
def stage_task(session: Session, run: Run, tree: Path, name: str) -> StageTiming:
    """Ask DVC for one stage."""
    logger = get_run_logger()
    log = (session.settings.runs_dir / f"{run.run_id}.log").open("a", encoding="utf-8")

    def on_line(line: str) -> None:
        log.write(f"{name}: {line}\n")
        log.flush()

    with log:
        timing = version.run_stage(tree, name, on_line=on_line, environ=session.stage_environment())
    logger.info("stage %s: %s in %.1f s", name, timing.state, timing.seconds)
    return timing


@task(name="publish", retries=1, cache_policy=NO_CACHE, persist_result=False)
def publish_task(session: Session, run: Run, tree: Path) -> Run:
    """Seal the run's branch, push its data, store and attest the candidate; show the report in Prefect too."""
    published = publish(session.settings, session.store, session.ledger, run, tree)
    create_markdown_artifact(
        key=f"report-{run.run_id}".replace("_", "-"),
        markdown=read_report(session, run),
        description="the gate's report",
    )
    return published


def ask_for_approval(session: Session, run: Run) -> Run:
    """Suspend until somebody answers the form, then have the verifier check the answer.

    Who decided elsewhere has resumed the flow once the decision was in the record; then this is not called again.
    """
    policy = load_feature(session.settings.repo, run.feature).approval
    version.remove_worktree(session.settings, version.run_folder(session.settings, run.run_id))
    since = run.waits_since or datetime.now(UTC).isoformat(timespec="seconds")
    run = change_run(session.store, run.run_id, now="waiting for an approval", waits_since=since)
    form = ApprovalForm.with_initial_data(
        description=approval_markdown(run, read_report(session, run)),
        decision="approve",
        approver="",
        digest_prefix="",
        code="",
    )
    timeout_s = round(policy.expire_after_h * 3600 + MARGIN_S)
    answer = suspend_flow_run(wait_for_input=form, key=f"approval-{run.asked}", timeout=timeout_s)
    run = collect(session.settings, session.store, session.ledger, session.channels, run.run_id)
    if run.state == "awaiting" and run.decision is None:
        run = take_answer(session.settings, session.store, session.ledger, session.channels, run, answer.model_dump())
    return change_run(session.store, run.run_id, asked=run.asked + 1)


def close(session: Session, run: Run) -> State:
    """Carry an approval out, write the last facts, free the lease."""
    if run.decision == "approve":
        run = carry_out(session.settings, session.store, session.ledger, session.channels, run.run_id)
    run = end(session.settings, session.store, run.run_id, state="done")
    session.seal(get_run_logger())
    return told(run)


def told(run: Run) -> State:
    """The flow run's last state: what the run came to."""
    said = f"{run.outcome}: {' '.join(run.reasons)}"
    by_people = {"approve": "approved", "reject": "rejected by a person"}
    ended = by_people.get(run.decision or "", run.decision)
    return Completed(message=f"{ended}; {said}" if ended else said)


def over(session: Session, run_id: str) -> Run | None:
    """The run where its wait was ended while its flow run was suspended, and its lease freed; None: it goes on."""
    document = session.store.document("run", run_id)
    run = Run.model_validate(document.body) if document is not None else None
    return run if run is not None and run.decision in ("expired", "stale") else None


def block(session: Session, run: Run, tree: Path, message: str) -> Run:
    """Record that data_gate stopped the run: a verdict on the data, not an error."""
    data = tree / "data" / run.feature
    keep_reports(session.settings, run, data)
    reasons = tuple(read_json(data / "metrics" / "validate.json").get("reasons") or [message])
    return change_run(session.store, run.run_id, outcome="blocked", reasons=reasons, rows=rows_of(data), state="done")


def note(session: Session, run: Run, doing: str, timings: list[StageTiming] | None = None) -> None:
    """Write into the record what the run is doing, for `ratchet status` and whoever waits."""
    changes = {"stages": [t.model_dump() for t in timings]} if timings is not None else {}
    change_run(session.store, run.run_id, now=doing, **changes)


def fail(session: Session, run_id: str, error: RatchetError) -> None:
    """Record an error on the run, if it came so far as to have a record, and free what it held."""
    get_run_logger().error("%s", error)
    if session.store.document("run", run_id) is not None:
        end(session.settings, session.store, run_id, state="failed", error=str(error))


def read_report(session: Session, run: Run) -> str:
    """The run's report as publish left it in Markdown: no user text in it."""
    return (session.settings.home / "reports" / run.run_id / "report.md").read_text(encoding="utf-8")


def has_ended(run: Run) -> bool:
    """Whether a run that holds the lease can no longer go on: its flow run is over, or its process is gone."""
    if run.flow_run_id is None or run.state in ("done", "failed"):
        return True
    with get_client(sync_client=True) as client:
        try:
            state = client.read_flow_run(run.flow_run_id).state
        except Exception as error:
            if "404" in str(error) or "not found" in str(error).lower():
                return True
            raise
    if state is None or state.is_final():
        return True
    return state.is_running() and run.state == "running" and run.owner is not None and not run.owner.is_alive()
