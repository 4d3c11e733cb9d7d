"""Functions of container images: where images are, what makes them, and what an event must bring.

An image has Python, what actions import, and the library. `disdel export` writes the folder that it
is built from; what is a run's own comes with each event (`disdel/entry/lambda_image.py`).
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import disdel
from disdel.entry.lambda_image import CODE, CODE_ENV, LIBRARY_ENV
from disdel.errors import PlatformRejected
from disdel.platforms.base import ActionSpec
from disdel.platforms.exported import Content, Target, lines
from disdel.platforms.lambda_.limits import CODE_BYTES_IN_EVENT, IMAGE_BYTES
from disdel.platforms.lambda_.machines import check_machine
from disdel.platforms.lambda_.options import registry_region
from disdel.platforms.parts import parts_of

# AWS's own, which calls the handler.
_CLIENT = "awslambdaric>=4"
_ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_TOO_LARGE = 413
# What stands around a field of an event.
_AROUND_BYTES = 64


@dataclass(frozen=True, slots=True)
class OwnCode:
    """What is a run's own in an action's zip, and what a function must be told to take it.

    Attributes:
        variables: of the function's environment.
        event: the fields that each event has beside arguments.
    """

    variables: dict[str, str]
    event: dict[str, str]


def own_code(action: ActionSpec, architecture: str) -> OwnCode:
    """The code of an action of an image, for functions of an architecture.

    Raises:
        PlatformRejected: no event has room for it, or they cannot load what is in it.
    """
    parts = parts_of(action.code)
    with zipfile.ZipFile(io.BytesIO(parts.own)) as archive:
        check_machine(action.name, archive, architecture)
    text = base64.b64encode(parts.own).decode()
    if len(text) > (most := CODE_BYTES_IN_EVENT - _AROUND_BYTES):
        raise PlatformRejected(
            f"{action.name} has {len(parts.own)} bytes of code of its own, which travel with each "
            f"event, and {most * 3 // 4} fit in one: let fewer or smaller files "
            "travel with it",
            status=_TOO_LARGE,
        )
    return OwnCode(
        variables={
            CODE_ENV: hashlib.sha256(parts.own).hexdigest(),
            LIBRARY_ENV: f"{disdel.__version__} {parts.library}",
        },
        event={CODE: text},
    )


def image_uri(prefix: str, image: str) -> str:
    """Where Lambda finds the image that an action names.

    Args:
        prefix: of disdel's own images.
        image: its full name, where it is one of them with or without another prefix.
    """
    return image if registry_region(image) else f"{prefix}{image.rpartition('/')[2]}"


# Last of all, since it changes most often.
_LIBRARY = """COPY library library
COPY library/disdel/entry/lambda_image.py disdel_image.py
RUN python -m compileall -q --invalidation-mode unchecked-hash .
ENTRYPOINT ["python", "-m", "awslambdaric"]
CMD ["disdel_image.handler"]
"""


def _files(content: Content) -> dict[str, str]:
    packages = {
        "requirements.txt": lines((_CLIENT, *content.packages)),
        "requirements-framework.txt": lines(content.framework),
    }
    dockerfile = f"""# The container images of disdel's actions on AWS Lambda, each a target:
# {_listed(content)}.

# The Python that they were exported by; any image that has it and pip, for the functions' CPUs.
ARG BASE=python:{content.python}-slim-bookworm

FROM ${{BASE}} AS packages
WORKDIR /var/task
{_installed("requirements.txt")}
# Only /tmp can be written to. No action multiplies with numpy's BLAS.
{_variables(_ENVIRONMENT)}
"""
    if content.image != content.base_image:
        dockerfile += f"\nFROM packages AS {content.base_image}\n{_LIBRARY}"
    dockerfile += f"""
FROM packages AS {content.image}
{_installed("requirements-framework.txt")}
{_variables(content.environment)}
{_LIBRARY}"""
    return {"Dockerfile": dockerfile, **packages}


def _listed(content: Content) -> str:
    """The images: for actions that need no framework, and for those that do."""
    return " ".join(dict.fromkeys((content.base_image, content.image)))


def _installed(file: str) -> str:
    # Where pip finds packages is the builder's affair, and so is what else pip must be told.
    return f"""ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_OPTIONS
COPY {file} ./
RUN python -m pip install --no-cache-dir --only-binary :all: ${{PIP_OPTIONS}} \\
    --requirement {file}"""


def _variables(variables: Mapping[str, str]) -> str:
    pairs = " ".join(f"{name}={text}" for name, text in variables.items())
    return f"ENV {pairs}" if pairs else ""


def _commands(content: Content) -> str:
    return f"""registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com
aws ecr get-login-password | docker login --username AWS --password-stdin $registry
for image in {_listed(content)}; do
    aws ecr create-repository --repository-name disdel/$image
    docker build --provenance=false --platform linux/amd64 --target $image \\
        --tag $registry/disdel/$image:{disdel.__version__} .
    docker push $registry/disdel/$image:{disdel.__version__}
done
disdel train digits --runtime {content.runtime} --platform lambda \\
    --platform-option image_prefix=$registry/disdel/ \\
    --platform-option role=arn:aws:iam::123456789012:role/disdel --redis rediss://…"""


TARGET = Target(
    root="library/",
    files=_files,
    commands=_commands,
    note=f"""Functions are no part of it: each run makes its own. For functions on arm64 build for
linux/arm64. `--provenance=false`, since Lambda takes no image that comes with an attestation; where
`docker build` does not know the option, it makes none. An image may have {IMAGE_BYTES >> 30} GB.
PyTorch's wheels on pip's default index bring 4 GB of CUDA along, for which Lambda has no GPU: add
`--build-arg PIP_EXTRA_INDEX_URL=` with an index of those for CPUs.
""",
    has_limits=False,
    has_image=True,
)
