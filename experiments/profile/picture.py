"""The table and the picture of what was measured."""

from stages import ORDER

_SHOWN = (*ORDER, "controller")


def table(results):
    """Markdown: the processor, steps, and stages of whole commands."""
    can = results["can"]
    lines = [
        f"{results['processor']}, {can['cpus']} CPUs.",
        "",
        "| | float32 products, GFLOP/s | bfloat16 products, GFLOP/s | copies, GB/s |",
        "| --- | --- | --- | --- |",
    ]
    for name, key in (("one thread", "one_thread"), ("all at once", "all_at_once")):
        did = can[key]
        lines.append(
            f"| {name} | {did['float32_gflops']:.0f} | {did['bfloat16_gflops']:.0f} "
            f"| {did['copy_gb_s']:.0f} |"
        )
    lines += [
        "",
        "CPU ms on one thread, `cnn` 28×28×1, batch 64:",
        "",
        "| runtime | step float32 | of which Adam | of the processor's products | step bfloat16 "
        "| of which Adam | of the products | 256 scored | samples of a step | state encoded |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in results["steps"]:
        cells = [one["runtime"]]
        flops = 2 * 3 * one["multiply_adds"] * one["batch"]
        for precision in ("float32", "bfloat16"):
            adam, sgd = (one.get(f"step_{name}_{precision}") for name in ("adam", "sgd"))
            if adam is None:
                cells += ["-"] * 3
                continue
            speed = flops / adam["cpu_ms"] / 1e6
            cells += [
                f"{adam['cpu_ms']:.2f}",
                f"{adam['cpu_ms'] - sgd['cpu_ms']:.2f}",
                f"{speed / can['one_thread'][f'{precision}_gflops']:.0%}",
            ]
        cells += [f"{one[key]['cpu_ms']:.2f}" for key in ("score_256", "gather", "checkpoint")]
        lines.append("| " + " | ".join(cells) + " |")
    shown = [name for name in _SHOWN if any(run["stages"][name] >= 0.05 for run in results["runs"])]
    lines += [
        "",
        "Seconds of whole commands, each moment counted once:",
        "",
        f"| runtime | history | whole | planned | {' | '.join(shown)} |",
        "| --- | --- | --- | --- |" + " --- |" * len(shown),
    ]
    for run in results["runs"]:
        cells = " | ".join(f"{run['stages'][name]:.2f}" for name in shown)
        lines.append(
            f"| {run['runtime']}, {run['workers']} × {run['precision']} | {run['history']} "
            f"| {run['wall_s']:.1f} | {run['planned_s']:.1f} | {cells} |"
        )
    return "\n".join(lines) + "\n"


def draw(results, path):
    """Whole commands as stacked bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    runs = results["runs"]
    shown = [name for name in _SHOWN if any(run["stages"][name] >= 0.02 for run in runs)]
    figure, axes = plt.subplots(figsize=(10, 0.6 * len(runs) + 2), layout="constrained")
    labels = [f"{run['runtime']}, {run['history']}" for run in runs]
    left = [0.0] * len(runs)
    colours = plt.get_cmap("tab20").colors
    for name, colour in zip(shown, colours, strict=False):
        widths = [run["stages"][name] for run in runs]
        axes.barh(labels, widths, left=left, label=name, color=colour)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("seconds of `disdel train mnist --batch 64 --epochs 5`")
    axes.set_title(results["processor"], fontsize=9)
    axes.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    figure.savefig(path, dpi=110)
