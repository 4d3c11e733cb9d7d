"""What a container image would have, by its Dockerfile; this machine's Python stands in for its."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

# Where an image has the code.
_TASK = "/var/task"


@dataclass
class Image:
    """What there is in an image.

    Attributes:
        task: its working folder.
        handler: what AWS's client is to call.
        environment: of its processes.
        required: files of what pip would install.
    """

    task: Path
    handler: str = ""
    environment: dict = field(default_factory=dict)
    required: list = field(default_factory=list)


def images_of(exported, folder):
    """The images of an export, by the names of their targets; what they copy is copied."""
    text = (exported / "Dockerfile").read_text().replace("\\\n", " ")
    found, image = {}, None
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        match word:
            case "FROM":
                base, target = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
                image = found[target] = Image(folder / target)
                if base in found:
                    before = found[base]
                    shutil.copytree(before.task, image.task)
                    image.handler, image.required = before.handler, [*before.required]
                    image.environment = {**before.environment}
                else:
                    image.task.mkdir()
            case "WORKDIR":
                assert rest == _TASK
            case "COPY":
                source, target = rest.split()
                source, target = exported / source, image.task / target
                if source.is_dir():
                    shutil.copytree(source, target)
                else:
                    shutil.copy(source, target / source.name if target.is_dir() else target)
            case "RUN":
                image.required += re.findall(r"--requirement (\S+)", rest)
            case "ENV":
                image.environment |= dict(pair.split("=") for pair in rest.split())
            case "CMD":
                [image.handler] = re.findall(r'"(.+?)"', rest)
            case "ENTRYPOINT":
                assert rest == '["python", "-m", "awslambdaric"]'
            case _:
                assert word in ("", "#", "ARG"), line
    # The others are what these are built on.
    return {target: image for target, image in found.items() if image.handler}
