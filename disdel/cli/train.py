"""`disdel train`."""

from __future__ import annotations

import typer

from disdel.cli import options
from disdel.cli.output import JsonWriter, both, check_json_target
from disdel.cli.reading import JOB_OPTIONS, check_agrees, read_job, read_settings
from disdel.errors import UsageError


def train_command(
    context: typer.Context,
    dataset: options.OptionalDataset = None,
    batch: options.Batch = 64,
    epochs: options.Epochs = 5,
    workers: options.Workers = "auto",
    sync: options.SyncText = "epoch",
    fan_in: options.FanIn = "auto",
    model: options.Model = "auto",
    runtime: options.Runtime = "auto",
    precision: options.PrecisionText = "float32",
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    seed: options.Seed = 0,
    resume: options.Resume = None,
    schedule: options.ScheduleText = "constant",
    warmup: options.Warmup = 0.0,
    scale_rate: options.ScaleRate = "none",
    validate_every: options.ValidateEvery = None,
    target_accuracy: options.TargetAccuracy = None,
    patience: options.Patience = None,
    workers_policy: options.WorkersPolicyText = "fixed",
    workers_max: options.WorkersMax = None,
    average: options.AverageText = "samples",
    optimizer_state: options.OptimizerStateText = "average",
    memory_max: options.MemoryMax = None,
    pool_memory: options.PoolMemory = None,
    gpu_memory: options.GpuMemory = "auto",
    timeout_max: options.TimeoutMax = None,
    limits: options.PlatformLimits = "roomy",
    optimize: options.Optimize = "time",
    estimator: options.EstimatorOption = "measured",
    miss_rate: options.MissRate = 1e-3,
    apihost: options.ApiHost = None,
    auth: options.Auth = None,
    insecure: options.Insecure = False,
    redis: options.Redis = None,
    patience_network: options.PatienceNetwork = None,
    image_prefix: options.ImagePrefix = None,
    image_tag: options.ImageTag = None,
    action_env: options.ActionEnv = None,
    arch: options.Arch = None,
    data_dir: options.DataDir = None,
    run_dir: options.RunDir = None,
    keep: options.Keep = False,
    json: options.JsonFile = None,
    quiet: options.Quiet = False,
) -> None:
    """Train a network on a data set, sharded over actions that run at the same time."""
    from disdel.api import find_resumed, run_train
    from disdel.report.views import choose_view

    resumed = None if resume is None else find_resumed(resume, run_dir)
    if dataset is None:
        if resumed is None:
            raise UsageError("name a data set, or a run with --resume RUN")
        dataset = resumed.progress.job.dataset
    job = read_job(
        dataset=dataset,
        batch=batch,
        epochs=epochs,
        workers=workers,
        sync=sync,
        fan_in=fan_in,
        model=model,
        runtime=runtime,
        precision=precision,
        optimizer=optimizer,
        learning_rate=learning_rate,
        seed=seed,
        schedule=schedule,
        warmup=warmup,
        scale_rate=scale_rate,
        validate_every=validate_every,
        target_accuracy=target_accuracy,
        patience=patience,
        workers_policy=workers_policy,
        workers_max=workers_max,
        average=average,
        optimizer_state=optimizer_state,
    )
    settings = read_settings(
        memory_max=memory_max,
        pool_memory=pool_memory,
        gpu_memory=gpu_memory,
        timeout_max=timeout_max,
        limits=limits,
        optimize=optimize,
        estimator=estimator,
        miss_rate=miss_rate,
        apihost=apihost,
        auth=auth,
        insecure=insecure,
        redis=redis,
        patience_network=patience_network,
        image_prefix=image_prefix,
        image_tag=image_tag,
        action_env=action_env,
        arch=arch,
        data_dir=data_dir,
        run_dir=run_dir,
        keep=keep,
    )
    check_json_target(json)
    if resumed is not None:
        given = [name for name in JOB_OPTIONS if _is_given(context, name)]
        check_agrees(job, resumed.progress.job, given)
        job = resumed.job(epochs if "epochs" in given else None)
    writer = JsonWriter(json)
    with choose_view(quiet=quiet) as view:
        run_train(job, settings, both(view, writer), resumed=resumed)
    writer.finish()


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether the user has given an option, as opposed to its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
