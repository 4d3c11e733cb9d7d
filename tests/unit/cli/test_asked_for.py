"""What a user asks for is done, refused or told: never taken and dropped without a word."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import disdel
from disdel.cli.app import app
from disdel.cli.commands import said_by_typer
from disdel.controller.planning.networks import Chosen
from disdel.controller.planning.planning import ask
from disdel.data.names import parse_name, unknown_name
from disdel.errors import PlanError, UsageError
from disdel.host.targets import check_all_differ
from disdel.platforms.embedded import provider
from disdel.platforms.openwhisk.provider import PROVIDER as OPENWHISK
from disdel.platforms.registry import chosen
from disdel.report.views import choose_view
from disdel.types import Limits, RateSchedule, TrainJob, Validation
from disdel.types.events import Noted
from disdel.user_code.collecting import collect
from tests.support.planning import capacity, dataset, plan, question


@pytest.mark.parametrize(("asked", "fits"), [(None, True), ("roomy", True), ("stock", False)])
def test_limits_of_a_platform_that_runs_with_others_are_refused(asked, fits, monkeypatch):
    runs = SimpleNamespace(limits="roomy", access=SimpleNamespace(apihost="http://127.0.0.1:1"))
    monkeypatch.setattr(provider, "platform_status", lambda: runs)
    settings = disdel.Settings(platform_limits=asked)
    if fits:
        assert provider._running(settings) is runs.access
    else:
        with pytest.raises(UsageError, match=r"has the limits roomy.*platform down"):
            provider._running(settings)


def test_limits_of_the_embedded_platform_are_none_of_an_openwhisk():
    settings = disdel.Settings(apihost="http://ow.example", auth="a:b", platform_limits="stock")
    with pytest.raises(UsageError, match="for the embedded platform"):
        OPENWHISK.address(settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers_max": 2}, "add --workers-policy adapt"),
        (
            {"workers": 3, "workers_max": 2, "workers_policy": "adapt"},
            "--workers 3 is more than --workers-max 2",
        ),
    ],
)
def test_a_bound_of_workers_that_bounds_nothing_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        TrainJob(dataset="mnist", **options)


def test_workers_that_adapt_begin_within_their_bound():
    job = TrainJob(dataset="mnist", workers_max=2, workers_policy="adapt")
    made = plan(job, platform=capacity(cpus=8))
    assert made.workers <= 2
    assert max(option.workers for option in made.considered) == 2


def test_two_results_do_not_go_to_one_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(UsageError, match="--json and --predictions are one file"):
        check_all_differ({"--json": tmp_path / "file", "--predictions": tmp_path / "link"})
    check_all_differ({"--json": "-", "--predictions": None, "--input": tmp_path / "other"})
    check_all_differ({"--json": "/dev/null", "--predictions": "/dev/null"})


def test_a_warm_up_that_never_ends_is_refused():
    def warmed_up(steps):
        schedule = RateSchedule(warmup=steps)
        job = TrainJob(dataset="mnist", workers=1, epochs=1, batch_size=64, rate_schedule=schedule)
        return plan(job, dataset(train=6400))

    assert warmed_up(100).rounds == 1
    with pytest.raises(PlanError, match=r"--warmup 101 is longer than the run.* 100 steps"):
        warmed_up(101)


@pytest.mark.parametrize("arch", ["sparc", "amd64,", "x86_64"])
def test_cpus_that_nothing_is_compiled_for_are_refused(arch):
    with pytest.raises(UsageError, match="arch must be amd64 and arm64 or one of them"):
        disdel.Settings(arch=arch)
    assert disdel.Settings(arch="amd64, arm64").architectures == ["amd64", "arm64"]


def test_cpus_are_told_to_count_for_compiled_networks_alone():
    def notes(**settings):
        job, asked = TrainJob(dataset="mnist", runtime="torch"), question(TrainJob(dataset="mnist"))
        [one] = ask(
            job, asked.dataset, Chosen(asked.model), capacity(), disdel.Settings(**settings)
        )
        return one.notes

    assert notes() == ()
    assert "--arch arm64,amd64 counts for compiled networks" in notes(arch="arm64,amd64")[0]


@pytest.mark.parametrize("prefix", ["x y", "x/\n", "http://x/"])
def test_what_is_no_beginning_of_an_image_is_refused(prefix):
    with pytest.raises(UsageError, match="image_prefix"):
        disdel.Settings(image_prefix=prefix)
    for fine in ("", "disdel/", "localhost:5000/team/x-"):
        assert disdel.Settings(image_prefix=fine).image("i").startswith(fine)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"memory_max_mb": 99_999}, "--memory-max 99999 is above the platform's limit of 2048 MB"),
        ({"timeout_max_s": 9999}, "--timeout-max 9999 is above the platform's limit"),
        ({"gpu_memory_mb": 5000}, "the platform tells of no GPU"),
    ],
)
def test_limits_that_the_platform_does_not_reach_are_told(limits, said):
    assert said in " ".join(
        plan(platform=capacity(memory_max_mb=2048), limits=Limits(**limits)).reasons
    )
    assert "above the platform's" not in " ".join(plan().reasons)


def test_a_gpu_that_is_not_there_takes_no_memory():
    asked = plan(platform=capacity(gpu_memory_mb=0), limits=Limits(gpu_memory_mb=5000))
    assert asked.estimate == plan(platform=capacity(gpu_memory_mb=0)).estimate
    assert any("the platform has no GPU" in reason for reason in asked.reasons)


def test_patience_that_outlasts_the_run_is_told():
    def reasons(patience):
        validation = Validation(patience=patience)
        job = TrainJob(dataset="mnist", epochs=3, validation=validation)
        return " ".join(plan(job).reasons)

    assert "--patience 3 ends nothing early in 3 rounds" in reasons(3)
    assert "--patience" not in reasons(2)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["FOO=bar", "FOO=baz"], "gives FOO two values"),
        (["FOO"], "'FOO' is not"),
        (["=x"], "one of them has no name"),
    ],
)
def test_variables_of_actions_have_one_name_and_one_value(pairs, message):
    with pytest.raises(UsageError, match=message):
        disdel.Settings(action_env=pairs)
    assert disdel.Settings(action_env=["FOO=bar", "FOO=bar"]).action_env


@pytest.mark.parametrize("said", [{"auth": "a:b"}, {"insecure": True}])
def test_what_is_said_of_no_api_host_is_refused(said):
    with pytest.raises(UsageError, match="none is named: add --apihost"):
        chosen(disdel.Settings(**said))


def test_a_key_of_the_environment_is_none_of_the_embedded_platform(monkeypatch):
    monkeypatch.setenv("DISDEL_AUTH", "a:b")
    with pytest.raises(UsageError, match="add --platform embedded"):
        chosen(disdel.Settings())
    assert chosen(disdel.Settings(platform="embedded")).name == "embedded"


def test_what_an_inference_makes_nothing_of_is_refused():
    with pytest.raises(UsageError, match="gpu_memory is for trainings"):
        disdel.infer("digits", gpu_memory=0)


def test_quiet_tells_what_is_left_and_how_a_run_goes_on(capsys):
    with choose_view(quiet=True) as view:
        view(Noted(message="worker 1 is late"))
        view(Noted(message="disdel train --resume r goes on", matters=True))
    assert capsys.readouterr().err == "note    disdel train --resume r goes on\n"


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("plan digits --redis r://h", "no such option: --redis; `"),
        ("plan digits --epoch 3", "no such option: --epoch (did you mean --epochs?)"),
        ("report FILE --output -", "--output - would be a file of that name"),
        ("report FILE --output FILE.none/x.html", "there is no such folder as FILE.none"),
    ],
)
def test_what_is_refused_names_a_step_that_helps(command, told, tmp_path):
    file = tmp_path / "report.json"
    file.touch()
    arguments = command.replace("FILE", str(file)).split()
    error = CliRunner().invoke(app, arguments, standalone_mode=False).exception
    assert told.replace("FILE", str(file)) in (said_by_typer(error) or str(error))


def test_too_many_workers_are_told_how_many_there_can_be():
    job = TrainJob(dataset="digits", workers=100)
    with pytest.raises(PlanError, match=r"the 22 batches.*use --workers 22 or fewer"):
        plan(job, dataset(train=1437), platform=capacity(pool_memory_mb=None))


def test_a_function_that_makes_a_model_is_named_before_others(tmp_path):
    file = tmp_path / "net.py"
    file.write_text("def optimizer(): ...\ndef loss(): ...\ndef make_model(): ...\n")
    with pytest.raises(UsageError, match=r"net\.py:make_model; "):
        collect(str(file))


@pytest.mark.parametrize("name", ["digits:9.9.9", "digits/foo"])
def test_another_version_of_what_is_known_is_no_misspelt_name(name):
    with pytest.raises(UsageError, match="digits is known, and not with that version") as refused:
        raise unknown_name(parse_name(name), ["digits"])
    assert "did you mean" not in str(refused.value)
