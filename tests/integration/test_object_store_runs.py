"""Whole runs whose data lie in an object store, whose keys no action gets."""

from disdel.store.objects.s3 import S3Store
from tests.support.federations import (
    FEDERATION,
    ended,
    killed_in_round_3,
    model,
    report_in,
    updates,
)
from tests.support.object_servers import KEYS, address


def test_kills_and_a_resume_change_no_bit_of_what_a_redis_gives(
    tmp_path, seaweed_endpoint, monkeypatch, undisturbed
):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    on_redis, wanted = undisturbed
    url = address(seaweed_endpoint, "runs")
    folder = tmp_path / "objects"
    folder.mkdir()
    perils = ("--store", url, "--containers", "3", "--action-env", "KILL=once")
    run = killed_in_round_3(folder, "digits", "--runtime", "tensorflow", *FEDERATION, *perils)
    ended(folder, "--resume", run, "--store", url)
    report = report_in(folder)
    assert report["resumed_after"] >= 2
    assert updates(report) == updates(on_redis)
    assert model(report, folder) == wanted
    assert not any(
        KEYS["AWS_SECRET_ACCESS_KEY"] in file.read_text(errors="replace")
        for file in (folder / "runs").rglob("*")
        if file.is_file()
    )
    store = S3Store(url, environ=KEYS)
    assert store.delete_prefix("") == 0
    store.close()
