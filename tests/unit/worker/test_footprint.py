import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from disdel.worker.footprint import HOT_SHARE, _Resident, _working_set_kib

sizes = st.integers(0, 10**6)


@given(sizes, sizes, sizes)
def test_without_reclaim_it_is_anonymous_memory_and_the_hot_share_of_the_pages(
    before, peak, mapped
):
    seen = _Resident()
    _working_set_kib(seen, high_water_kib=before + mapped, anonymous_kib=before, mapped_kib=mapped)
    top = max(before, peak)
    found = _working_set_kib(
        seen, high_water_kib=top + mapped, anonymous_kib=before, mapped_kib=mapped
    )
    assert found == top + HOT_SHARE * mapped


@given(sizes, sizes, st.integers(0, 10**6))
def test_dropped_library_pages_are_not_taken_for_anonymous_memory(anonymous, mapped, dropped):
    seen = _Resident()
    first = _working_set_kib(
        seen, high_water_kib=anonymous + mapped, anonymous_kib=anonymous, mapped_kib=mapped
    )
    later = _working_set_kib(
        seen,
        high_water_kib=anonymous + mapped,
        anonymous_kib=anonymous,
        mapped_kib=max(0, mapped - dropped),
    )
    assert later == first


@given(st.lists(st.tuples(sizes, sizes), min_size=1))
def test_it_never_falls_and_holds_all_anonymous_memory_that_was_seen(looks):
    seen, last, high_water = _Resident(), 0.0, 0
    for anonymous, mapped in looks:
        high_water = max(high_water, anonymous + mapped)
        now = _working_set_kib(
            seen, high_water_kib=high_water, anonymous_kib=anonymous, mapped_kib=mapped
        )
        assert now >= max(last, anonymous)
        last = now


def test_a_peak_that_has_passed_is_seen():
    # In a process of its own: another test's peak would hide this one.
    code = (
        "from disdel.worker.footprint import working_set_bytes as now; before = now(); "
        "taken = bytearray(b'x' * (64 << 20)); del taken; print(now() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 40 << 20
