"""The small network that is compiled once for every test that trains one."""

from disdel.compiler import CompileJob
from disdel.models import built_in

SPEC = built_in("cnn", input_shape=(8, 8, 1), classes=4)
BATCH = 16
JOB = CompileJob(
    model=SPEC, input_dtype="uint8", batch_size=BATCH, optimizer="adam", targets=("host",)
)
