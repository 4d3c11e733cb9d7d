"""What a client of the roster costs the controller: whole commands with 1,000 clients to a million.

    python experiments/roster/run.py [--clients 1000 10000 100000 1000000] [--only NAME ...]

Each command has the machine for itself. Adds a line a command to `results.jsonl` beside this file,
leaves out those that it has, and writes `results.md` of all.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
COHORT, ROUNDS = 100, 3

# The training split has a million samples, whoever owns them.
SAMPLES = """
import numpy as np

def load():
    random = np.random.default_rng(0)
    x = random.integers(0, 17, (1_002_000, 4)).astype(np.uint8)
    y = random.integers(0, 10, len(x))
    return {"train": (x[:-2000], y[:-2000]), "test": (x[-2000:], y[-2000:])}
"""
OWN = """
import numpy as np

def clients(client, split):
    random = np.random.default_rng(client)
    return random.integers(0, 17, (20, 8, 8, 1)), random.integers(0, 10, 20)
"""
COUNTED = """
def counts():
    return np.full({clients}, 20)
"""
# By name: what is asked for. CLIENTS is their number, HALF half of it.
DEALT = "samples.py:load --clients CLIENTS"
UNCOUNTED = "digits --data own.py:clients --clients CLIENTS"
BY_COUNTS = "digits --data counted.py:clients"
COMMANDS = {
    "iid": DEALT,
    "shards:1": f"{DEALT} --partition shards:1",
    "sizes:powerlaw:1.1": f"{DEALT} --partition sizes:powerlaw:1.1,least=1",
    "--data": UNCOUNTED,
    "--data, round robin": f"{UNCOUNTED} --select round-robin",
    "--data, fastest": f"{UNCOUNTED} --select fastest",
    "--data, warm": f"{UNCOUNTED} --select warm",
    "--data, half of them there": f"{UNCOUNTED} --available 0.5",
    "--data, scaffold": f"{UNCOUNTED} --strategy scaffold",
    "--data, secure aggregation": f"{UNCOUNTED} --secure-aggregation",
    "counts(), size": f"{BY_COUNTS} --select size",
    "counts(), power of choice": f"{BY_COUNTS} --select power-of-choice",
    "counts(), median": f"{BY_COUNTS} --strategy median",
    "counts(), fedbuff": f"{BY_COUNTS} --strategy fedbuff",
    "counts(), fedbuff, lists by client": f"{BY_COUNTS} --strategy fedbuff "
    "--local-epochs 1*HALF,2*HALF --client-batch 4*HALF,5*HALF --client-rate 0.1*HALF,0.2*HALF",
}
_ROUND = re.compile(r"^\s+\d+/\d+\s+([\d.]+) s", re.MULTILINE)
_START = re.compile(r"^\s+start ([\d.]+) s", re.MULTILINE)


def measure(arguments: str, clients: int) -> dict[str, float]:
    """Run `disdel federate`: seconds, and the peak of its own process, in MB of resident memory."""
    asked = arguments.replace("CLIENTS", str(clients)).replace("HALF", str(clients // 2)).split()
    with tempfile.TemporaryDirectory(prefix="disdel-roster-") as folder:
        Path(folder, "samples.py").write_text(SAMPLES)
        Path(folder, "own.py").write_text(OWN)
        Path(folder, "counted.py").write_text(OWN + COUNTED.format(clients=clients))
        command = [
            *(str(Path(sys.executable).with_name("disdel")), "federate", *asked),
            *("--clients-per-round", str(COHORT), "--rounds", str(ROUNDS)),
            *("--model", "mlp", "--containers", "2"),
        ]
        began = time.monotonic()
        with Path(folder, "out").open("w+") as out:
            run = subprocess.Popen(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
            peak_kb = 0
            while run.poll() is None:
                peak_kb = max(peak_kb, _peak_kb(run.pid))
                time.sleep(0.02)
            wall_s = time.monotonic() - began
            out.seek(0)
            text = out.read()
        if run.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{text}")
        report = next(Path(folder, "runs").glob("*/report.json"))
        return {
            "wall_s": round(wall_s, 2),
            "start_s": float(_START.findall(text)[0]),
            "last_round_s": float(_ROUND.findall(text)[-1]),
            "peak_mb": round(peak_kb / 1024, 1),
            "report_kb": round(report.stat().st_size / 1024, 1),
            "page_kb": round(report.with_name("report.html").stat().st_size / 1024, 1),
        }


def _peak_kb(pid: int) -> int:
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def table(results: list[dict]) -> str:
    """One row a command: its peak and its start with fewest and most clients, and bytes each."""
    lines = [
        "| command | clients | peak, MB | bytes a further client | start, s | a later round, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in COMMANDS:
        rows = sorted(
            (one for one in results if one["name"] == name), key=lambda one: one["clients"]
        )
        for row in rows:
            more = row["clients"] - rows[0]["clients"]
            each = f"{(row['peak_mb'] - rows[0]['peak_mb']) * 2**20 / more:.0f}" if more else ""
            lines.append(
                f"| {name} | {row['clients']:,} | {row['peak_mb']:.0f} | {each} "
                f"| {row['start_s']:.1f} | {row['last_round_s']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--clients", nargs="+", type=int, default=[1000, 10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--only", nargs="+", default=list(COMMANDS))
    asked = parser.parse_args()
    results = []
    if RESULTS.exists():
        results = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    done = {(one["name"], one["clients"]) for one in results}
    for name in asked.only:
        for clients in asked.clients:
            if (name, clients) in done:
                continue
            row = {"name": name, "clients": clients, **measure(COMMANDS[name], clients)}
            print(json.dumps(row), flush=True)
            results.append(row)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
    (HERE / "results.md").write_text(table(results))


if __name__ == "__main__":
    main()
