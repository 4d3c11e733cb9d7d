"""What is known of function platforms: limits and prices, with where and when they were read.

They change. What a source does not say, or what was not confirmed, is None here and "unknown" to
users; nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

from disdel.platforms.lambda_ import limits as lambda_limits
from disdel.platforms.lambda_ import options as lambda_options
from disdel.platforms.prices import AWS_LAMBDA, AWS_LAMBDA_ARM, DIGITALOCEAN
from disdel.types.units import MIB
from openwhisk_local.limits import MAX_CODE_BYTES, MAX_PAYLOAD_BYTES, platform_limits

READ = "2026-11"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownLimits:
    """The limits of one platform; None is unknown, or the owner's own to set (`notes`).

    Attributes:
        name: of the platform.
        source: where they were read.
        memory_min_mb, memory_max_mb: of one function.
        sizes_mb: where only these sizes can be had.
        mb_per_cpu: memory that comes with one virtual CPU.
        timeout_s: the longest time of an activation.
        timeout_default_s: where nobody asks for another.
        request_bytes, reply_bytes: the most that an activation is given, and answers.
        code_bytes: the largest zip.
        unzipped_bytes: of that, unpacked.
        concurrency: activations at the same time, of an account or namespace.
        invokes_per_minute: likewise.
        per_gb_s: US dollars for a GB·s.
        per_invocation: US dollars.
        notes: what else there is to know, for people.
        read: year and month.
    """

    name: str
    source: str
    memory_min_mb: int | None = None
    memory_max_mb: int | None = None
    sizes_mb: tuple[int, ...] = ()
    mb_per_cpu: int | None = None
    timeout_s: float | None = None
    timeout_default_s: float | None = None
    request_bytes: int | None = None
    reply_bytes: int | None = None
    code_bytes: int | None = None
    unzipped_bytes: int | None = None
    concurrency: int | None = None
    invokes_per_minute: int | None = None
    per_gb_s: float | None = None
    per_invocation: float | None = None
    notes: str = ""
    read: str = READ


LAMBDA = KnownLimits(
    name="AWS Lambda",
    source="docs.aws.amazon.com/lambda, quotas; aws.amazon.com/lambda/pricing, US East, x86",
    memory_min_mb=lambda_limits.MEMORY_MIN_MB,
    memory_max_mb=lambda_limits.MEMORY_MAX_MB,
    mb_per_cpu=lambda_limits.MB_PER_CPU,
    timeout_s=lambda_limits.TIMEOUT_MAX_S,
    timeout_default_s=3.0,
    request_bytes=lambda_limits.PAYLOAD_BYTES,
    reply_bytes=lambda_limits.PAYLOAD_BYTES,
    code_bytes=lambda_limits.ZIP_BYTES,
    unzipped_bytes=lambda_limits.UNZIPPED_BYTES,
    concurrency=lambda_limits.CONCURRENCY,
    invokes_per_minute=60 * lambda_limits.INVOKES_A_SECOND * lambda_limits.CONCURRENCY,
    per_gb_s=AWS_LAMBDA.per_gb_s,
    per_invocation=AWS_LAMBDA.per_invocation,
    notes=f"or an image of {lambda_limits.IMAGE_BYTES >> 30} GB; /tmp of "
    f"{lambda_options.FILES_MIN_MB} to {lambda_options.FILES_MAX_MB:,} MB; "
    f"arm64 at ${AWS_LAMBDA_ARM.per_gb_s:.10f} a GB·s; a start of more than "
    f"{lambda_limits.INIT_S:.0f} s is begun again inside the call",
)
_HOSTED = platform_limits("digitalocean", 1_024)
DIGITALOCEAN_FUNCTIONS = KnownLimits(
    name="DigitalOcean Functions (OpenWhisk)",
    source="docs.digitalocean.com/products/functions, limits and pricing",
    memory_min_mb=_HOSTED.min_memory_mb,
    memory_max_mb=_HOSTED.max_memory_mb,
    timeout_s=_HOSTED.max_timeout_ms / 1000,
    request_bytes=MAX_PAYLOAD_BYTES,
    reply_bytes=MAX_PAYLOAD_BYTES,
    code_bytes=MAX_CODE_BYTES,
    concurrency=_HOSTED.concurrent_invokes,
    invokes_per_minute=_HOSTED.invokes_per_minute,
    per_gb_s=DIGITALOCEAN.per_gb_s,
    notes="`--limits digitalocean`; the time includes the start",
)
CLOUD_RUN_FUNCTIONS = KnownLimits(
    name="Google Cloud Run functions",
    source="docs.cloud.google.com/run, quotas and memory limits; cloud.google.com/run/pricing",
    memory_min_mb=128,
    memory_max_mb=32_768,
    sizes_mb=(128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768),
    timeout_s=3_600.0,
    timeout_default_s=300.0,
    request_bytes=32 * MIB,
    reply_bytes=32 * MIB,
    notes="CPU and memory are billed apart: $0.000024 a vCPU·s; files are memory; "
    "events 9 min and 512 KB",
)
AZURE_FLEX = KnownLimits(
    name="Azure Functions, Flex Consumption",
    source="learn.microsoft.com/azure/azure-functions, Flex Consumption plan, and its pricing",
    memory_min_mb=512,
    memory_max_mb=4_096,
    sizes_mb=(512, 2_048, 4_096),
    mb_per_cpu=2_048,
    # Of an HTTP call, whatever the function's own limit (30 min by default).
    timeout_s=230.0,
    concurrency=1_000,
    per_gb_s=0.000026,
    notes="the time is that of an HTTP call; 1,000 ms are billed at least",
)
IBM_CODE_ENGINE = KnownLimits(
    name="IBM Code Engine functions",
    source="cloud.ibm.com/docs/codeengine, limits",
    memory_max_mb=4_096,
    timeout_s=120.0,
    notes="at most 1 vCPU",
)
OPENFAAS = KnownLimits(
    name="OpenFaaS",
    source="docs.openfaas.com, time-outs of gateway and watchdog",
    timeout_default_s=10.0,
    notes="the least time-out of gateway (65 s), upstream (60 s) and watchdog (10 s) counts",
)
KNATIVE = KnownLimits(
    name="Knative",
    source="knative.dev/docs, config-defaults",
    timeout_s=600.0,
    timeout_default_s=300.0,
    notes="the cluster's owner sets the limits",
)
NUCLIO = KnownLimits(
    name="Nuclio",
    source="docs.nuclio.io, HTTP trigger",
    request_bytes=4 * MIB,
    notes="one worker by default, and 503 when it is busy",
)
FISSION = KnownLimits(
    name="Fission",
    source="fission.io/docs",
    timeout_default_s=60.0,
    concurrency=500,
    notes="one activation a pod; 120 s for the start",
)
KNOWN = (
    LAMBDA,
    DIGITALOCEAN_FUNCTIONS,
    CLOUD_RUN_FUNCTIONS,
    AZURE_FLEX,
    IBM_CODE_ENGINE,
    OPENFAAS,
    KNATIVE,
    NUCLIO,
    FISSION,
)
UNKNOWN = "unknown"


def limits_table() -> str:
    """The known limits as a table in Markdown."""
    head = (
        "platform",
        "memory, MB",
        "CPU",
        "time, s",
        "request, answer",
        "zip, unpacked",
        "at once",
        "a minute",
        "$ a GB·s, a million calls",
        "also",
        "read",
    )
    rows = [head, tuple("---" for _ in head), *(map(_row, KNOWN))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(known: KnownLimits) -> tuple[str, ...]:
    memory = _range(known.memory_min_mb, known.memory_max_mb)
    if known.sizes_mb:
        memory = ", ".join(map(_number, known.sizes_mb))
    time = _number(known.timeout_s)
    if known.timeout_default_s is not None:
        time += f"; {_number(known.timeout_default_s)} by default"
    millions = None if known.per_invocation is None else known.per_invocation * 1e6
    return (
        f"{known.name} [^{KNOWN.index(known) + 1}]",
        memory,
        UNKNOWN if known.mb_per_cpu is None else f"1 for {known.mb_per_cpu:,} MB",
        time,
        f"{_size(known.request_bytes)}, {_size(known.reply_bytes)}",
        f"{_size(known.code_bytes)}, {_size(known.unzipped_bytes)}",
        _number(known.concurrency),
        _number(known.invokes_per_minute),
        f"{_price(known.per_gb_s)}, {_price(millions)}",
        known.notes,
        known.read,
    )


def limits_sources() -> str:
    """Where each row was read, as notes of a page in Markdown."""
    return "\n".join(f"[^{number}]: {known.source}" for number, known in enumerate(KNOWN, 1))


def _range(low: int | None, high: int | None) -> str:
    return UNKNOWN if low is high is None else f"{_number(low)} to {_number(high)}"


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.10g}"


def _size(value: int | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,} B" if value % MIB else f"{value // MIB} MiB"


def _price(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.10f}".rstrip("0").rstrip(".")
